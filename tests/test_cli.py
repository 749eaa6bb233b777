"""The command line: what it prints, where it prints it, and its exit codes."""

import argparse
import importlib
import os
import pkgutil
import re
import signal
import subprocess
import sys
import sysconfig
import types
from pathlib import Path

import pytest

import fastseq as fs
import fastseq.demo
from fastseq import cli, commands, processes
from fastseq.bench.peers import PEERS

ONE_THREAD = processes.blas_threads(1)
BACKEND = {"FASTSEQ_BACKEND": fs.get_backend()}  # chosen, so that a slower one doesn't warn


def run(*argv, stdout=subprocess.PIPE):
    """``python -m fastseq`` in a process of its own."""
    # -P: without it `python -m` looks for the package in the current folder first
    command = [sys.executable, "-P", "-m", "fastseq", *argv]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=os.environ | BACKEND
    )


@pytest.fixture
def in_this_process(monkeypatch):
    """The demo finds the environment that it wants, and needs no child to have it."""
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def calls(monkeypatch, in_this_process):
    """Keyword arguments of each call that reaches the demo, which does nothing here."""
    seen = []
    monkeypatch.setattr(fastseq.demo, "run", lambda **options: seen.append(options))
    return seen


def fail_with(monkeypatch, error):
    def fail(**options):
        raise error

    monkeypatch.setattr(fastseq.demo, "run", fail)


@pytest.mark.skipif(
    os.environ.get("FASTSEQ_TEST_INSTALLED") != "1",
    reason="FASTSEQ_TEST_INSTALLED=1 asks for the installed package",
)
def test_the_installed_package_is_the_one_tested():
    assert "site-packages" in Path(fs.__file__).parts


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fastseq {fs.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "example"),
    [
        (["--help"], "fastseq demo --short"),
        (["demo", "--help"], "fastseq demo --short --out pictures"),
        (["info", "--help"], "fastseq info tagger.safetensors"),
        (["predict", "--help"], "fastseq predict tagger.safetensors --format text"),
        (["train", "--help"], "fastseq train tagger train.conllu --out tagger.safetensors"),
        (["word2vec", "--help"], "fastseq word2vec train corpus.txt --out vectors.bin"),
    ],
)
def test_help_has_an_example_that_parses(argv, example, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 0
    assert f"example: {example}" in " ".join(capsys.readouterr().out.split())
    cli.build_parser().parse_args(example.split()[1:])


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = re.findall(r"^ {4}(\w+)", capsys.readouterr().out, re.MULTILINE)
    names = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    modules = {name: importlib.import_module(f"fastseq.commands.{name}") for name in names}
    own = [name for name, module in modules.items() if hasattr(module, "add")]
    assert sorted(listed) == sorted([*own, "bench"])


def test_help_names_every_peer(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = re.sub(r"\s", "", capsys.readouterr().out).lower().replace("pytorch", "torch")
    assert all(name in shown for name in [*PEERS, "gensim"])


def test_info_shows_the_configuration(capsys):
    fs.show_config()
    expected = capsys.readouterr().out
    assert cli.main(["info"]) == 0
    assert capsys.readouterr().out == expected != ""


def test_demo_passes_its_options_on(calls):
    options = ["--seed", "3", "--out", "pictures", "--seconds", "1.5", "--updates", "20"]
    assert cli.main(["demo", "--short", *options]) == 0
    assert calls == [{"short": True, "seed": 3, "out": "pictures", "seconds": 1.5, "updates": 20}]


def test_demo_defaults(calls):
    assert cli.main(["demo"]) == 0
    assert calls == [{"short": False, "seed": 0, "out": ".", "seconds": None, "updates": 10_000}]


def test_the_demo_of_pronunciation_is_one_of_its_own(calls, monkeypatch):
    monkeypatch.setattr(fastseq.demo, "run_g2p", lambda **options: calls.append(options))
    assert cli.main(["demo", "g2p", "--short", "--seed", "3", "--seconds", "2"]) == 0
    assert calls == [{"short": True, "seed": 3, "out": ".", "seconds": 2.0}]


def test_demo_of_word_vectors(monkeypatch, in_this_process, capsys):
    seen = []
    monkeypatch.setattr(fastseq.demo, "run_word2vec", lambda **options: seen.append(options))
    assert cli.main(["demo", "word2vec", "--short", "--seed", "3", "--out", "pictures"]) == 0
    assert seen == [{"short": True, "seed": 3, "out": "pictures"}]
    assert cli.main(["demo", "word2vec", "--seconds", "3"]) == 1
    assert "--seconds is for the character model and g2p;" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["word2vec", "g2p"])
def test_other_demos_refuse_updates(name, in_this_process, capsys):
    assert cli.main(["demo", name, "--updates", "5"]) == 1
    assert f"--updates is for the binary addition, which isn't part of demo {name}" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("result", [None, 3])
def test_bench_hands_everything_over(result, monkeypatch):
    seen = []

    def main(argv):
        seen.append(argv)
        return result

    monkeypatch.setitem(sys.modules, "fastseq.bench", types.SimpleNamespace(main=main))
    assert cli.main(["bench", "--help", "lstm", "--version"]) == (result or 0)
    assert seen == [["--help", "lstm", "--version"]]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "COMMAND"),
        (["dmeo"], "dmeo"),
        (["demo", "--seed", "-1"], "expected an integer of 0 or more, got '-1'"),
        (["demo", "--updates", "0"], "expected an integer of 1 or more, got '0'"),
        (["demo", "--updates", "1.5"], "expected an integer of 1 or more, got '1.5'"),
        (["demo", "--seconds", "soon"], "expected a number of seconds above 0, got 'soon'"),
        (["demo", "--seconds", "nan"], "expected a number of seconds above 0, got 'nan'"),
        (["demo", "--seconds", "inf"], "expected a number of seconds above 0, got 'inf'"),
        (["info", "model", "extra"], "extra"),
    ],
)
def test_a_wrong_command_line_exits_with_2(argv, message, calls, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not calls


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "fastseq: error: first second\n"),
        (PermissionError(13, "Permission denied", "x"), "fastseq: error: x: Permission denied\n"),
        (OSError(5, "Input/output error"), "fastseq: error: [Errno 5] Input/output error\n"),
        (OSError(18, "No link", "a", None, "b"), "fastseq: error: [Errno 18] No link: 'a' -> 'b'"),
        (FileNotFoundError(2, "No such file", ""), "fastseq: error: [Errno 2] No such file: ''"),
        (OSError("a measuring process failed"), "fastseq: error: a measuring process failed\n"),
        (ImportError("install the extra"), "fastseq: error: install the extra\n"),
        (ValueError(), "fastseq: error: ValueError\n"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(error, line, monkeypatch, in_this_process, capsys):
    fail_with(monkeypatch, error)
    assert cli.main(["demo"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch, in_this_process):
    fail_with(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])


def test_interrupting_exits_with_130(monkeypatch, in_this_process, capsys):
    fail_with(monkeypatch, KeyboardInterrupt())
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "\nfastseq: interrupted\n"


# --- environment variables ------------------------------------------------------------------

SCRIPT = Path(sysconfig.get_path("scripts")) / "fastseq"
WRONG_VARIABLES = [
    ("FASTSEQ_NUM_THREADS", "abc", "an integer from 1 to 256, got 'abc'; unset it"),
    ("FASTSEQ_NUM_THREADS", "0", "at least 1, got 0"),
    ("FASTSEQ_BACKEND", "fortran", "one of 'cython', 'numba', 'numpy', got 'fortran'"),
    ("FASTSEQ_ISA", "abacus", "'generic', which this processor has, got 'abacus'; unset it"),
]


def run_wrongly(command, variable, value, folder):
    """A command with a wrong environment variable; skipped where nobody reads the variable."""
    if variable == "FASTSEQ_ISA" and fs.get_backend() != "cython":
        pytest.skip("only the compiled extension has instruction sets")
    environment = os.environ | BACKEND | {variable: value, "PYTHONPATH": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


@pytest.mark.parametrize(("variable", "value", "message"), WRONG_VARIABLES)
@pytest.mark.parametrize("module", [None, "fastseq", "fastseq.bench"])
def test_a_wrong_variable_is_one_line_and_exit_code_2(module, variable, value, message, tmp_path):
    command = [sys.executable, "-m", module] if module else [str(SCRIPT)]
    if not module and not SCRIPT.exists():
        pytest.skip("the command is not installed")
    done = run_wrongly([*command, "--help"], variable, value, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fastseq: error: the environment variable {variable} must be ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("variable", "value", "message"), WRONG_VARIABLES)
@pytest.mark.parametrize("arguments", [["program.py"], ["-m", "program"]])
def test_a_wrong_variable_is_an_exception_elsewhere(arguments, variable, value, message, tmp_path):
    (tmp_path / "program.py").write_text("import fastseq")
    done = run_wrongly([sys.executable, *arguments, "fastseq"], variable, value, tmp_path)
    assert (done.returncode, done.stderr[:9]) == (1, "Traceback")
    assert f"\nValueError: the environment variable {variable} must be " in done.stderr
    assert message in done.stderr


def test_a_backend_that_is_not_installed_is_one_line_too(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('not here')")
    command = [sys.executable, "-m", "fastseq", "info"]
    done = run_wrongly(command, "FASTSEQ_BACKEND", "numba", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastseq: error: the numba backend is not available")
    assert done.stderr.count("pip install 'fastseq[jit]'") == done.stderr.count("\n") == 1


# --- processes ------------------------------------------------------------------------------


@pytest.fixture
def children(monkeypatch):
    """Arguments of each child that would be started."""
    seen = []
    monkeypatch.setattr(processes, "run_module", lambda *args: seen.append(args) or 7)
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    return seen


def test_demo_runs_in_a_child_with_one_blas_thread(children):
    assert cli.main(["demo", "--short", "--seed", "3"]) == 7
    assert children == [("fastseq", ["demo", "--short", "--seed", "3"], ONE_THREAD)]


def test_demo_leaves_threads_that_the_user_chose(children, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    cli.main(["demo"])
    assert children == [("fastseq", ["demo"], ONE_THREAD | {"OPENBLAS_NUM_THREADS": "4"})]


@pytest.mark.parametrize(("argv", "code"), [(["info"], 0), (["nonsense"], 2)])
def test_a_child_has_its_environment_and_hands_its_exit_code_on(argv, code, capfd):
    variables = {"FASTSEQ_NUM_THREADS": "3"}
    assert not processes.has_environment(variables)
    assert processes.run_module("fastseq", argv, variables) == code
    out, err = capfd.readouterr()
    assert ("num_threads     3" in out) == (code == 0)
    assert ("nonsense" in err) == (code == 2)


def test_a_child_does_not_import_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "fastseq.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert processes.run_module("fastseq", ["--version"], {}) == 0


@pytest.fixture
def children_hear_ctrl_c():
    """Children of a background job inherit that Ctrl-C is ignored, but not a handler for it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_ctrl_c_stops_both_processes_with_one_message(tmp_path, children_hear_ctrl_c):
    environment = {k: v for k, v in os.environ.items() if k not in ONE_THREAD}
    command = [sys.executable, "-P", "-m", "fastseq", "demo", "--updates", "300000"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment | BACKEND | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    ) as demo:
        for line in demo.stdout:  # the child is at work
            if line.startswith("iters:"):
                break
        os.killpg(demo.pid, signal.SIGINT)  # what a terminal does
        _, err = demo.communicate(timeout=60)
    assert (demo.returncode, err) == (130, "\nfastseq: interrupted\n")


def test_python_dash_m():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fastseq {fs.__version__}\n", "")


def test_an_unusable_folder_fails_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("demo", "--out", str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fastseq: error: out must be a folder")
    assert str(tmp_path / "file") in done.stderr and "--out" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error_message():
    read, write = os.pipe()
    os.close(read)  # whoever was to read has gone
    done = run("info", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_command_is_installed_with_the_package():
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        entry_points = distribution("fastseq").entry_points
    except PackageNotFoundError:
        pytest.skip("fastseq is imported from a folder, not installed")
    (command,) = (entry for entry in entry_points if entry.name == "fastseq")
    assert command.load() is cli.main


def parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


def test_every_command_has_help(capsys):
    found = list(parsers(cli.build_parser()))
    assert len(found) > 15
    for parser in found:
        text = parser.format_help()
        assert "usage: fastseq" in text
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(["--help"])
        assert stop.value.code == 0
        assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("predict m --format text data", {"model": "m", "format": "text", "data": "data"}),
        ("predict --out o m --proba data --column -1", {"model": "m", "data": "data", "out": "o"}),
        ("predict m --format text", {"model": "m", "data": "-"}),
        ("predict m --format text -", {"model": "m", "data": "-"}),
        ("predict -- m -data", {"model": "m", "data": "-data"}),
        ("translate m --beam 5 data", {"model": "m", "beam": 5, "data": "data"}),
        ("translate m --ensemble a data --ensemble b", {"data": "data", "ensemble": ["a", "b"]}),
        ("translate m --ensemble a -- -data", {"model": "m", "data": "-data", "ensemble": ["a"]}),
        ("translate m --beam 2 -- data", {"model": "m", "beam": 2, "data": "data"}),
        ("translate --beam 2 -- -m", {"model": "-m", "beam": 2, "data": "-"}),
        ("translate m --beam 2 --", {"model": "m", "beam": 2, "data": "-"}),
        ("chat m --beam 2 -- -", {"model": "m", "beam": 2, "data": "-"}),
        ("predict m --proba -- --proba", {"model": "m", "data": "--proba"}),
        ("info -- -m", {"model": "-m"}),
        ("word2vec similar v a --topn 2 -- -b -1 --", {"words": ["a", "-b", "-1", "--"]}),
        ("word2vec evaluate v --sections a -- -b", {"vectors": "v", "tests": ["a", "-b"]}),
        ("train seq2seq --out o --pairs a b --", {"data": ["a", "b"]}),
        ("demo --short -- g2p", {"short": True, "name": "g2p"}),
        ("chat m --n 2 data", {"model": "m", "n": 2, "data": "data"}),
        ("word2vec similar v --topn 2 a b", {"vectors": "v", "topn": 2, "words": ["a", "b"]}),
        ("word2vec similar v a --topn 2 b", {"vectors": "v", "topn": 2, "words": ["a", "b"]}),
        ("word2vec similar v --topn 2", {"vectors": "v", "words": []}),
        ("word2vec similar v -- -a --b", {"vectors": "v", "words": ["-a", "--b"]}),
        ("train tagger --out o --columns -1 -2 -- -d", {"data": "-d", "columns": [-1, -2]}),
        ("demo --short g2p", {"short": True, "name": "g2p"}),
    ],
)
def test_options_may_stand_anywhere(line, expected):
    args = vars(cli.build_parser().parse_args(line.split()))
    assert {name: args[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("command", "rest", "message"),
    [
        ("info", "--foo", "unrecognized arguments: --foo"),
        ("predict", "m --proba data more", "unrecognized arguments: more"),
        ("predict", "--proba", "the following arguments are required: MODEL"),
        ("predict", "m --proba --quantiles", "argument --quantiles: not allowed with argument"),
        ("word2vec similar", "v --foo", "unrecognized arguments: --foo"),
        ("translate", "m --beam 2 -- data --out", "unrecognized arguments: --out"),
        ("train seq2seq", "--out o --pairs a -- b", "unrecognized arguments: b"),
        ("translate", "m --beam -- data", "argument --beam: expected one argument"),
    ],
)
def test_a_wrong_command_line_shows_how_to_use_the_command(command, rest, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(f"{command} {rest}".split())
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"usage: fastseq {command} [-h]")
    assert f"fastseq {command}: error: {message}" in err
