"""The choice of backend and threads, the import, and the public names."""

import ast
import doctest
import importlib
import inspect
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python
from layer_cases import LAYERS, assert_close, assert_identical, backend_fixture  # noqa: F401

import fastseq as fs
from fastseq import backend as waist
from fastseq.config import get_config


def is_available(name):
    before = fs.get_backend()
    try:
        fs.set_backend(name)
    except ImportError:
        return False
    finally:
        fs.set_backend(before)
    return True


# --- choosing -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cython", "numba", "numpy"])
def test_environment_chooses(name):
    done = run_python("import fastseq; print(fastseq.get_backend())", FASTSEQ_BACKEND=name)
    if is_available(name):
        assert (done.stdout.strip(), done.stderr) == (name, "")
    else:
        assert done.returncode == 1
        assert f"ImportError: the {name} backend is not available" in done.stderr


def test_wrong_environment_is_refused():
    done = run_python("import fastseq", FASTSEQ_BACKEND="fortran")
    assert "ValueError: the environment variable FASTSEQ_BACKEND must be one of" in done.stderr
    assert "'cython', 'numba', 'numpy', got 'fortran'" in done.stderr
    for value, message in (
        ("many", "must be an integer from 1 to 256, got 'many'"),
        ("0", "must be at least 1, got 0"),
        ("257", "must be at most 256, got 257"),
    ):
        done = run_python("import fastseq", FASTSEQ_NUM_THREADS=value)
        assert "ValueError: the environment variable FASTSEQ_NUM_THREADS" in done.stderr
        assert message in done.stderr


HIDE = """
import sys
from importlib.machinery import ModuleSpec
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in {names!r}:
            raise ModuleNotFoundError(name)
        if name in {broken!r}:
            return ModuleSpec(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        raise ImportError(f"undefined symbol in {{module.__name__}}")
sys.meta_path.insert(0, Hidden())
import fastseq
print(fastseq.get_backend())
"""


def run_without(names=(), *, broken=(), first="", then="", **environment):
    """Print the backend where some modules are missing and others fail to load."""
    code = "\n".join([first, HIDE.format(names=names, broken=broken), then])
    return run_python(code, **environment)


def test_numpy_is_the_last_resort_with_one_warning():
    done = run_without(("fastseq._kernels", "numba"))
    assert done.stdout.strip() == "numpy"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "C compiler" in done.stderr and "pip install 'fastseq[jit]'" in done.stderr


def test_the_compiled_extension_is_preferred_in_silence():
    if not is_available("cython"):
        pytest.skip("the cython backend is not available")
    done = run_without()
    assert (done.stdout.strip(), done.stderr) == ("cython", "")


def test_numba_is_next_with_one_warning():
    if not is_available("numba"):
        pytest.skip("the numba backend is not available")
    done = run_without(("fastseq._kernels",))
    assert done.stdout.strip() == "numba"
    assert done.stderr.count("RuntimeWarning: fastseq runs on its slower numba backend") == 1
    assert "FASTSEQ_BACKEND=numba silences this warning" in done.stderr
    chosen = run_without(("fastseq._kernels",), FASTSEQ_BACKEND="numba")
    assert (chosen.stdout.strip(), chosen.stderr) == ("numba", "")


@pytest.mark.parametrize("hidden", [("fastseq._kernels",), ("fastseq._kernels", "numba")])
@pytest.mark.parametrize("source", [True, False], ids=["source", "installed"])
def test_a_missing_extension_is_mended_by_where_the_package_lies(hidden, source, tmp_path):
    """A clone's folder shadows the installed package for a Python that is started in it."""
    if "numba" not in hidden and not is_available("numba"):
        pytest.skip("the numba backend is not available")
    package = tmp_path / "clone" / "fastseq"
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "*.pyx", "__pycache__")
    shutil.copytree(Path(fs.__file__).parent, package, ignore=ignored)
    if source:
        (package / "_kernels.pyx").touch()
    first = f"import sys; sys.path.insert(0, {str(package.parent)!r})"
    done = run_without(hidden, first=first)
    assert done.stdout.strip() == ("numpy" if "numba" in hidden else "numba")
    assert done.stderr.count("RuntimeWarning") == 1
    way_out = f"start Python outside of the source folder {package.parent} to import"
    assert (way_out in done.stderr) == ("`pip install -e .`" in done.stderr) == source
    assert ("install fastseq from a wheel, or build it" in done.stderr) == (not source)
    refused = run_without(hidden, first=first, FASTSEQ_BACKEND="cython")
    assert refused.returncode == 1
    assert (way_out in refused.stderr) == source


def test_children_need_not_repeat_the_warning():
    if not is_available("numba"):
        pytest.skip("the numba backend is not available")
    code = "from fastseq import processes\nprocesses.run_module('fastseq', ['info'], {})"
    done = run_without(("fastseq._kernels",), then=code)
    assert "backend         numba" in done.stdout
    assert done.stderr.count("RuntimeWarning") == 1


def test_the_command_warns_without_a_place_in_the_code():
    done = run_without(("fastseq._kernels", "numba"), first="import sys; sys.argv = ['fastseq']")
    assert done.stderr.startswith("fastseq: warning: fastseq runs on its slower numpy backend.")
    assert done.stderr.count("\n") == 1 and "RuntimeWarning" not in done.stderr


def test_a_broken_extension_is_reported_though_numba_serves():
    if not is_available("numba"):
        pytest.skip("the numba backend is not available")
    done = run_without(broken=("fastseq._kernels",))
    assert done.stdout.strip() == "numba"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "undefined symbol in fastseq._kernels" in done.stderr


@pytest.mark.parametrize("broken", [("fastseq._kernels",), ("fastseq._kernels", "numba")])
def test_what_is_broken_is_reported_where_numpy_serves(broken):
    missing = () if "numba" in broken else ("numba",)
    done = run_without(missing, broken=broken)
    assert done.stdout.strip() == "numpy"
    assert done.stderr.count("RuntimeWarning") == 1
    for name in broken:
        assert f"undefined symbol in {name}" in done.stderr


def test_a_broken_backend_that_was_asked_for_is_an_error():
    done = run_without(broken=("fastseq._kernels",), FASTSEQ_BACKEND="cython")
    assert done.returncode == 1
    assert "ImportError: the cython backend is not available" in done.stderr
    assert "undefined symbol in fastseq._kernels" in done.stderr


def test_hidden_backend_is_refused_and_the_old_one_stays():
    code = (
        "try:\n    fastseq.set_backend('cython')\n"
        "except ImportError as error:\n    print(error)\n"
        "print(fastseq.get_backend())"
    )
    done = run_without(("fastseq._kernels",), then=code, FASTSEQ_BACKEND="numpy")
    first, message, last = done.stdout.strip().splitlines()
    assert first == last == "numpy"
    assert "the cython backend is not available" in message and "C compiler" in message


def test_set_backend_checks_its_argument():
    before = fs.get_backend()
    with pytest.raises(ValueError, match=r"name must be one of .*, got 'mkl'"):
        fs.set_backend("mkl")
    with pytest.raises(TypeError, match=r"name must be one of .*, got None"):
        fs.set_backend(None)
    assert fs.get_backend() == before


def test_switching_takes_effect_for_existing_layers(backend, monkeypatch):
    """The other backend's kernels are called, and give the same."""
    assert fs.get_backend() == backend
    x = np.random.default_rng(0).standard_normal((5, 4, 3))
    for name, make in LAYERS.items():
        layer = make(3, 6, 2, bidirectional=True, dtype=np.float64, seed=1)
        fs.set_backend(backend)
        y, final, backprop = layer.forward(x, None, [5, 2, 0, 3])
        dx, dinitial = backprop(y, final)
        fs.set_backend("numpy")
        expected = layer.forward(x, None, [5, 2, 0, 3])
        assert_close((y, final), expected[:2], 1e-12)
        assert_close((dx, dinitial), expected[2](*expected[:2]), 1e-12)
        monkeypatch.setattr(waist.kernels(), f"{name.split('-')[0]}_forward", None)
        with pytest.raises(TypeError, match="NoneType"):
            layer(x)
        monkeypatch.undo()


def test_forward_in_one_backend_and_back_in_another(backend):
    """The saved arrays are part of the contract."""
    x = np.random.default_rng(0).standard_normal((5, 4, 3))
    for make in LAYERS.values():
        layer = make(3, 6, 2, bidirectional=True, dtype=np.float64, seed=1)
        results = []
        for first, second in ((backend, backend), (backend, "numpy"), ("numpy", backend)):
            fs.set_backend(first)
            y, final, backprop = layer.forward(x, None, [5, 2, 0, 3])
            fs.set_backend(second)
            layer.parameters.zero_grad()
            results.append((*backprop(y, final), layer.parameters.flat_grad.copy()))
        assert_close(results[1], results[0], 1e-12)
        assert_close(results[2], results[0], 1e-12)


# --- threads --------------------------------------------------------------------------------


def test_threads(backend):
    fs.set_num_threads(3)
    assert fs.get_num_threads() == 3
    fs.set_num_threads(np.int64(1))
    assert fs.get_num_threads() == 1
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="n must be"):
            fs.set_num_threads(wrong)
    with pytest.raises(ValueError, match="n must be at most 256, got 257"):
        fs.set_num_threads(257)
    assert fs.get_num_threads() == 1
    fs.set_num_threads(256)
    assert fs.get_num_threads() == 256


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_woken_threads_may_use_all_processors_again():
    """A sleeping worker is kept off its caller's processor, until it runs."""
    code = """
import os, time
import numpy as np
import fastseq as fs

def masks():
    return [os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")]

fs.set_num_threads(3)
lstm, x = fs.LSTM(128, 128, seed=0), np.ones((20, 32, 128), np.float32)
expected, usual = lstm(x)[0], os.sched_getaffinity(0)
count = len(masks())
for _ in range(20):
    time.sleep(0.01)  # long enough for the workers to fall asleep
    assert (lstm(x)[0] == expected).all()
end = time.monotonic() + 10
while any(mask != usual for mask in masks()) and time.monotonic() < end:
    time.sleep(0.01)
assert masks() == count * [usual], masks()
print(count)
"""
    run = run_python(code, OPENBLAS_NUM_THREADS="1")
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 3  # ours, and perhaps a sanitizer's


def test_a_new_backend_is_told_the_threads(monkeypatch):
    told = []
    monkeypatch.setattr("fastseq.reference.set_num_threads", told.append)
    before, threads = fs.get_backend(), fs.get_num_threads()
    try:
        fs.set_backend("numpy")
        fs.set_num_threads(5)
    finally:
        fs.set_num_threads(threads)
        fs.set_backend(before)
    assert told[:2] == [threads, 5]


def test_threads_at_start():
    code = "import os, fastseq; print(fastseq.get_num_threads())"
    assert run_python(code, FASTSEQ_NUM_THREADS="7", FASTSEQ_BACKEND="numpy").stdout == "7\n"
    if hasattr(os, "sched_setaffinity"):
        pinned = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n" + code
        assert run_python(pinned, FASTSEQ_BACKEND="numpy").stdout == "1\n"


# --- the import -----------------------------------------------------------------------------


def test_import_is_light():
    """NumPy, our extension, and the standard library; numba only where it is the fallback."""
    code = """
import sys, numpy
before = set(sys.modules)
import fastseq
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(new - sys.stdlib_module_names))
"""
    chosen = "cython" if is_available("cython") else "numpy"
    done = run_python(code, FASTSEQ_BACKEND=chosen)
    # Cython's runtime registers modules of its own under names with underscores
    names = [name for name in eval(done.stdout) if "cython" not in name.lower()]
    assert names == ["fastseq"]


def test_only_the_chosen_kernels_are_imported():
    code = "import sys, fastseq; print(sorted(m for m in sys.modules if m.startswith('fastseq.')))"
    done = run_python(code, FASTSEQ_BACKEND="numpy")
    assert "fastseq.jit" not in done.stdout and "fastseq._kernels" not in done.stdout
    if is_available("cython"):
        done = run_python(code, FASTSEQ_BACKEND="cython")
        assert "fastseq._kernels" in done.stdout
        assert "fastseq.jit" not in done.stdout and "fastseq.reference" not in done.stdout


# --- what is printed, and names -------------------------------------------------------------


def test_show_config(backend, capsys, monkeypatch):
    monkeypatch.setenv("FASTSEQ_NUM_THREADS", "9")
    assert fs.show_config() is None
    printed = capsys.readouterr().out
    values = get_config()
    for key in values:
        assert key in printed
    assert f"backend         {backend}" in printed
    assert "FASTSEQ_NUM_THREADS=9" in printed
    assert values["numpy"] == np.__version__ and values["fastseq"] == fs.__version__
    assert values["num_threads"] == fs.get_num_threads()
    assert backend in values["backends"]
    if backend == "cython":
        assert values["isa"] in values["available_isas"]


def test_isa_can_be_forced():
    kernels = pytest.importorskip("fastseq._kernels")
    code = "from fastseq.config import get_config; print(get_config()['isa'])"
    for isa in kernels.available_isas():
        done = run_python(code, FASTSEQ_ISA=isa, FASTSEQ_BACKEND="cython")
        assert (done.stdout.strip(), done.stderr) == (isa, "")
    done = run_python(code, FASTSEQ_ISA="abacus", FASTSEQ_BACKEND="cython")
    assert done.returncode == 1 and "abacus" in done.stderr


def test_word_vectors_refuse_instruction_sets_as_layers_do():
    pytest.importorskip("fastseq._word2vec")
    done = run_python("import fastseq._word2vec", FASTSEQ_ISA="abacus", FASTSEQ_BACKEND="numpy")
    assert done.returncode == 1 and "FASTSEQ_ISA must be one of" in done.stderr


LAYER = "bias=True, batch_first=False, dropout=0.0, bidirectional=False"
SIGNATURES = {
    "RNN": f"input_size, hidden_size, num_layers=1, *, nonlinearity='tanh', {LAYER}",
    "LSTM": f"input_size, hidden_size, num_layers=1, *, {LAYER}",
    "GRU": f"input_size, hidden_size, num_layers=1, *, reset_after=True, {LAYER}",
    "RNNCell": "input_size, hidden_size, *, nonlinearity='tanh', bias=True",
    "LSTMCell": "input_size, hidden_size, *, bias=True",
    "GRUCell": "input_size, hidden_size, *, reset_after=True, bias=True",
}
METHODS = {
    "__call__": "x, state=None, lengths=None, *, embedding=None, beside=None",
    "forward": "x, state=None, lengths=None, *, embedding=None, beside=None",
    "stream": "batch_size=1",
    "state_dict": "*, tied=False",
    "load_state_dict": "state_dict",
}


def signature(function):
    """As text, without self and annotations."""
    parameters = [
        p.replace(annotation=p.empty)
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    ]
    return str(inspect.Signature(parameters))[1:-1]


def test_signatures():
    for name, expected in SIGNATURES.items():
        text = signature(getattr(fs, name)).replace("<class 'numpy.float32'>", "np.float32")
        assert text == f"{expected}, dtype=np.float32, seed=None"
    for layer in (fs.RNN, fs.LSTM, fs.GRU):
        for name, expected in METHODS.items():
            assert signature(getattr(layer, name)) == expected
    backprop = fs.RNN(1, 1).forward(np.zeros((1, 1)))[2]
    assert signature(backprop) == "dy, dstate=None, *, input_grad=True"


def test_documentation_is_there():
    for name in fs.__all__:
        if name != "__version__":
            assert "Examples\n" in inspect.getdoc(getattr(fs, name)), name


@pytest.mark.parametrize("name", [name for name in fs.__all__ if name != "__version__"])
def test_examples_run(name):
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    found = finder.find(getattr(fs, name), name, module=False, globs={})
    assert sum(runner.run(test).attempted for test in found) > 0
    assert runner.summarize(verbose=False).failed == 0


def test_backends_agree_in_float32(backend):
    x = np.random.default_rng(0).standard_normal((20, 6, 8)).astype(np.float32)
    for make in LAYERS.values():
        layer = make(8, 12, seed=1)
        got = layer(x)
        fs.set_backend("numpy")
        assert_close(got, layer(x), 2e-6)
        fs.set_backend(backend)
        assert_identical(layer(x), got)


def test_training_is_imported_when_asked_for():
    code = """
import sys, fastseq
late = {f"fastseq.{module}" for module in fastseq._LATER}
print(sorted(late & set(sys.modules)))
print(all(hasattr(fastseq, name) for name in fastseq.__all__), late <= set(sys.modules))
print(set(fastseq.__all__) == set(dir(fastseq)))
"""
    assert run_python(code).stdout == "[]\nTrue True\nTrue\n"
    with pytest.raises(AttributeError, match="module 'fastseq' has no attribute 'Transformer'"):
        fs.Transformer  # noqa: B018


def test_the_stub_of_the_package_has_the_same_names():
    stub = Path(fs.__file__).with_suffix(".pyi").read_text("utf-8")
    tree = ast.parse(stub)
    imported = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            assert all(alias.asname == alias.name for alias in node.names)  # or it is private
            imported |= {alias.name: node.module for alias in node.names}
    assert sorted(imported) == fs.__all__
    for name, module in imported.items():
        value = getattr(importlib.import_module(module), name)
        assert value is getattr(fs, name), name
