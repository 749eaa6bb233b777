"""Cython kernels let go of the interpreter: other Python threads run while they work."""

import sys
import threading
import time

import numpy as np
import pytest
from helpers import backward, forward, load_kernels, make_case, output_gradients


class Watched:
    """Kernels whose calls note during which of them no other Python thread could run.

    One runs only where the kernel lets it: the interpreter takes turns too rarely here, and NumPy's
    own functions, some of which let others run too, are called before or after.
    """

    def __init__(self, kernels):
        self._kernels, self._attempts = kernels, 50
        self.alone = set()

    def __getattr__(self, name):
        kernel = getattr(self._kernels, name)

        def call(*arguments):
            # On a busy machine the other thread may not get a core in time.
            if not any(_runs_beside(kernel, arguments) for _ in range(self._attempts)):
                self.alone.add(name)

        return call


def _runs_beside(kernel, arguments):
    """Whether another thread runs in the second half of a call: at its beginning a kernel may let
    go for a moment, while it takes memory."""
    ran, done = [], threading.Event()

    def run():
        while not done.is_set():
            ran.append(time.perf_counter())
            time.sleep(0.0001)

    other = threading.Thread(target=run)
    other.start()
    time.sleep(0.002)
    begin = time.perf_counter()
    kernel(*arguments)
    end = time.perf_counter()
    done.set()
    other.join()
    return any((begin + end) / 2 < moment < end for moment in ran)


@pytest.fixture(name="watched")
def watched_fixture():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield Watched(load_kernels("cython"))
    sys.setswitchinterval(before)


def test_python_code_holds_the_interpreter(watched):
    class Holding:
        def busy(self):
            end = time.perf_counter() + 0.02
            while time.perf_counter() < end:
                pass

        def sleeping(self):
            time.sleep(0.02)

    watched._kernels, watched._attempts = Holding(), 3
    watched.busy()
    watched.sleeping()
    assert watched.alone == {"busy"}


@pytest.mark.parametrize("cell, option", [("rnn", "tanh"), ("lstm", None), ("gru", True)])
def test_recurrent_kernels_let_others_run(watched, cell, option):
    case = make_case(cell, option, lengths=(300,) * 32, hidden_size=96, input_size=64)
    out = forward(watched, case)
    backward(watched, case, out, output_gradients(case))
    assert not watched.alone


def test_elementwise_kernels_let_others_run(watched):
    x = np.random.default_rng(0).normal(size=4_000_000)
    for function in (watched.exp, watched.tanh, watched.sigmoid):
        function(x, np.empty_like(x))
    watched.squared_norm(np.resize(x, 16_000_000))
    assert not watched.alone


def test_kernels_of_rows_let_others_run(watched):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(30_000, 200)), rng.normal(size=(300, 200))
    targets, logits = rng.integers(300, size=30_000), np.empty((30_000, 300))
    watched.multiply_rows(x, weight, None, logits)
    watched.add_linear_gradients(logits, x, np.zeros_like(weight), np.zeros(300))
    log_sums, picked = np.empty(30_000), np.empty(30_000)
    watched.softmax_cross_entropy_forward(logits, targets, log_sums, picked, None)
    watched.softmax_cross_entropy_backward(logits, targets, log_sums, 1.0, 1.0, 0.0, logits)
    watched.add_rows(logits, targets, np.zeros((300, 300)))
    assert not watched.alone
