"""Measurements that need a fresh process: first call, import time, peak memory.

``python -m fastseq.bench.fresh '{"measure": "first_call", ...}'`` makes one measurement and
prints it as JSON; :func:`in_fresh_process` runs that.
"""

import json
import subprocess
import sys
import time

import fastseq as fs
from fastseq import processes
from fastseq.bench.peers import Fastseq, Torch
from fastseq.bench.problems import make_problem
from fastseq.bench.word_vectors import VARIANTS

_IMPORT = """
import time
start = time.perf_counter()
import {name}
print(time.perf_counter() - start)
"""


def in_fresh_process(measure, **options):
    """Run one of this module's measurements in a process of its own; its result."""
    job = json.dumps({"measure": measure, **options})
    return json.loads(_python("-m", "fastseq.bench.fresh", job))


def import_seconds(name):
    """Seconds of ``import name`` in a fresh process."""
    return float(_python("-c", _IMPORT.format(name=name)))


def _python(*arguments):
    command = [*processes.python(), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise OSError(f"a measuring process failed: {run.stderr.strip()[-500:]}")
    return run.stdout.splitlines()[-1]


def first_call(cell, mode, shape, threads):
    """Seconds of the first and of the second call of a layer, with inputs ready.

    The layer is made before, which runs a small one of its kind: see ``recurrent._warm_up``.
    """
    problem = make_problem(cell, shape)
    call, _ = Fastseq().prepare(problem, mode, threads)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return dict(zip(("first", "second"), times, strict=True))


def peak_memory(library, cell, shape):
    """Bytes that the process grows at most in one training call, inputs not counted."""
    peer = {"fastseq": Fastseq, "torch": Torch}[library]()
    warm_up, _ = peer.training(make_problem(cell, (2, 1, 4)), 1)
    warm_up()  # code and libraries that load on use are not the layer's
    call, _ = peer.training(make_problem(cell, shape), 1)
    before = _reset_peak()
    result = call()
    grown = _peak() - before
    del result  # until here it is alive, as in real training
    return {"grown": grown}


def word2vec_memory(path, variant, size):
    """Bytes by which Word2Vec grows the process from a file to vectors, and those that it keeps."""
    options = {"vector_size": size, "workers": 1, "progress": False, **VARIANTS[variant]}
    fs.Word2Vec([["to", "be"]], min_count=1, **options)  # code that loads on use
    before = _reset_peak()
    corpus = fs.Corpus.from_file(path, workers=1, progress=False)
    model = fs.Word2Vec(**options)
    model.build_vocab(corpus)
    model.train(epochs=1)
    grown = _peak() - before
    matrices = (model.wv.vectors, model.syn1neg, model.syn1)
    kept = [matrix for matrix in matrices if matrix is not None]
    return {"grown": grown, "kept": sum(a.nbytes for a in [corpus.ids, corpus.offsets, *kept])}


def kept_bytes(cell, shape, itemsize=4):
    """What a training call has to hold at once besides inputs and parameters, in bytes.

    Output, dx and, per hidden unit, 4 gates (GRU: and the recurrent candidate instead of one)
    and the LSTM's cell state; the gradients of the gates can take the place of the gates.
    The plain RNN saves nothing for backward, and its gradients can be used a few tokens at a time.
    """
    steps, batch, hidden = shape
    units = {"lstm": 4 + 1, "gru": 4, "rnn": 0}[cell]
    return (units + 2) * steps * batch * hidden * itemsize


def _status(field):
    """A line of /proc/self/status in bytes."""
    with open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _reset_peak():
    """Forget the peak so far where the kernel can (Linux); returns the size from now on."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        return _status("VmRSS")
    except OSError:
        return _peak()


def _peak():
    """The largest resident size so far, bytes."""
    try:
        return _status("VmHWM")
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _main():
    job = json.loads(sys.argv[1])
    measures = {each.__name__: each for each in (first_call, peak_memory, word2vec_memory)}
    print(json.dumps(measures[job.pop("measure")](**job)))


if __name__ == "__main__":
    _main()
