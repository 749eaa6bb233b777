"""``fastseq train``: models from files of data."""

import numpy as np

from fastseq import _command, files, models, tensor_files
from fastseq.commands import data, options, pairs
from fastseq.data import dialogues, readers
from fastseq.words import vector_files


def add(commands):
    command = commands.add_parser(
        "train",
        help="train a model on your data and save it",
        description="Train a model on your data and save it.",
        epilog="example: fastseq train tagger train.conllu --out tagger.safetensors",
    )
    kinds = command.add_subparsers(title="models", metavar="MODEL", required=True)
    add_tagger(kinds)
    add_classifier(kinds)
    add_regressor(kinds)
    add_language(kinds)
    add_seq2seq(kinds)
    add_dialogue(kinds, "hred", models.HRED, describe_answers, "an answer to a dialogue")
    add_dialogue(
        kinds,
        "vhred",
        models.VHRED,
        describe_latent_answers,
        "answers that vary, by a latent variable",
    )
    add_vae(kinds)
    add_sequence_vae(kinds)


def add_tagger(kinds):
    command = _add_kind(
        kinds,
        "tagger",
        models.SequenceTagger,
        read_tagged,
        ("columns",),
        help="a tag for each word of a sentence",
        description=(
            "Learn to tag words. The data are files with a word and its tag in each line and an "
            "empty line after each sentence: CoNLL-U, or any other columns."
        ),
        epilog="example: fastseq train tagger train.conllu --validation dev.conllu "
        "--out tagger.safetensors --epochs 10",
    )
    command.add_argument(
        "--columns",
        nargs=2,
        type=options.column,
        metavar=("WORD", "TAG"),
        help="numbers from 0, or from the end if negative, or in CoNLL-U names (default: FORM "
        "UPOS, elsewhere 0 -1)",
    )


def add_classifier(kinds):
    command = _add_kind(
        kinds,
        "classifier",
        models.SequenceClassifier,
        read_labelled,
        ("tsv", "ts", "npz"),
        help="a label for each time series or text",
        description=(
            "Learn to label sequences: time series (.ts, or .npz with arrays x, y and perhaps "
            "lengths) or texts (.tsv, a text and its label in each line)."
        ),
        epilog="example: fastseq train classifier train.ts --test test.ts "
        "--out classifier.safetensors",
    )
    _add_columns(command, "LABEL")


def add_regressor(kinds):
    command = _add_kind(
        kinds,
        "regressor",
        models.SequenceRegressor,
        read_valued,
        ("tsv", "ts", "npz"),
        help="numbers for each time series or text, or a forecast",
        description=(
            "Learn numbers: one for each sequence, with --per-step one for each of its steps, "
            "with --horizon N the next N steps of the series themselves. The data are time "
            "series (.ts with @targetLabel, or .npz with arrays x, y and perhaps lengths) or "
            "texts (.tsv, a text and its number in each line)."
        ),
        epilog="example: fastseq train regressor series.npz --horizon 3 "
        "--quantiles 0.1 0.5 0.9 --out forecast.safetensors",
    )
    _add_columns(command, "NUMBER")


def add_language(kinds):
    _add_kind(
        kinds,
        "language",
        models.LanguageModel,
        read_text,
        (),
        describe=describe_text,
        help="the next character, word or subword of a text",
        description=(
            "Learn to go on with a text, of which all lines are read in order. The model says how "
            "probable texts are, and fastseq generate lets it write."
        ),
        epilog="example: fastseq train language corpus.txt --validation 0.05 "
        "--out language.safetensors --cell gru",
    )


def add_seq2seq(kinds):
    command = _add_kind(
        kinds,
        "seq2seq",
        models.Seq2Seq,
        read_pairs,
        (),
        option="pairs",
        describe=describe_metric,
        help="a sequence for a sequence: pronunciation, translation",
        description=(
            "Learn to write a sequence for a sequence. The data are pairs: a .tsv file with a "
            "source and its target in each line, or two texts with as many lines. The units say "
            "how lines are split into tokens; with 'token' it is at blanks."
        ),
        epilog="example: fastseq train seq2seq --pairs train.tsv --source-unit character "
        "--out g2p.safetensors",
    )
    command.add_argument(
        "--columns",
        nargs=2,
        type=options.column,
        metavar=("SOURCE", "TARGET"),
        help="of .tsv files: numbers from 0, or from the end if negative (default: 0 -1)",
    )


def add_dialogue(kinds, name, cls, describe, text):
    command = _add_kind(
        kinds,
        name,
        cls,
        read_dialogues,
        (),
        option="dialogues",
        describe=describe,
        help=text,
        description=(
            "Learn to answer in dialogues. The data are files with an utterance in each line and "
            "an empty line between dialogues; or, with --format numbered, lines 'ID user<TAB>bot' "
            "as those of dialog bAbI. fastseq chat lets the model answer."
        ),
        epilog=f"example: fastseq train {name} --dialogues talk.txt --validation 0.1 "
        f"--out {name}.safetensors",
    )
    command.add_argument(
        "--format", choices=dialogues.FORMATS, default="lines", help="of all files (default: lines)"
    )
    command.add_argument(
        "--facts",
        choices=dialogues.FACTS,
        default="omit",
        help="what becomes of numbered lines without a tab: they are left out, are utterances, or "
        "go before the next one (default: omit)",
    )


def add_vae(kinds):
    _add_kind(
        kinds,
        "vae",
        models.VAE,
        read_vectors,
        (),
        describe=describe_bound,
        help="a few numbers that stand for a vector",
        description=(
            "Learn an autoencoder whose code is a random variable. The data are vectors: .npz "
            "files of np.savez with an array x (N, F). Its encode, decode and sample are for "
            "Python, where fastseq.load reads the model."
        ),
        epilog="example: fastseq train vae vectors.npz --validation 0.1 --latent-size 4 "
        "--out vae.safetensors",
    )


def add_sequence_vae(kinds):
    _add_kind(
        kinds,
        "sequence-vae",
        models.SequenceVAE,
        read_lines,
        (),
        describe=describe_bound,
        help="a few numbers that stand for a line of text",
        description=(
            "Learn an autoencoder of lines, such as sentences, whose code is a random variable. "
            "The unit says how lines are split into tokens; with 'token' it is at blanks. Its "
            "encode, decode and sample are for Python, where fastseq.load reads the model."
        ),
        epilog="example: fastseq train sequence-vae lines.txt --validation 0.1 "
        "--out lines.safetensors",
    )


# --- what a model is worth on test data -----------------------------------------------------------


def describe_score(estimator, test):
    """The score that all of them have."""
    return f"score {estimator.score(*test):.4f}"


def describe_text(estimator, test):
    """How probable a language model finds a text."""
    score = estimator.score(*test)
    bits = -score / np.log(2)
    return f"perplexity {np.exp(-score):.3f}, {bits:.4f} bits per {estimator.unit}"


def describe_metric(estimator, test):
    """The score, by the name that the settings choose."""
    return f"{estimator.metric} {estimator.score(*test):.4f}"


def describe_answers(estimator, test):
    """How many answers are right, and how probable the real ones are."""
    exact, perplexity = estimator.score(*test), estimator.perplexity(*test)
    return f"exact {exact:.4f}, perplexity {perplexity.per_word:.3f} per token"


def describe_latent_answers(estimator, test):
    """The same, and whether the latent variable is used."""
    return f"{describe_answers(estimator, test)}, {_describe_latent(estimator, test)}"


def describe_bound(estimator, test):
    """How probable data are, and whether the latent variable is used."""
    score = estimator.score(*test)
    return f"log-probability {score:.4f} nats, {_describe_latent(estimator, test)}"


def _describe_latent(estimator, test):
    report = estimator.latent_report(*test)
    return f"divergence {report.kl:.4f} nats, {report.active_units} active units"


# --- arguments --------------------------------------------------------------------------------

# instead of DATA: one file or two of pairs; a file of dialogues
OPTIONS = {
    "pairs": {
        "nargs": "+",
        "help": "a file of pairs, or one of sources and one of targets; - is standard input",
    },
    "dialogues": {"help": "a file; - is standard input"},
}


def _add_kind(kinds, name, cls, read, formats, *, option=None, describe=describe_score, **texts):
    command = kinds.add_parser(name, **texts)
    some, source = {}, "DATA"
    if option is None:
        command.add_argument("data", metavar="DATA", help="a file; - is standard input")
    else:
        given, source = OPTIONS[option], f"the {option}"
        some = {"nargs": given["nargs"]} if "nargs" in given else {}
        command.add_argument(f"--{option}", dest="data", required=True, metavar="FILE", **given)
    command.add_argument("--out", required=True, metavar="FILE", help="where the model goes")
    command.add_argument(
        "--validation",
        type=_file_or_fraction,
        metavar="FILE",
        help=f"data that choose the best epoch: a file, or a fraction such as 0.1 of {source}",
        **some,
    )
    command.add_argument(
        "--test", metavar="FILE", help="data to score the model on in the end", **some
    )
    command.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="go on from there if the same command was stopped, and save the state there",
    )
    command.add_argument("--quiet", action="store_true", help="show no progress")
    if formats:
        data.add_format(command, formats)
    options.add_settings(command, cls)
    command.set_defaults(run=run, one_blas_thread=True, cls=cls, parser=command)
    command.set_defaults(read=read, describe=describe)
    return command


def _add_columns(command, target):
    command.add_argument(
        "--columns",
        nargs=2,
        type=options.column,
        metavar=("TEXT", target),
        help="of a .tsv file: numbers from 0, or from the end if negative (default: 0 -1)",
    )


def _file_or_fraction(text):
    try:
        return float(text)
    except ValueError:
        return text


def run(args):
    """Train, save, and say how it went."""
    estimator = options.make_estimator(args, args.cls)
    _check_validation(args, estimator)
    outputs = (("--out", args.out), ("--checkpoint", args.checkpoint))
    files.check_outputs(outputs, _inputs(args, estimator))
    tensor_files.check_library()
    learned = _read(args.data, args, estimator)
    held_out = validation = _single(args.validation)
    if isinstance(held_out, (str, list)):
        validation = _read(held_out, args, estimator)
        validation = validation if len(validation) == 2 else validation[0]
    test = None if args.test is None else _read(args.test, args, estimator)
    failure = None
    try:
        estimator.fit(
            *learned,
            validation=validation,
            checkpoint=args.checkpoint,
            progress=False if args.quiet else None,
        )
    except FloatingPointError as error:
        if not estimator.history_.loss:
            raise  # there is nothing good to save
        failure = error
    estimator.save(args.out)
    history = estimator.history_
    print(f"{args.out}: {history}")
    if test is not None:
        print(f"{pairs.describe(args.test)}: {args.describe(estimator, test)}")
    if failure is not None:
        raise failure
    return _command.code_of(history.stopped)


def _check_validation(args, estimator):
    """End the command if settings need data that choose the best epoch, and there are none."""
    name = estimator.needs_validation()
    if name is not None and args.validation is None:
        option = f"--{name} {getattr(estimator, name)}"
        args.parser.error(f"{option} needs --validation, with data or a fraction such as 0.1")


def _inputs(args, estimator):
    """All files that are read."""
    for given in (args.data, args.validation, args.test):
        paths = given if isinstance(given, list) else [given]
        yield from (path for path in paths if isinstance(path, str))  # a number is a fraction
    for name in estimator.missing_words:
        vectors = getattr(estimator, name, None)
        yield from () if vectors is None else vector_files.names_of(vectors)


def _single(validation):
    """A fraction that stands where there may be several files."""
    if isinstance(validation, list) and len(validation) == 1 and isinstance(validation[0], float):
        return validation[0]
    return validation


def _read(path, args, estimator):
    """Data that the estimator accepts; what it says of others names the file."""
    read = args.read(path, args, estimator)
    if args.cls is models.LanguageModel:  # any text will do, and learning pieces twice takes long
        return read
    try:
        estimator.read(*read)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{pairs.describe(path)}: {error}") from error
    return read


# --- data ---------------------------------------------------------------------------------------


def read_tagged(path, args, estimator):
    """Words and tags."""
    return data.read_tagged(path, args.format, args.columns)


def read_text(path, args, estimator):
    """Lines, and no targets."""
    if estimator.unit == "id":
        raise ValueError(
            "unit 'id' is for arrays in Python; a text has characters, words or pieces"
        )
    return (readers.read_text(path, unit="character"),)  # the estimator splits them


def read_pairs(paths, args, estimator):
    """Sources and targets."""
    if len(paths) > 2 or not all(isinstance(path, str) for path in paths):
        raise ValueError(f"expected a file of pairs or two of lines, got {paths}")
    return pairs.read_pairs(paths, args.columns, (estimator.source_unit, estimator.target_unit))


def read_dialogues(path, args, estimator):
    """Dialogues, and no targets."""
    unit = "word" if estimator.unit == "token" else "character"
    read = dialogues.read_dialogues(path, format=args.format, facts=args.facts, unit=unit)
    if max(map(len, read)) < 2:
        raise ValueError(
            f"{files.display_name(path)}: expected an answer, which is an utterance after another "
            f"one, got {len(read)} dialogues without any"
        )
    return (read,)


def read_vectors(path, args, estimator):
    """Vectors, and no targets."""
    return (data.read_vectors(path),)


def read_lines(path, args, estimator):
    """Lines, and no targets."""
    return (pairs.read_sequences(path, estimator.unit),)


def read_labelled(path, args, estimator):
    """Sequences and labels."""
    x, y = data.read_sequences(path, args.format, args.columns, estimator.unit)
    if y is None:
        raise ValueError(f"{path}: expected labels, got sequences alone")
    return x, y


def read_valued(path, args, estimator):
    """Sequences and numbers; None for the steps of the series themselves."""
    x, y = data.read_sequences(path, args.format, args.columns, estimator.unit)
    if estimator.horizon is not None and (y is None or not np.ndim(y[0])):
        return x, None  # one label or number for a series is nothing to forecast
    if y is None:
        raise ValueError(f"{path}: expected target values, got sequences alone")
    return x, _numbers(path, y)


def _numbers(path, values):
    """Values as they stand in a file, as numbers."""
    if not isinstance(values[0], str):
        return values
    numbers = []
    for i, value in enumerate(values, 1):
        try:
            numbers.append(float(value))
        except ValueError:
            raise ValueError(
                f"{path}: expected a number as target of sequence {i}, got "
                f"{files.shortened(str(value))}"
            ) from None
    return numbers
