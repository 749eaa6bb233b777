"""Booking tables in dialogues (dialog bAbI, tasks 1 to 3): HRED, HRED without context, VHRED.

Two models train at a time, each in a thread of its own.

Data: dialog_babi/ of --data.
"""

import time
from concurrent.futures import ThreadPoolExecutor

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
    "HRED, attention to the context": {"attention": "additive"},
    "without context": {"context": False},
    "HRED": {},
}
VALIDATED = 200  # dialogues that choose the best epoch
LATENT = {"latent_size": 16}
CONTEXTS, SAMPLES = 200, 5  # how many answers are looked at for their variety


def main():
    parser = results.parser(__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    parser.add_argument("--dialogues", type=int, metavar="N", help="learn from N (default: all)")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--variety", type=int, default=3, metavar="N", help="VHRED's task: 3")
    args = results.parse(parser)
    before = fs.get_num_threads()
    fs.set_num_threads(1)  # for each model
    try:
        compare_contexts(args)
        compare_variety(args)
    finally:
        fs.set_num_threads(before)


def compare_contexts(args):
    """Answers written exactly, with and without what was said before the last utterance."""
    data = {task: read(args.data, task, args.dialogues) for task in args.tasks}
    cases = [(task, kind, seed) for task in data for kind in KINDS for seed in args.seeds]

    def measure(case):
        task, kind, seed = case
        model, seconds = fit(fs.HRED, data[task], seed, args.epochs, **KINDS[kind])
        scores = [f"{100 * model.score(data[task][part]):.1f}" for part in ("tst", "tst-OOV")]
        print(task, kind, seed, *scores, f"{seconds:.0f}", sep=" | ", flush=True)
        return [task, kind, seed, *scores, f"{seconds:.0f}"]

    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(measure, cases))
    results.record(
        args.results,
        "Dialog bAbI: answers written exactly",
        "python examples/dialogue.py",
        ["task", "model", "seed", "test", "test, new entities", "seconds"],
        rows,
        [
            f"`HRED({recipe(args)})`, two trained at a time; percentage of the bot's answers that "
            "are written word by word as they should be, by greedy search. With attention the "
            "decoder looks at what the context was after each utterance (`attention='additive'`); "
            "without context the same decoder knows the last utterance alone (`context=False`). "
            "The knowledge base is not read, so that in task 3 nobody can know which restaurants "
            "there are; and new entities are words that the model can't write.",
        ],
    )


def compare_variety(args):
    """How much VHRED's latent variable says, and how varied answers are."""
    data = read(args.data, args.variety, args.dialogues)

    def measure(seed):
        hred, _ = fit(fs.HRED, data, seed, args.epochs)
        vhred, seconds = fit(fs.VHRED, data, seed, args.epochs, **LATENT)
        report = vhred.latent_report(data["tst"])
        row = [seed, f"{report.kl:.2f}", report.active_units, *varieties(hred, vhred, data["tst"])]
        row += [f"{100 * m.score(data['tst']):.1f}" for m in (vhred, hred)]
        row.append(f"{seconds:.0f}")
        print(*row, sep=" | ", flush=True)
        return row

    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(measure, args.seeds))
    latent = ", ".join(f"{name}={value!r}" for name, value in LATENT.items())
    results.record(
        args.results,
        f"Dialog bAbI, task {args.variety}: a latent variable",
        "python examples/dialogue.py",
        [
            "seed",
            "KL in nats",
            "active units",
            "distinct-2",
            "HRED's",
            "different answers",
            "HRED's",
            "test",
            "HRED's",
            "seconds",
        ],
        rows,
        [
            f"`VHRED({recipe(args)}, {latent})`; KL for each answer and units whose posterior mean "
            f"varies by more than 0.01, both on the test set. For {CONTEXTS} contexts VHRED draws "
            f"{SAMPLES} latent variables and writes what is most probable with each; HRED writes "
            f"the {SAMPLES} best answers of its beam. Distinct-2 is over all of them; different "
            "answers are those for one context. Test: answers written exactly, in percent.",
        ],
    )


def varieties(hred, vhred, dialogues):
    """Distinct-2 of VHRED and of HRED, and how many different answers a context has."""
    contexts = histories(dialogues)
    chosen = np.linspace(0, len(contexts) - 1, CONTEXTS).astype(int)
    contexts = [contexts[i] for i in chosen]
    drawn = [vhred.respond(h, SAMPLES, beam_size=1, seed=i) for i, h in enumerate(contexts)]
    found = [hred.respond(h, SAMPLES, beam_size=SAMPLES) for h in contexts]
    for answers in (drawn, found):
        yield f"{fs.distinct_n([text for texts in answers for text in texts], 2):.4f}"
    for answers in (drawn, found):
        yield f"{np.mean([len(set(texts)) for texts in answers]):.2f}"


def histories(dialogues):
    """What was said before each answer of the bot."""
    return [talk[:i] for talk in dialogues for i in range(1, len(talk), 2)]


def fit(kind, data, seed, epochs, **settings):
    """A model that is the best on the development set, and seconds of training."""
    model = kind(**RECIPE, epochs=epochs, random_state=seed, **settings)
    begin = time.perf_counter()
    model.fit(data["trn"], validation=data["dev"][:VALIDATED], progress=False)
    return model, time.perf_counter() - begin


def recipe(args):
    settings = RECIPE | {"epochs": args.epochs}
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def read(folder, task, most=None):
    """Dialogues by the names of their parts."""
    names = {
        part: folder / "dialog_babi" / f"dialog-babi-task{task}{part}.txt.gz"
        for part in ("trn", "dev", "tst", "tst-OOV")
    }
    return {part: fs.read_dialogues(path, format="numbered")[:most] for part, path in names.items()}


if __name__ == "__main__":
    main()
