"""``fastseq generate``: a text that a language model writes."""

from fastseq import models
from fastseq.commands.options import add_drawing, positive_number
from fastseq.commands.wrong_models import wrong_model


def add(commands):
    command = commands.add_parser(
        "generate",
        help="let a trained language model write",
        description="Let a language model write: the prompt, and what may come after it.",
        epilog="example: fastseq generate language.safetensors --prompt 'To be' --length 200 "
        "--temperature 0.7",
    )
    command.add_argument("model", metavar="MODEL", help="a file of fastseq train language")
    command.add_argument("--prompt", default="", metavar="TEXT", help="how the text begins")
    command.add_argument(
        "--length",
        type=positive_number,
        default=200,
        metavar="N",
        help="how many characters, words or pieces to write (default: 200)",
    )
    add_drawing(command, "text", temperature=1.0, note="; with 0 always")
    command.add_argument(
        "--unknown", action="store_true", help="let the unknown token be among what is written"
    )
    command.set_defaults(run=run, one_blas_thread=True)


def run(args):
    """Read a model and print what it writes."""
    model = models.load(args.model)
    if not isinstance(model, models.LanguageModel):
        raise wrong_model(args.model, model, "writes nothing")
    if model.vocabulary_ is None:
        raise ValueError(f"{args.model}: holds a model of ids, which has no text for them")
    print(
        model.sample(
            args.length,
            prompt=args.prompt,
            temperature=args.temperature,
            top_k=args.top_k,
            top_p=args.top_p,
            unknown=args.unknown,
            echo=True,
            seed=args.seed,
        )
    )
    return 0
