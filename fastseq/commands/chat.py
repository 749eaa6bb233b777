"""``fastseq chat``: a dialogue with a trained model."""

import contextlib
import sys

import numpy as np

from fastseq import _command, files, models
from fastseq.commands.options import add_beam, add_drawing, positive_number, whole_number
from fastseq.commands.wrong_models import wrong_model
from fastseq.models import token_pairs

RESET = "/reset"
DRAWING = ("temperature", "top_k", "top_p")  # options that are nothing without --sample


def add(commands):
    command = commands.add_parser(
        "chat",
        help="talk with a trained model",
        description=(
            "Talk with a model of fastseq train hred or vhred: it answers each line, and knows "
            f"what was said before. A line {RESET} begins another dialogue; Ctrl-D ends. With --n "
            "there are several answers to each line, each with its number before it, and the "
            "dialogue goes on with the first one. Words are what stands between blanks, written as "
            "in the data that were learned."
        ),
        epilog="example: echo hello | fastseq chat hred.safetensors --beam 5",
    )
    command.add_argument("model", metavar="MODEL", help="a file of fastseq train hred or vhred")
    command.add_argument(
        "data", nargs="?", default=files.STDIN, metavar="DATA", help="a file (default: -, stdin)"
    )
    add_beam(command, "; for N answers of an HRED at least N")
    command.add_argument("--sample", action="store_true", help="draw answers word by word")
    add_drawing(command, "answers")
    command.add_argument(
        "--n", type=positive_number, metavar="N", help="write N answers to each line"
    )
    command.add_argument(
        "--max-length", type=whole_number, metavar="N", help="of answers, in tokens"
    )
    command.set_defaults(run=run, one_blas_thread=True, parser=command)


def run(args):
    """Read a model, and answer lines until there are no more."""
    _check_options(args)
    model = models.load(args.model)
    if not isinstance(model, models.HRED):
        raise wrong_model(args.model, model, "holds no dialogues")
    answers = Answers(model, args)
    if args.data == files.STDIN and sys.stdin is not None and sys.stdin.isatty():
        return _talk(model, answers)
    for place, line in files.numbered_lines(args.data):
        try:
            lines = answers(line)
        except ValueError as error:
            raise files.located(args.data, place, str(error)) from error
        _write(lines)
    return 0


def _talk(model, answers):
    """Answer what is typed behind a prompt, until Ctrl-D."""
    with contextlib.suppress(ImportError):  # it brings lines back, and lets them be edited
        import readline  # noqa: F401
    while True:
        try:
            line = input("> ")
        except EOFError:
            print()
            return 0
        try:
            _tell_unknown(model, answers, line)
            _write(answers(line))
        except ValueError as error:  # nobody should lose a dialogue by a word
            _command.report(error)


def _write(lines):
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


def _tell_unknown(model, answers, line):
    """Say which tokens the model never saw: with these it can't know what was meant."""
    ((*tokens,),) = token_pairs.read_tokens(
        "line", [answers.as_utterance(line)], model.unit, model.normalization
    )
    unknown = dict.fromkeys(token for token in tokens if token not in model.vocabulary_)
    if unknown and line.strip() != RESET:
        print(f"fastseq: unknown to the model: {' '.join(unknown)}", file=sys.stderr)


def _check_options(args):
    """End the command if options of searching and of drawing come together."""
    if args.sample and args.beam is not None:
        args.parser.error("--beam can't come with --sample")
    for name in DRAWING:
        if not args.sample and getattr(args, name) is not None:
            args.parser.error(f"--{name.replace('_', '-')} needs --sample")


class Answers:
    """A dialogue with a model: a line comes, lines go."""

    def __init__(self, model, args):
        self._as_tokens = model.unit == "token"
        self._conversation = model.conversation()
        self._n, self._numbered = args.n or 1, args.n is not None
        # the generator goes on from line to line
        self._options = {"sample": args.sample, "seed": np.random.default_rng(args.seed)}
        given = {name: getattr(args, name) for name in (*DRAWING, "max_length")}
        self._options |= {name: value for name, value in given.items() if value is not None}
        if args.beam is not None:
            self._options["beam_size"] = args.beam
        # an answer to nothing tells whether the options will do, before anything is said
        model.respond([], self._n, **self._options | {"seed": 0})

    def as_utterance(self, line):
        """A line in the form in which the model takes it."""
        return line.split() if self._as_tokens else line

    def __call__(self, line):
        talk = self._conversation
        if line.strip() == RESET:
            talk.reset()
            return []
        talk.hear(self.as_utterance(line))
        answers = talk.suggest(self._n, **self._options)
        talk.hear(answers[0])
        lines = map(_as_line, answers)
        return [f"{i}\t{line}" for i, line in enumerate(lines, 1)] if self._numbered else lines


def _as_line(answer):
    return answer if isinstance(answer, str) else " ".join(answer)
