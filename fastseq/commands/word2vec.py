"""``fastseq word2vec``: word vectors from texts, and what can be asked of them."""

import argparse
import re
import sys

import fastseq
from fastseq import _command, files
from fastseq.commands.options import positive_number, whole_number

ENDINGS = ", ".join(files.COMPRESSED)


def add(commands):
    command = commands.add_parser(
        "word2vec",
        help="train word vectors, ask and evaluate them",
        description=(
            "Train word vectors on a text, and ask them. Files of vectors end with .bin or .txt "
            f"(word2vec's formats, also .vec, and with {ENDINGS} behind), .npy or .safetensors."
        ),
        epilog="example: fastseq word2vec train corpus.txt --out vectors.bin",
    )
    kinds = command.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_train(kinds)
    add_similar(kinds)
    add_analogy(kinds)
    add_evaluate(kinds)


def add_train(kinds):
    command = kinds.add_parser(
        "train",
        help="word vectors of a text",
        description=(
            "Learn word vectors from a text, a sentence in each line and white space between "
            "words (Mikolov et al., 2013)."
        ),
        epilog="example: fastseq word2vec train corpus.txt --out vectors.bin --sg 1 --epochs 3",
    )
    command.add_argument(
        "corpus",
        metavar="CORPUS",
        help=f"a file, which may be compressed ({ENDINGS}), or - for standard input",
    )
    command.add_argument("--out", required=True, metavar="FILE", help="where the vectors go")
    command.add_argument(
        "--vocab", metavar="FILE", help="where words and their counts go, a word in each line"
    )
    command.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="go on from there if the same command was stopped, and save the state there",
    )
    command.add_argument("--quiet", action="store_true", help="show no progress")
    group = command.add_argument_group(
        "settings", "As of fastseq.Word2Vec, where they are described in full."
    )
    for name, (kind, text) in SETTINGS.items():
        options = {"dest": name, "default": argparse.SUPPRESS, "help": text}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options |= {"type": kind, "metavar": "X" if kind is float else "N"}
        group.add_argument("--" + name.replace("_", "-"), **options)
    command.set_defaults(run=train, parser=command)


SETTINGS = {  # of Word2Vec: the kind of value, and what it is
    "vector_size": (positive_number, "numbers in a vector (default: 100)"),
    "sg": (whole_number, "1 is skip-gram, 0 a bag of words (default: 0)"),
    "hs": (whole_number, "1 is hierarchical softmax (default: 0)"),
    "negative": (whole_number, "words to tell each word from; 0 is none (default: 5)"),
    "window": (positive_number, "words before and after that count (default: 5)"),
    "min_count": (whole_number, "words that come less often are left out (default: 5)"),
    "max_final_vocab": (positive_number, "keep so many words at most (default: all)"),
    "max_vocab_size": (positive_number, "count so many words at most at a time (default: all)"),
    "sample": (float, "how often frequent words are passed over (default: 0.001)"),
    "ns_exponent": (float, "of the words' frequencies, for negative ones (default: 0.75)"),
    "cbow_mean": (whole_number, "1 is the mean of a bag of words, 0 the sum (default: 1)"),
    "alpha": (float, "learning rate to begin with (default: 0.025)"),
    "min_alpha": (float, "learning rate in the end (default: 0.0001)"),
    "epochs": (positive_number, "passes over the text (default: 5)"),
    "workers": (positive_number, "threads (default: all)"),
    "deterministic": (bool, "the same vectors for the same seed, on any number of threads"),
    "seed": (whole_number, "of random numbers (default: 1)"),
}


def add_similar(kinds):
    command = _add_query(
        kinds,
        "similar",
        similar,
        help="words that are similar to some",
        description=(
            "Show the most similar words of each word, in lines with the word, one that is "
            "similar, and the cosine of both."
        ),
        epilog="example: fastseq word2vec similar vectors.bin king queen --topn 5",
    )
    command.add_argument(
        "words", nargs="*", metavar="WORD", help="without one they are read from standard input"
    )


def add_analogy(kinds):
    command = _add_query(
        kinds,
        "analogy",
        analogy,
        help="what is to C as B is to A?",
        description="Show which words are to C as B is to A, with a cosine for each.",
        epilog="example: fastseq word2vec analogy vectors.bin man king woman",
    )
    command.add_argument("a", metavar="A", help="a word")
    command.add_argument("b", metavar="B", help="what belongs to it")
    command.add_argument("c", metavar="C", help="a word to which something else belongs likewise")


def _add_query(kinds, name, run, **texts):
    command = kinds.add_parser(name, **texts)
    command.add_argument("vectors", metavar="VECTORS", help="a file of vectors")
    command.add_argument(
        "--topn", type=positive_number, default=10, metavar="N", help="how many (default: 10)"
    )
    command.add_argument(
        "--restrict-vocab", type=positive_number, metavar="N", help="among the first N words"
    )
    command.set_defaults(run=run)
    return command


def add_evaluate(kinds):
    command = kinds.add_parser(
        "evaluate",
        help="how good vectors are, by analogies and people's judgments",
        description=(
            "Measure word vectors: the part of analogies that they solve (files with sections "
            "': name' of lines with four words, as questions-words.txt), or how their "
            "similarities go along with people's (lines with two words and a number, separated "
            "by tabs, as wordsim353.tsv)."
        ),
        epilog="example: fastseq word2vec evaluate vectors.bin questions-words.txt wordsim353.tsv",
    )
    command.add_argument("vectors", metavar="VECTORS", help="a file of vectors")
    command.add_argument("tests", nargs="+", metavar="TEST", help="files of either kind")
    command.add_argument(
        "--restrict-vocab",
        type=positive_number,
        default=300_000,
        metavar="N",
        help="know the first N words only (default: 300000)",
    )
    command.add_argument("--case-sensitive", action="store_true", help="don't take King for king")
    command.add_argument(
        "--dummy4unknown",
        action="store_true",
        help="let lines with unknown words count, as not solved or of similarity 0",
    )
    command.add_argument("--sections", action="store_true", help="show each section, too")
    command.set_defaults(run=evaluate)


# --- training -----------------------------------------------------------------------------------


def train(args):
    """Train, save, and say what came of it."""
    from fastseq import tensor_files
    from fastseq.words import vector_files, word2vec_files

    form = vector_files.format_of(args.out)
    outputs = [("--out", path) for path in vector_files.names_of(args.out)]
    outputs += [("--vocab", args.vocab), ("--checkpoint", args.checkpoint)]
    files.check_outputs(outputs, [args.corpus])
    if form == "safetensors" or args.checkpoint is not None:
        tensor_files.check_library()
    settings = {name: getattr(args, name) for name in SETTINGS if hasattr(args, name)}
    settings |= {} if args.checkpoint is None else {"checkpoint": args.checkpoint}
    settings |= {"progress": False} if args.quiet else {}
    model = fastseq.Word2Vec(corpus_file=args.corpus, **settings)
    with files.replacing_together() as replacing:  # counts take their name behind the vectors
        if args.vocab is not None:
            counts = model.wv.expandos["count"]
            word2vec_files.write_counts(args.vocab, model.wv.index_to_key, counts, replacing)
        model.wv.save(args.out)
    print(f"{args.out}: {len(model.wv):,} words, vectors of {model.wv.vector_size} numbers")
    return _command.code_of(model.stopped)


# --- questions ----------------------------------------------------------------------------------


def _load(path):
    from fastseq.words.keyed_vectors import KeyedVectors

    return KeyedVectors.load(path)


def similar(args):
    """Print words that are similar to each of some."""
    wv = _load(args.vectors)
    words = args.words or [w for _, line in files.numbered_lines(files.STDIN) for w in line.split()]
    _check_words(wv, words, args.vectors)
    found = wv.most_similar_batch(words, topn=args.topn, restrict_vocab=args.restrict_vocab)
    for word, pairs in zip(words, found, strict=True):
        sys.stdout.writelines(f"{word}\t{other}\t{cosine:.4f}\n" for other, cosine in pairs)
    return 0


def analogy(args):
    """Print the answers to a question."""
    wv = _load(args.vectors)
    a, b, c = args.a, args.b, args.c
    _check_words(wv, [a, b, c], args.vectors)
    found = wv.most_similar([b, c], [a], topn=args.topn, restrict_vocab=args.restrict_vocab)
    sys.stdout.writelines(f"{word}\t{cosine:.4f}\n" for word, cosine in found)
    return 0


def _check_words(wv, words, path):
    unknown = [word for word in words if word not in wv.key_to_index]
    if unknown:
        names = ", ".join(map(repr, unknown[:5])) + ", ..." * (len(unknown) > 5)
        raise ValueError(f"{path}: has no vector for {names}")


# --- evaluation ---------------------------------------------------------------------------------


def evaluate(args):
    """Print how good vectors are, a line for each file."""
    wv = _load(args.vectors)
    options = {
        "restrict_vocab": args.restrict_vocab,
        "case_insensitive": not args.case_sensitive,
        "dummy4unknown": args.dummy4unknown,
    }
    for path in args.tests:
        if _holds_analogies(path):
            _, sections = wv.evaluate_word_analogies(path, **options)
            for section in sections if args.sections else sections[-1:]:
                print(f"{path}: {_describe(section)}", flush=True)
        else:
            pearson, spearman, unknown = wv.evaluate_word_pairs(path, **options)
            print(
                f"{path}: Spearman {spearman.statistic:.4f}, Pearson {pearson.statistic:.4f}, "
                f"{unknown:.1f} % of the pairs unknown",
                flush=True,
            )
    return 0


def _holds_analogies(path):
    """Whether the first line that says something begins a section."""
    for _, line in files.numbered_lines(path):
        if re.match(r"\s*[^#\s]", line):
            return line.startswith(":")
    return False


def _describe(section):
    solved, failed = len(section["correct"]), len(section["incorrect"])
    part = f"{100 * solved / (solved + failed):.2f} %" if solved + failed else "nothing"
    return f"{section['section']}: {part} of {solved + failed:,} analogies with known words"
