"""Options: numbers with bounds, and the settings of estimators as their constructors have them."""

import argparse
import inspect
import re


def whole_number(text):
    """An option's value that is an integer >= 0."""
    return _number(int, text, lambda n: n >= 0, "an integer of 0 or more")


def positive_number(text):
    """An option's value that is an integer >= 1."""
    return _number(int, text, lambda n: n >= 1, "an integer of 1 or more")


def positive_seconds(text):
    """An option's value that is a finite time > 0."""
    return _number(float, text, lambda s: 0 < s < float("inf"), "a number of seconds above 0")


def number(text):
    """An option's value that is a number; the model says which ones it takes."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def number_or_average(text):
    """An option's value that is a number or the word "average", for penalties of length."""
    if text == "average":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or 'average', got {text!r}") from None


def _number(kind, text, accept, expected):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not accept(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def column(text):
    """A column of a file: a number from 0, from the end if negative, or a name."""
    return int(text) if re.fullmatch(r"-?\d+", text) else text


# --- how models write -----------------------------------------------------------------------------


def add_beam(parser, note=""):
    """The option --beam of a search; a note is put behind its help."""
    text = "how many beginnings to keep; 1 is greedy (default: as in the model's settings)"
    parser.add_argument("--beam", type=positive_number, metavar="K", help=text + note)


def add_drawing(parser, written, *, temperature=None, note=""):
    """Options of drawing tokens.

    Parameters
    ----------
    parser : argparse's parser or group
    written : str
        What is written, such as "lines".
    temperature : float, optional
        The default, where a command need not know whether the option was given.
    note : str
        What to add to the help of --temperature.
    """
    parser.add_argument(
        "--temperature",
        type=number,
        default=temperature,
        metavar="X",
        help=f"below 1 what is probable comes more often{note} (default: 1)",
    )
    parser.add_argument(
        "--top-k", type=positive_number, metavar="K", help="draw from the K most probable tokens"
    )
    parser.add_argument(
        "--top-p", type=number, metavar="P", help="... or from those that have P of the probability"
    )
    parser.add_argument(
        "--seed", type=whole_number, metavar="N", help=f"the same {written} for the same number"
    )


# --- settings -----------------------------------------------------------------------------------


def add_settings(parser, cls):
    """An option for each argument of an estimator's constructor."""
    group = parser.add_argument_group(
        "settings",
        f"As of fastseq.{cls.__name__}, where they are described in full; the word none stands "
        "for Python's None.",
    )
    described = _descriptions(cls)
    for name, parameter in _settings(cls).items():
        default, kind = _default(name, parameter), parameter.annotation.removesuffix(" | None")
        text = f"{described[name]} (default: {default})".strip().replace("%", "%%")
        options = {"dest": name, "default": argparse.SUPPRESS, "help": text}
        if kind == "bool":
            options["action"] = argparse.BooleanOptionalAction
        elif name.endswith("embeddings"):  # in Python also the vectors themselves
            options |= {"metavar": "FILE"}
        elif kind == "float | str":
            options |= {"type": number_or_average, "metavar": "X"}
        elif kind.startswith("Sequence"):
            options |= {"type": int if "[int]" in kind else float, "nargs": "+", "metavar": "X"}
        else:
            read = {"int": int, "float": float, "str": str}[kind]
            optional = parameter.annotation.endswith(" | None")
            options |= {"type": _or_none(read) if optional else read}
            options["metavar"] = {"int": "N", "float": "X", "str": "NAME"}[kind]
        group.add_argument("--" + name.replace("_", "-"), **options)


def _or_none(kind):
    """How to read a value that the word "none" takes away."""

    def read(text):
        return None if text == "none" else kind(text)

    read.__name__ = kind.__name__  # which errors show
    return read


def make_estimator(args, cls):
    """An estimator with the settings that the command line has; a wrong one ends it."""
    settings = _settings(cls)
    given = {name: getattr(args, name, _default(name, settings[name])) for name in settings}
    estimator = cls(**{n: tuple(v) if isinstance(v, list) else v for n, v in given.items()})
    try:
        estimator.check_settings()
    except (TypeError, ValueError) as error:
        args.parser.error(str(error))
    return estimator


def _default(name, parameter):
    """A setting's default; commands are reproducible unless the user wants it otherwise."""
    return 0 if name == "random_state" else parameter.default


def _settings(cls):
    _, *parameters = inspect.signature(cls.__init__).parameters.items()
    return {name: parameter for name, parameter in parameters if name != "warm_start"}


def _descriptions(cls):
    """The first sentence on each setting in the docstring of the class or a base, or its type."""
    texts = dict.fromkeys(_settings(cls), "")
    for base in reversed(cls.__mro__):  # a class may describe a base's setting anew
        described = _described(inspect.cleandoc(base.__doc__ or ""))
        texts |= {name: text for name, text in described if name in texts}
    return texts


def _described(doc):
    """Names of settings, and the first sentence on each."""
    lines = doc.partition("Parameters\n")[2].partition("Attributes\n")[0]
    for names, kind, text in re.findall(r"^(\w[\w, ]*) : (.+)\n((?:    .*\n)*)", lines, re.M):
        sentence = re.split(r"[.;:](?: |$)", " ".join(text.split()))[0]
        sentence = re.sub(r":\w+:(?=`)", "", sentence).replace("`", "")
        choices = ", ".join(re.findall(r'"(\w+)"', kind))
        before = ": " if kind.startswith("{") else "; or "  # a word may stand for a number
        for name in names.split(", "):
            yield name, sentence + (before + choices) * bool(choices)
