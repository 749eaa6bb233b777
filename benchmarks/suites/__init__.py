"""asv suites: one file per question, parameters that stay the same from commit to commit.

Run from the folder above::

    asv check --python=same
    asv run --python=same

Peers (PyTorch, ONNX Runtime, a tutorial's NumPy loop) are a parameter; those that are not
installed are skipped.  Single samples, as taken by ``--quick``, show that a suite works and
nothing else: never compare or reject by them.
"""

import os

# Before NumPy loads.  asv runs every benchmark in a process of its own.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
