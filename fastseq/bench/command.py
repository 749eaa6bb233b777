"""``fastseq bench``: options, the environment of a run, printing and saving.

:func:`main` starts a second process for the measurement, which has the numbers of threads of
all libraries in its environment.
"""

import argparse
import contextlib
import json
import os
import sys
from dataclasses import asdict

from fastseq import _command, processes
from fastseq.bench.machine import HOLDING_BACK
from fastseq.bench.shapes import CELLS, MODES, parse_shapes


def main(argv=None):
    """Run ``fastseq bench`` with these arguments; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    options = parse(argv)
    variables = environment(options.threads or 1)
    if not processes.has_environment(variables):
        return processes.run_module("fastseq", ["bench", *argv], variables)
    try:
        run(**vars(options))
    except (ValueError, OSError) as error:
        print(f"fastseq bench: error: {_command.describe(error)}", file=sys.stderr)
        return 1
    return 0


def parse(argv):
    """Read the command line."""
    from fastseq.bench.suites import SUITES, refuse_ignored, summary

    suites = "\n".join(f"  {name:16} {summary(name)}" for name in SUITES)
    parser = argparse.ArgumentParser(
        prog="fastseq bench",
        description="Compare fastseq with the peers that are installed: competitors take turns "
        "in one process; medians and ratios are printed.",
        epilog=f"suites:\n{suites}\n\nexample: fastseq bench layers --cells gru --quick",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("suites", nargs="*", metavar="SUITE", help="what to measure (default: layers)")
    # Without a default here an option that was given can be told from one that was not.
    add("--cells", type=_names(CELLS), help="default: lstm,gru,rnn")
    add("--mode", type=_names(MODES), dest="modes", help="default: inference,training")
    add("--shapes", type=_shapes, metavar="T,B,H;...", help="default: the suite's own")
    add("--threads", type=_threads_of_all, metavar="N", help="threads for everyone (default: 1)")
    add("--peers", type=_peers, help="torch,onnxruntime,openvino,jax,numpy (default: installed)")
    add("--rounds", type=_positive, help="turns of every competitor (default: 9, or 3 if long)")
    add("--dtype", choices=("float32", "float64"), help="default: float32")
    add("--quick", action="store_true", help="small and short: to see that it works")
    add("--json", metavar="FILE", help="also save everything, each round's times included")
    options = parser.parse_intermixed_args(argv)
    options.suites = options.suites or ["layers"]
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"SUITE: expected some of {', '.join(SUITES)}, got {', '.join(unknown)}")
    try:
        refuse_ignored(options.suites, _given(vars(options)))
    except ValueError as error:
        parser.error(str(error))
    return options


def _given(options):
    return {name: value for name, value in options.items() if value is not None}


def _names(allowed):
    def convert(text):
        names = tuple(text.split(","))
        if not set(names) <= set(allowed):
            expected = ", ".join(allowed)
            raise argparse.ArgumentTypeError(f"expected some of {expected}, got {text!r}")
        return names

    return convert


def _peers(text):
    from fastseq.bench.peers import PEERS

    return text if text == "auto" else _names(PEERS)(text)


def _shapes(text):
    try:
        return parse_shapes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of 1 or more, got {text!r}")
    return int(text)


def _threads_of_all(text):
    threads, cpus = _positive(text), os.cpu_count() or 1
    if threads > cpus:
        raise argparse.ArgumentTypeError(f"expected at most {cpus}, as there are CPUs, got {text}")
    return threads


def environment(threads):
    """Variables for a process in which everyone uses this many threads."""
    variables = processes.blas_threads(threads) | {"JAX_PLATFORMS": "cpu"}
    if threads == 1:
        variables["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return variables


@contextlib.contextmanager
def pinned(threads):
    """Keep this process on as many cores as it has threads, where the system can (Linux).

    Some peers take their number of threads from the cores that they may use.  The last cores
    are taken, because interrupts are often served by the first.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def run(suites=("layers",), *, json=None, out=None, progress=None, **options):
    """Measure in this process, print tables, return the results.

    Parameters
    ----------
    suites : sequence of str
        Names in ``suites.SUITES``.
    json : str, optional
        A file for the results.
    out, progress : file, optional
        Where tables and progress go; standard output and error by default.
    **options
        ``cells``, ``modes``, ``shapes``, ``threads``, ``peers``, ``rounds``, ``dtype``,
        ``quick`` as on the command line; None means the default.

    Returns
    -------
    list of dict
        One for each suite: suite, settings, machine, peers, missing and rows.

    Raises
    ------
    ValueError
        If a suite would ignore an option that is given: see ``suites.OPTIONS``.
    """
    from fastseq.bench.suites import Settings, refuse_ignored

    out, progress = out or sys.stdout, progress or sys.stderr
    options = _given(options)
    refuse_ignored(suites, options)
    settings = Settings.create(**options)
    if json is not None:
        with open(json, "a", encoding="utf-8"):
            pass  # a file that can't be written fails here, not after a long run
    for name, reason in settings.missing.items():
        print(f"skipped: {name} ({reason})", file=out)
    results = []
    with pinned(settings.threads), _threads(settings.threads):
        for suite in suites:
            results.append(_measure(suite, settings, progress))
            print(render(results[-1]), file=out, flush=True)
            if json is not None:  # after every suite: a long run that breaks off keeps what it has
                save(json, results)
    return results


@contextlib.contextmanager
def _threads(count):
    import fastseq

    before = fastseq.get_num_threads()
    fastseq.set_num_threads(count)
    try:
        yield
    finally:
        fastseq.set_num_threads(before)


def _measure(suite, settings, progress):
    from fastseq.bench import machine, suites

    def report(row, seconds):
        print(f"{suite}: {row.case} {seconds:.1f} s", file=progress, flush=True)

    described = machine.describe()
    rows = suites.measure(suite, settings, report)
    measured = {name.partition(" ")[0] for row in rows for name in row.times}
    return {
        "suite": suite,
        "settings": {
            "threads": settings.threads,
            "rounds": max((len(t) for row in rows for t in row.times.values()), default=0),
            "dtype": "float64" if suite in suites.FLOAT64_SUITES else settings.dtype,
            "quick": settings.quick,
        },
        "machine": described,
        "peers": {p.name: p.version for p in settings.peers if p.name in measured},
        "missing": dict(settings.missing),
        "rows": [asdict(row) for row in rows],
    }


def render(result):
    """A result as text: machine, rows, geometric means and goals."""
    from fastseq.bench import tables
    from fastseq.bench.goals import goals
    from fastseq.bench.timing import Row

    rows = [Row(**row) for row in result["rows"]]
    suite, settings = result["suite"], result["settings"]
    parts = [headline(result), tables.rows_table(suite, rows)]
    if tables.has_means(suite):
        parts.append(tables.means_table(rows))
    # Goals are of the sizes that --quick leaves out.
    reached = [] if settings["quick"] else goals(suite, rows, settings)
    if reached:
        parts.append(tables.goals_table(reached))
    return "\n\n".join(parts) + "\n"


def headline(result):
    """What was measured, on what, with which threads, and warnings."""
    settings, machine = result["settings"], result["machine"]
    ours = machine["fastseq"]
    isa = f" ({ours['isa']})" if ours["isa"] else ""
    peers = ", ".join(result["peers"].values()) or "no peers"
    threads, rounds = settings["threads"], settings["rounds"]
    cores, load, python = machine["cores"], machine["load"], machine["python"]
    lines = [
        f"{result['suite']}: {dtype_text(result)}threads {threads}, rounds {rounds}",
        f"{machine['cpu']}, {cores} cores, load {load}, Python {python}",
        f"fastseq {ours['version']} on {ours['backend']}{isa} against {peers}",
    ]
    return "\n".join([*lines, *warnings(result)])


def dtype_text(result):
    """The dtype and a comma, where a suite has numbers of one."""
    from fastseq.bench.suites import SUITES_WITHOUT_FLOATS

    has_none = result["suite"] in SUITES_WITHOUT_FLOATS
    return "" if has_none else f"{result['settings']['dtype']}, "


def warnings(result):
    """Reasons to distrust a result, as sentences."""
    settings, load = result["settings"], result["machine"]["load"]
    threads, cores = settings["threads"], len(result["machine"]["allowed_cores"])
    if cores < threads:
        yield f"The process may use {cores} of the cores, too few for {threads} threads."
    if settings["quick"]:
        yield "Measured with --quick: these numbers show that it runs, and nothing else."
    # Half a core for the system; our own earlier sections count with their threads.
    if load is not None and load > threads + 0.5:
        yield f"The machine was busy (load {load}): do not trust these numbers, or measure again."
    for name, value in result["machine"].get("environment", {}).items():
        if name in HOLDING_BACK:
            yield f"{name}={value} may hold other libraries back: unset it for a fair comparison."


def save(path, results):
    """Write results as JSON."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)


def load(path):
    """Read what :func:`save` wrote."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)
