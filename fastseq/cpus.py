"""How many CPUs this process may use: by its affinity, and by the quota of a container.

Linux control groups can grant a process less CPU time than it has CPUs; threads beyond the
quota would be stopped together, in the middle of their work.
"""

import os


def usable_cpus():
    """CPUs that this process may keep busy, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return min([count, *_quotas()])


def _quotas():
    """The limits of this process's control groups in whole CPUs, rounded up."""
    for folder, version in _control_groups():
        try:
            if version == 2:
                quota, period = _read(f"{folder}/cpu.max").split()
            else:
                quota, period = (_read(f"{folder}/cpu.cfs_{k}_us") for k in ("quota", "period"))
            quota, period = int(quota), int(period)
        except (OSError, ValueError):  # no such file; or "max", which is no number
            continue
        if quota > 0 and period > 0:  # -1 is no limit either
            yield -(-quota // period)


def _control_groups():
    """(folder, version) where limits may stand: the process's groups and all their parents.

    A container often sees only the top folder, which then is its own group.
    """
    try:
        lines = _read("/proc/self/cgroup").splitlines()
    except (OSError, ValueError):  # not Linux
        return
    for line in lines:  # "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root, version = ("/sys/fs/cgroup/cpu", 1) if controllers else ("/sys/fs/cgroup", 2)
        names = [name for name in path.split("/") if name]
        for depth in range(len(names) + 1):
            yield "/".join([root, *names[:depth]]), version


def _read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()
