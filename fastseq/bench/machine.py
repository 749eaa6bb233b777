"""What the numbers were measured on: recorded with every result."""

import datetime
import os
import platform
import sys

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "XLA_FLAGS",
    "FASTSEQ_BACKEND",
    "FASTSEQ_ISA",
    "FASTSEQ_NUM_THREADS",
)
# What keeps other libraries from the instructions that this processor has.
HOLDING_BACK = (
    "OPENBLAS_CORETYPE",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
)
_VECTOR_FLAGS = ("sse4_2", "avx2", "fma", "f16c", "avx_vnni", "asimd", "sve")
_VECTOR_PREFIXES = ("avx512", "amx")


def describe():
    """CPU, system, versions, threads and load as a dict of plain values."""
    import numpy

    cpu = _cpu_info()
    return {
        "cpu": _cpu_name(cpu),
        "flags": vector_flags(cpu),
        "cores": os.cpu_count(),
        "allowed_cores": sorted(allowed_cores()),
        "load": _load(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "fastseq": describe_fastseq(),
        "environment": {
            k: os.environ[k] for k in (*THREAD_VARIABLES, *HOLDING_BACK) if k in os.environ
        },
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def describe_fastseq():
    """Version, backend, instruction set and threads of this package."""
    from fastseq.config import get_config

    config = get_config()
    return {
        "version": config["fastseq"],
        "backend": config["backend"],
        "isa": config["isa"] or "",
        "threads": config["num_threads"],
    }


def _cpu_info():
    """The first processor's entries of /proc/cpuinfo; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            pairs = (line.split(":", 1) for line in iter(lines.readline, "\n") if ":" in line)
            return {key.strip(): value.strip() for key, value in pairs}
    except OSError:
        return {}


def _cpu_name(cpu):
    """In clouds the name alone is often that of several generations."""
    name = cpu.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in cpu and "model" in cpu:
        name += f" (family {cpu['cpu family']}, model {cpu['model']})"
    return name


def vector_flags(cpu=None):
    """The instruction sets that matter here, out of the kernel's long list."""
    cpu = _cpu_info() if cpu is None else cpu
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    return [f for f in flags if f in _VECTOR_FLAGS or f.startswith(_VECTOR_PREFIXES)]


def _load():
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def allowed_cores():
    """Numbers of the cores that this process may run on."""
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
