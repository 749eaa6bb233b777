"""How many CPUs and how much memory there are for this process, control groups regarded."""

import os

import pytest

from fastseq import control_groups, cpus
from fastseq.words import corpus_store

GROUP_2, GROUP_1 = "/sys/fs/cgroup", "/sys/fs/cgroup/cpu"


def fake_control_groups(monkeypatch, groups, files):
    """Let the process be in these groups, whose files have these texts."""
    if groups is not None:
        files = files | {"/proc/self/cgroup": groups}

    def read(path):
        try:
            return files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    monkeypatch.setattr(control_groups, "read", read)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {f"{GROUP_2}/cpu.max": "150000 100000\n"}, 2),
        ("0::/", {f"{GROUP_2}/cpu.max": "10000 100000\n"}, 1),
        ("0::/", {f"{GROUP_2}/cpu.max": "max 100000\n"}, 8),
        ("0::/", {f"{GROUP_2}/cpu.max": "6400000 100000\n"}, 8),  # more than there is
        ("0::/a/b", {f"{GROUP_2}/a/b/cpu.max": "300000 100000\n"}, 3),
        # the tightest of a group's and its parents' limits
        (
            "0::/a/b\n",
            {f"{GROUP_2}/a/b/cpu.max": "max 100000", f"{GROUP_2}/a/cpu.max": "100000 50000"},
            2,
        ),
        # a container that sees its own group on top, under a path that isn't there
        (
            "4:memory:/x\n3:cpu,cpuacct:/docker/1\n0::/",
            {
                f"{GROUP_1}/cpu.cfs_quota_us": "250000\n",
                f"{GROUP_1}/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        # another controller, whose name has this one's in it
        (
            "5:cpuset:/a\n4:cpu,cpuacct:/b",
            {
                f"{GROUP_1}/a/cpu.cfs_quota_us": "100000\n",
                f"{GROUP_1}/a/cpu.cfs_period_us": "100000\n",
                f"{GROUP_1}/b/cpu.cfs_quota_us": "200000\n",
                f"{GROUP_1}/b/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            "3:cpu:/",
            {f"{GROUP_1}/cpu.cfs_quota_us": "-1\n", f"{GROUP_1}/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        ("0::/", {f"{GROUP_2}/cpu.max": "100000 0"}, 8),
        ("0::/", {f"{GROUP_2}/cpu.max": "garbled"}, 8),
        ("garbled", {}, 8),
        ("", {}, 8),
        (None, {}, 8),  # not Linux
    ],
)
def test_cpus_within_a_quota(groups, files, expected, monkeypatch):
    fake_control_groups(monkeypatch, groups, files)
    monkeypatch.setattr(cpus.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert cpus.usable_cpus() == expected


def test_cpus_are_read_from_real_files():
    assert 1 <= cpus.usable_cpus() <= os.cpu_count()


GIGABYTE = 1 << 30


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {f"{GROUP_2}/memory.max": f"{2 * GIGABYTE}\n"}, 1),
        ("0::/", {f"{GROUP_2}/memory.max": "max\n"}, 4),
        ("0::/", {f"{GROUP_2}/memory.max": f"{99 * GIGABYTE}\n"}, 4),  # more than there is
        # a service's own limit, and one of those around it
        (
            "0::/a/b",
            {
                f"{GROUP_2}/a/b/memory.max": f"{6 * GIGABYTE}",
                f"{GROUP_2}/a/memory.max": f"{4 * GIGABYTE}",
                f"{GROUP_2}/memory.max": "max",
            },
            2,
        ),
        (
            "4:memory:/docker/1\n3:cpu,cpuacct:/x",
            {
                f"{GROUP_2}/memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}\n",  # none
                f"{GROUP_2}/memory/docker/1/memory.limit_in_bytes": f"{2 * GIGABYTE}\n",
                f"{GROUP_2}/cpu/x/memory.limit_in_bytes": "0",
            },
            1,
        ),
        ("", {}, 4),
        (None, {}, 4),  # not Linux
    ],
)
def test_half_of_the_memory_within_a_limit(groups, files, expected, monkeypatch):
    fake_control_groups(monkeypatch, groups, files)
    memory = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 8 * GIGABYTE // 4096}
    monkeypatch.setattr(corpus_store.os, "sysconf", memory.get)
    assert corpus_store.default_limit() == expected * GIGABYTE
