"""Measure everything and write docs/performance.md.

    python benchmarks/performance.py                  # about an hour on an idle machine
    python benchmarks/performance.py --repeat 2       # twice: shows how far runs differ
    python benchmarks/performance.py --sections ragged,stream --again
    python benchmarks/performance.py --write-only     # the page again, from saved results

Each section runs ``fastseq bench`` in a process of its own and saves JSON; what is there
already is not measured again unless ``--again`` says so, so a run that broke off continues.
"""

import argparse
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fastseq import processes
from fastseq.bench import command, tables
from fastseq.bench.goals import goals, verdict
from fastseq.bench.timing import Row

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Section:
    """A heading of the page and the ``fastseq bench`` options that fill it."""

    title: str
    options: tuple
    text: str


RATIOS = "In brackets: the time over fastseq's, so more than 1 means that fastseq is faster."
STREAMS = (
    "Called from Python at batch 1. ONNX Runtime's buffers are bound and its input is not "
    "copied; PyTorch's cell runs in inference mode."
)
WORD_VECTORS = (
    "Texts of made-up words, window 5, 5 negatives, sample 1e-3. An epoch is one without counting "
    "words; from a file to vectors is everything. gensim reads the file by itself."
)
SECTIONS = {
    "layers-1": Section("Layers, one thread", ("layers", "--threads", "1"), RATIOS),
    "layers-2": Section("Layers, two threads", ("layers", "--threads", "2"), RATIOS),
    "odd-sizes": Section(
        "Sizes that are no multiple of a vector's, one thread", ("odd-sizes",), RATIOS
    ),
    "float64": Section("Double precision, one thread", ("float64",), RATIOS),
    "ragged": Section(
        "Ragged batches, one thread",
        ("ragged",),
        "The dense batch has the same shape without lengths; PyTorch packs and unpacks.",
    ),
    "packed": Section(
        "Short sequences, weights packed once, one thread",
        ("packed",),
        "fastseq is `layer.packed()`, fastseq layer the layer itself, which packs its weights in "
        "each call. ONNX Runtime and OpenVINO compile theirs ahead.",
    ),
    "stream": Section("Streaming, one step per call, one thread", ("stream",), STREAMS),
    "stream-2": Section(
        "Streaming, one step per call, two threads", ("stream", "--threads", "2"), STREAMS
    ),
    "decoder": Section(
        "Decoders with attention, one thread",
        ("decoder",),
        "T target steps, as many source positions, B rows, H of everything: a loop over steps in "
        "PyTorch with a fused cell, what can wait done after it; without feeding no loop at all.",
    ),
    "dialogue": Section(
        "Dialogue models, one thread",
        ("dialogue",),
        "Updates of HRED: forward, backward, clipping and Adam. K turns at most, B dialogues, H of "
        "everything, utterances of 3 to 20 words. In PyTorch a turn at a time, as one writes it; "
        "or flat, all utterances at once, as fastseq has it.",
    ),
    "attention": Section("Scaled dot-product attention, one thread", ("attention",), RATIOS),
    "first-call": Section(
        "First call, fresh process",
        ("first-call",),
        "In brackets: over the second call. The layer is made before, in time that is not counted; "
        "the first one of a kind runs a small one then, 0.2 to 0.6 ms.",
    ),
    "backends": Section(
        "Backends, one thread", ("backends",), "In brackets: over the Cython backend."
    ),
    "beam-search": Section(
        "Beam search, one thread",
        ("beam-search",),
        "Scores: the search alone, logits are there already. Decoder: with an LSTM and additive "
        "attention, all sizes 256, 20 source positions. PyTorch makes the same search of its own "
        "operations; all its rows go on until all sentences are done.",
    ),
    "corpus": Section(
        "Corpora for word vectors, one thread",
        ("corpus",),
        "From a text file of made-up words to a vocabulary; fastseq also encodes the text on the "
        "way, which gensim does anew in each epoch.",
    ),
    "word2vec-1": Section("Word vectors, one thread", ("word2vec",), WORD_VECTORS),
    "word2vec-2": Section(
        "Word vectors, two threads", ("word2vec", "--threads", "2"), WORD_VECTORS
    ),
    "word2vec-memory": Section(
        "Memory of word vectors",
        ("word2vec-memory",),
        "Growth of a fresh process from a text of 30 million made-up words to vectors, one epoch, "
        "against the numbers of vectors and encoded text. What comes on top are the words "
        "themselves and what follows from their counts, and rows that end at whole cache lines.",
    ),
    "binary-addition": Section(
        "Binary addition",
        ("binary-addition",),
        "Online updates of a sigmoid RNN, 2-16-1, 8 bits, float64: the public API against a "
        "tutorial's NumPy loop that reaches the same losses.",
    ),
    "memory": Section(
        "Memory of training",
        ("memory",),
        "Growth of a fresh process in one training call, against what has to be held at once: "
        "outputs, saved gates and cell states, and the input's gradient.",
    ),
    "import": Section("Import", ("import",), "Fresh processes; NumPy's own import included."),
}

METHOD = """\
- All competitors of a row get the same weights and inputs in one process and are checked for
  equal results, gradients included, before anything is timed.
- After warming up they take turns: in each round everyone is called until 20 ms are filled, at
  least once, and the order rotates from round to round. Garbage collection is off meanwhile.
- Times are medians over rounds; a ratio is the median of the ratios within the rounds.
- One layer, input size = hidden size. Training is forward and backward with gradients of
  weights, input and initial state; fastseq adds to its gradients, PyTorch's are set to None.
- PyTorch runs its own layers (inference mode without gradients), ONNX Runtime and OpenVINO the
  ONNX operator in float32, JAX a jitted scan, NumPy a tutorial's loop over time.
- Everyone gets the same number of threads, and the process as many cores (Linux). With several
  threads there is a pause of 130 ms before each turn, since threads of OpenBLAS spin for 110 ms
  after their work, those of OpenMP for 15, and would take a core from the next competitor.
- The roofline bound counts products at the rate of the best matrix product and the recurrent
  weight's traffic at the bandwidth of the cache that holds it. Both are measured in the same
  rounds, in turn with the competitors: see `fastseq/bench/roofline.py`.
- "not clearly ahead" names peers whose ratio is under 1.05: ties from 0.95, losses below."""


def main():
    options = parse()
    names = options.sections
    if not options.write_only:
        options.results.mkdir(parents=True, exist_ok=True)
        for run in range(options.repeat):
            for name in names:
                measure(name, run, options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page(options.results), encoding="utf-8")
    print(f"wrote {options.output}")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--results", type=Path, default=ROOT / "build" / "performance", help="folder for JSON")
    add("--output", type=Path, default=ROOT / "docs" / "performance.md")
    add("--sections", type=section_names, default=list(SECTIONS), help=", ".join(SECTIONS))
    add("--repeat", type=int, default=1, help="measure everything this many times")
    add("--rounds", type=int, help="rounds of each measurement; default: as fastseq bench")
    add("--again", action="store_true", help="measure even where results are there")
    add("--quick", action="store_true", help="to see that it works; not for numbers to keep")
    add("--write-only", action="store_true", help="only write the page")
    return parser.parse_args()


def section_names(text):
    names = text.split(",")
    if not set(names) <= set(SECTIONS):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(SECTIONS)}, got {text!r}")
    return names


def measure(name, run, options):
    """One section, once; results that are there stay unless asked for again."""
    path = options.results / f"{name}.{run}.json"
    if path.exists() and not options.again:
        print(f"{name}, run {run + 1}: already measured ({path.name})")
        return
    print(f"{name}, run {run + 1}", flush=True)
    unfinished = path.with_suffix(".part")
    arguments = [*SECTIONS[name].options, "--json", str(unfinished)] + ["--quick"] * options.quick
    if options.rounds:
        arguments += ["--rounds", str(options.rounds)]
    subprocess.run([*processes.python(), "-m", "fastseq", "bench", *arguments], check=True)
    unfinished.rename(path)


# --- the page -------------------------------------------------------------------------------


def page(folder):
    """The whole page from a folder of results."""
    results = {name: load_runs(folder, name) for name in SECTIONS}
    results = {name: runs for name, runs in results.items() if runs}
    if not results:
        raise SystemExit(f"no results in {folder}: measure first")
    merged = {name: merge(runs) for name, runs in results.items()}
    parts = [
        "# Performance",
        "Written by `python benchmarks/performance.py`: do not edit.",
        "## Machine and versions\n\n" + machine_table(results),
        "## Method\n\n" + METHOD,
        "## Goals\n\n" + goals_text(results, merged),
        "## Where fastseq only ties or loses\n\n" + not_ahead_text(merged),
    ]
    parts += [section_text(name, results[name], merged[name]) for name in results]
    return "\n\n".join(parts) + "\n"


def load_runs(folder, name):
    """All runs of a section, in order."""
    paths = sorted(folder.glob(f"{name}.*.json"), key=lambda path: int(path.suffixes[-2][1:]))
    return [command.load(path)[0] for path in paths]


def rows_of(result):
    return [Row(**row) for row in result["rows"]]


def merge(runs):
    """Rows with the rounds of all runs; competitors that some run lacks are left out."""
    rows = rows_of(runs[0])
    for later in map(rows_of, runs[1:]):
        others = {str(row.case): row for row in later}
        for row in rows:
            other = others.get(str(row.case))
            if other is None:
                continue
            shared = [name for name in row.times if name in other.times]
            row.times = {name: row.times[name] + other.times[name] for name in shared}
            if "bound" in row.facts:
                row.facts = row.facts | {"bound": row.facts["bound"] + other.facts["bound"]}
    return rows


def machine_table(results):
    newest = max((run for runs in results.values() for run in runs), key=_date)
    machine, ours = newest["machine"], newest["machine"]["fastseq"]
    loads = [run["machine"]["load"] for runs in results.values() for run in runs]
    peers = {}
    for runs in results.values():
        peers |= runs[-1]["peers"]
    missing = sorted({name for runs in results.values() for name in runs[-1]["missing"]})
    lines = {
        "CPU": f"{machine['cpu']}, {machine['cores']} cores",
        "vector instructions": ", ".join(machine["flags"]),
        "system": machine["system"],
        "Python": machine["python"],
        "fastseq": f"{ours['version']}, backend {ours['backend']} {ours['isa']}".rstrip(),
        "peers": ", ".join(peers.values()),
        "not installed": ", ".join(missing) or "none",
        "load average before sections": f"{min(loads)} to {max(loads)}",
        "last measured": machine["date"],
    }
    return tables.table(["what", "value"], lines.items())


def _date(result):
    return result["machine"]["date"]


def goals_text(results, merged):
    reached = []
    for name, rows in merged.items():
        run = results[name][-1]
        for goal in goals(run["suite"], rows, run["settings"]):
            reached.append((SECTIONS[name].title, goal))
    met = sum(goal.met for _, goal in reached)
    lines = [[title, *tables.goal_cells(goal)] for title, goal in reached]
    header = ["section", *tables.GOAL_HEADER]
    return f"{met} of {len(reached)} are met.\n\n" + tables.table(header, lines)


def not_ahead_text(merged):
    """Every row in which a peer is not clearly beaten."""
    lines = []
    for name, rows in merged.items():
        for row in rows:
            words = verdict(tables.rivals(row)) if has_rivals(name) else ""
            if words:
                case = ", ".join(tables.case_text(value) for value in row.case.values())
                lines.append([SECTIONS[name].title, case, f"{min_ratio(row):.2f}x", words])
    if not lines:
        return "In no row."
    return tables.table(["section", "case", "smallest ratio", "fastseq"], lines)


def has_rivals(name):
    return name not in ("first-call", "backends", "memory", "word2vec-memory", "import")


def min_ratio(row):
    return min(tables.rivals(row).values())


def section_text(name, runs, rows):
    section, suite = SECTIONS[name], runs[-1]["suite"]
    rounds = " + ".join(str(run["settings"]["rounds"]) for run in runs)
    text = section.text
    if tables.has_bound(rows):
        text += " x bound is fastseq's time over the roofline's."
    parts = [
        f"## {section.title}",
        f"{text} {command.dtype_text(runs[-1])}{rounds} rounds.",
        tables.rows_table(suite, rows),
    ]
    if tables.has_means(suite):
        parts.append("Geometric means over the shapes:")
        parts.append(tables.means_table(rows))
        if len(runs) > 1:
            for i, run in enumerate(runs, 1):
                parts.append(f"Run {i} alone:")
                parts.append(tables.means_table(rows_of(run)))
    distrust = dict.fromkeys(text for run in runs for text in command.warnings(run))
    parts[1:1] = [f"**{text}**" for text in distrust]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
