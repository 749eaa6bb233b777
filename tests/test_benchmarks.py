"""What lies in benchmarks/ runs: each suite once, and the page of results.  No times are judged."""

import importlib
import inspect
import io
import os
import re
import sys
from pathlib import Path

import pytest

import fastseq as fs
from fastseq.bench import command
from fastseq.bench.shapes import Shape

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.is_dir():  # as beside an installed package
    pytest.skip(f"the benchmarks are not at {BENCHMARKS}", allow_module_level=True)
SUITES = [path.stem for path in sorted(BENCHMARKS.glob("suites/[a-z]*.py"))]
CALLED = ("time_", "peakmem_", "track_")  # what asv knows these functions by; others it ignores


@pytest.fixture
def load(monkeypatch):
    """A function that imports a module from there; threads and environment are put back."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # which the suites would set for good
    before = fs.get_num_threads()
    yield importlib.import_module
    fs.set_num_threads(before)


def first_case(benchmark):
    """The first of each parameter's values, which has no other library in it."""
    params, names = getattr(benchmark, "params", ()), getattr(benchmark, "param_names", ())
    if len(params) and not isinstance(params[0], (list, tuple)):
        params = [params]
    assert len(params) == len(names)
    return [values[0] for values in params]


def run(benchmark):
    """Every function of an instance once, as asv would call it; how many there are."""
    case, count = first_case(benchmark), 0
    getattr(benchmark, "setup", lambda *case: None)(*case)
    try:
        for name, function in inspect.getmembers(benchmark, callable):
            if name.startswith(CALLED):
                function(*case)
            elif name.startswith("timeraw_"):
                compile(function(*case), name, "exec")
            else:
                continue
            count += 1
    finally:
        getattr(benchmark, "teardown", lambda *case: None)(*case)
    return count


@pytest.mark.parametrize("name", SUITES)
def test_suites_run(name, load, monkeypatch):
    suite = load(f"suites.{name}")
    if hasattr(suite, "WORDS"):
        monkeypatch.setattr(suite, "WORDS", 20_000)
    own = [
        value
        for value in vars(suite).values()
        if getattr(value, "__module__", "") == suite.__name__
    ]
    classes = [value for value in own if inspect.isclass(value) and value.__name__[0] != "_"]
    assert bool(classes) == (name != "common")
    for benchmark in classes:
        assert run(benchmark()) > 0


def test_sections_of_the_page_ask_for_what_there_is(load):
    sections = load("performance").SECTIONS
    for section in sections.values():
        assert len(command.parse([*section.options, "--quick"]).suites) == 1
    assert len({section.title for section in sections.values()}) == len(sections)


def test_the_page_is_made_of_results(load, tmp_path, monkeypatch):
    performance, page = load("performance"), tmp_path / "page.md"
    for number in range(2):  # measured already: the script goes on with what is missing
        command.run(
            ["layers"],
            cells=("gru",),
            shapes=(Shape(5, 3, 4),),
            peers=("numpy",),
            quick=True,
            rounds=1,
            json=tmp_path / f"layers-1.{number}.json",
            out=io.StringIO(),
            progress=io.StringIO(),
        )
    argv = ["--sections", "layers-1,binary-addition", "--quick", "--rounds", "1", "--repeat", "2"]
    argv += ["--results", str(tmp_path), "--output", str(page)]
    monkeypatch.setattr(sys, "argv", ["performance", *argv])
    performance.main()
    assert len(list(tmp_path.glob("*.json"))) == 4 and not list(tmp_path.glob("*.part"))
    text = page.read_text("utf-8")
    titles = ["Machine and versions", "Method", "Goals", "Where fastseq only ties or loses"]
    titles += ["Layers, one thread", "Binary addition"]
    assert re.findall("^## (.*)$", text, re.M) == titles
    assert text.count("1 + 1 rounds") == 2
    assert text.count("x bound is") == text.count("| x bound |") == 1
