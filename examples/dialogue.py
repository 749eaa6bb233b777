"""Booking tables in dialogues (dialog bAbI, tasks 1 to 3): HRED, HRED without context, VHRED.

Two models train at a time, each in a process of its own.

Data: dialog_babi/ of --data.
"""

import itertools
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import results

import fastseq as fs

RECIPE = {
    "answers": "second",  # what the bot says; the user's part is only read
    "embedding_dim": 64,
    "hidden_size": 128,
    "context_size": 128,
    "dropout": 0.0,
    "beam_size": 1,
    "selection": "score",
    "batch_size": 8,
    "lr": 3e-3,
    "schedule": "cosine",
}
KINDS = {
    "attention": {"attention": "additive"},
    "no context": {"context": False},
    "no attention": {},
}
LATENT = {"latent_size": 16, "free_bits": 0.3}
VALIDATED = 200  # dialogues that choose the best epoch
CONTEXTS, TIMES = 200, 5  # how many answers are looked at for their variety


def main():
    parser = results.parser(__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="*", default=[1, 2, 3], metavar="N")
    parser.add_argument("--variety", type=int, nargs="*", default=[3], metavar="N")
    parser.add_argument("--epochs", type=int, default=16, metavar="N", help="default: 16")
    parser.add_argument("--dialogues", type=int, metavar="N", help="of each file (default: all)")
    args = results.parse(parser)
    # fresh processes: one that has threads should not be forked
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        if args.tasks:
            compare_contexts(args, pool)
        for task in args.variety:
            compare_variety(args, pool, task)


# --- with and without context -------------------------------------------------------------------


def compare_contexts(args, pool):
    """How many answers are written exactly, with and without what was said before."""
    cases = itertools.product([args], args.tasks, KINDS, args.seeds)
    results.record(
        args.results,
        "Dialog bAbI: answers written exactly",
        "python examples/dialogue.py",
        ["task", "HRED with", "seed", "test", "test, new entities", "seconds"],
        list(pool.map(count_answers, *zip(*cases, strict=True))),
        [
            f"`HRED({recipe(args)})`, two trained at a time; the percentage of the bot's answers "
            "that are written word by word as they should be, by greedy search. With attention "
            "the decoder also looks at what the context was after each utterance "
            "(`attention='additive'`); with no context the same decoder knows the last utterance "
            "alone (`context=False`). The best epoch is that with the most exact answers in "
            f"{VALIDATED} dialogues of the development set. The knowledge base is not read, so "
            "nobody can know in task 3 which restaurants there are; new entities are words that "
            "no model can write, since it never saw them.",
        ],
    )


def count_answers(args, task, kind, seed):
    """A row of the table."""
    data = read(args, task)
    model, seconds = fit(fs.HRED, data, args, seed, **KINDS[kind])
    scores = [f"{100 * model.score(data[part]):.1f}" for part in ("tst", "tst-OOV")]
    return show([task, kind, seed, *scores, f"{seconds:.0f}"])


# --- a latent variable --------------------------------------------------------------------------


def compare_variety(args, pool, task):
    """How much VHRED's latent variable says, and how varied answers are."""
    cases = itertools.product([args], [task], args.seeds)
    latent = ", ".join(f"{name}={value!r}" for name, value in LATENT.items())
    results.record(
        args.results,
        f"Dialog bAbI, task {task}: a latent variable",
        "python examples/dialogue.py",
        [
            "seed",
            "KL in nats",
            "active units",
            "distinct-2",
            "words drawn, too",
            "HRED's beam",
            "its best five",
            "its words drawn",
            "different answers",
            "exact",
            "HRED's",
            "seconds",
        ],
        list(pool.map(count_varieties, *zip(*cases, strict=True))),
        [
            f"`VHRED({recipe(args)}, {latent})`, and HRED without the latent settings; KL for each "
            f"answer, and active units, on the test set. In {CONTEXTS} contexts of it each model "
            f"is asked {TIMES} times. VHRED draws its latent variable, and then writes the most "
            f"probable words, or draws them as well; HRED writes what a beam of {TIMES} finds, "
            "every time the same. Distinct-2 counts different pairs of words in all of these "
            f"answers for each word; beside it that of the {TIMES} best answers on HRED's beam, "
            "most of which are wrong, and of words drawn by HRED. Different answers are VHRED's "
            "for one context, by its latent variable alone. Exact: answers of the test set that "
            "are written exactly, in percent, where VHRED takes the prior's mean.",
        ],
    )


def count_varieties(args, task, seed):
    """A row of the table."""
    data = read(args, task)
    hred, _ = fit(fs.HRED, data, args, seed)
    vhred, seconds = fit(fs.VHRED, data, args, seed, **LATENT)
    contexts = histories(data["tst"])
    contexts = [contexts[i] for i in np.linspace(0, len(contexts) - 1, CONTEXTS).astype(int)]
    ways = {
        "latent": lambda i, h: vhred.respond(h, TIMES, beam_size=1, seed=i),
        "words": lambda i, h: vhred.respond(h, TIMES, sample=True, seed=i),
        "beam": lambda i, h: hred.respond(h, beam_size=TIMES) * TIMES,
        "best": lambda i, h: hred.respond(h, TIMES, beam_size=TIMES),
        "drawn": lambda i, h: hred.respond(h, TIMES, sample=True, seed=i),
    }
    answers = {name: [way(i, h) for i, h in enumerate(contexts)] for name, way in ways.items()}
    varieties = [fs.distinct_n(itertools.chain(*lists), 2) for lists in answers.values()]
    different = np.mean([len(set(own)) for own in answers["latent"]])
    report = vhred.latent_report(data["tst"])
    row = [seed, f"{report.kl:.2f}", report.active_units]
    row += [*(f"{value:.4f}" for value in varieties), f"{different:.2f}"]
    row += [f"{100 * model.score(data['tst']):.1f}" for model in (vhred, hred)]
    return show([*row, f"{seconds:.0f}"])


def histories(dialogues):
    """What was said before each answer of the bot."""
    return [talk[:i] for talk in dialogues for i in range(1, len(talk), 2)]


# --- what both need -----------------------------------------------------------------------------


def fit(kind, data, args, seed, **settings):
    """A model that is the best on the development set, and seconds of training."""
    fs.set_num_threads(1)  # each of two processes
    model = kind(**RECIPE, epochs=args.epochs, random_state=seed, **settings)
    begin = time.perf_counter()
    model.fit(data["trn"], validation=data["dev"][:VALIDATED], progress=False)
    return model, time.perf_counter() - begin


def show(row):
    """The row, which is printed when it is there."""
    print(*row, sep=" | ", flush=True)
    return row


def recipe(args):
    settings = RECIPE | {"epochs": args.epochs}
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def read(args, task):
    """Dialogues by the names of their parts."""
    parts = {}
    for part in ("trn", "dev", "tst", "tst-OOV"):
        path = args.data / "dialog_babi" / f"dialog-babi-task{task}{part}.txt.gz"
        parts[part] = fs.read_dialogues(path, format="numbered")[: args.dialogues]
    return parts


if __name__ == "__main__":
    main()
