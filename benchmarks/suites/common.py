"""What the suites share: parameters, and a case whose call is ready to be timed."""

import importlib

from fastseq.bench import machine
from fastseq.bench.peers import PEERS, Fastseq
from fastseq.bench.problems import make_problem

CELLS = ["lstm", "gru", "rnn"]
# (T, B, H): a latency-bound one, a small batch, a typical one, a large one
SHAPES = [(50, 1, 64), (50, 16, 128), (100, 32, 128), (100, 32, 256)]
COMPETITORS = ["fastseq", "torch", "onnxruntime", "numpy"]


def load(name):
    """A competitor, or NotImplementedError, which tells asv to skip, if it is not installed."""
    try:
        return Fastseq() if name == "fastseq" else PEERS[name]()
    except ImportError as error:
        raise NotImplementedError(str(error)) from error


def require(name):
    """A module, or NotImplementedError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotImplementedError(str(error)) from error


def require_cores(count):
    """NotImplementedError if this process may not run on as many cores."""
    if count > len(machine.allowed_cores()):
        raise NotImplementedError(f"{count} threads need as many cores")


def prepare(name, mode, cell, shape, *, threads=1, dtype="float32", lengths=None):
    """A competitor's call, run once: memory is touched and code is loaded before timing."""
    competitor = load(name)
    problem = make_problem(cell, shape, dtype, lengths)
    if not competitor.supports(problem, mode):
        raise NotImplementedError(f"{name} has no {mode} in {dtype}")
    call, _ = competitor.prepare(problem, mode, threads)
    call()
    return call
