"""Rows and goals as Markdown tables that also read well in a terminal."""

from dataclasses import dataclass

from fastseq.bench.goals import verdict
from fastseq.bench.timing import geometric_mean

UNITS = {"s": 1, "ms": 1e3, "us": 1e6, "MB": 1e-6}


@dataclass(frozen=True)
class View:
    """How a suite's rows are shown: the unit, and the column that the others are divided by."""

    unit: str = "ms"
    baseline: str = "fastseq"


VIEWS = {
    "packed": View("us"),
    "stream": View("us"),
    "first-call": View("ms", "second"),
    "backends": View("ms", "cython"),
    "binary-addition": View("s"),
    "memory": View("MB", "kept"),
    "word2vec-memory": View("MB", "kept"),
    "import": View("ms", "numpy"),
}


def table(header, rows):
    """A Markdown table of strings with aligned columns."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def rows_table(suite, rows):
    """All rows of a suite.

    Every competitor but the baseline has its ratio to the baseline behind its time: in most
    suites the baseline is fastseq, and more than 1 means that fastseq is faster.
    """
    if not rows:
        return "(no rows)"
    view = VIEWS.get(suite, View())
    baseline = view.baseline if all(view.baseline in row.times for row in rows) else None
    names = _competitors(rows, baseline)
    keys = list(rows[0].case)
    against_peers = baseline == "fastseq"
    header = [*keys, *(f"{name} {view.unit}" for name in names)]
    header += ["x bound"] * has_bound(rows) + ["not clearly ahead"] * against_peers
    lines = []
    for row in rows:
        line = [case_text(row.case[key]) for key in keys]
        line += [_time(row, name, baseline, view.unit) for name in names]
        if has_bound(rows):
            line.append(f"{row.over_bound():.2f}")
        if against_peers:
            line.append(verdict(rivals(row)))
        lines.append(line)
    return table(header, lines)


def _competitors(rows, baseline):
    """Names of all columns, the baseline first."""
    names = dict.fromkeys(name for row in rows for name in row.times)
    return sorted(names, key=lambda name: name != baseline)  # the sort is stable


def rivals(row):
    """Name -> ratio of the peers; our own other ways of doing it are not rivals."""
    return {k: v for k, v in row.ratios().items() if not k.startswith("fastseq")}


def has_bound(rows):
    """Whether there is a roofline to compare with."""
    return all("bound" in row.facts for row in rows)


def _time(row, name, baseline, unit):
    if name not in row.times:
        return ""
    text = f"{row.median(name) * UNITS[unit]:.3g}"
    if baseline is None or name == baseline:
        return text
    return f"{text} ({row.ratio(name, over=baseline):.2f}x)"


def case_text(value):
    """A value of a case: shapes as T,B,H."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def means_table(rows):
    """Geometric mean of every peer's ratio, per cell and mode."""
    names = dict.fromkeys(name for row in rows for name in rivals(row))
    groups = dict.fromkeys((row.case["cell"], row.case["mode"]) for row in rows)
    lines = []
    for cell, mode in groups:
        mine = [row for row in rows if (row.case["cell"], row.case["mode"]) == (cell, mode)]
        lines.append([cell, mode, *(_mean(mine, name) for name in names)])
    return table(["cell", "mode", *names], lines)


def _mean(rows, name):
    mean = geometric_mean(row.ratio(name) for row in rows if name in row.times)
    return "" if mean is None else f"{mean:.2f}x"


GOAL_HEADER = ("what", "measured", "goal", "met")


def goal_cells(goal):
    """A goal as the cells of a line under ``GOAL_HEADER``."""
    bar = f"{'<=' if goal.at_most else '>='} {goal.bar:g}"
    return [goal.what, f"{goal.value:.3g}", bar, "yes" if goal.met else "**no**"]


def goals_table(goals):
    """Measured numbers beside their bars."""
    return table(GOAL_HEADER, map(goal_cells, goals))


def has_means(suite):
    """Whether a suite's rows have geometric means per cell and mode over peers."""
    return suite in ("layers", "odd-sizes", "float64")
