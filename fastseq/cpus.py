"""How many CPUs this process may use: by its affinity, and by the quota of a container.

Linux control groups can grant a process less CPU time than it has CPUs; threads beyond the
quota would be stopped together, in the middle of their work.
"""

import os

from fastseq import control_groups


def usable_cpus():
    """CPUs that this process may keep busy, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return min([count, *control_groups.limits("cpu", _read_quota)])


def _read_quota(folder, version):
    """A control group's limit in whole CPUs, rounded up; None if it has none."""
    if version == 2:
        quota, period = control_groups.read(f"{folder}/cpu.max").split()
    else:
        files = (f"{folder}/cpu.cfs_{name}_us" for name in ("quota", "period"))
        quota, period = map(control_groups.read, files)
    quota, period = int(quota), int(period)
    if quota > 0 and period > 0:  # -1 is no limit either
        return -(-quota // period)
    return None
