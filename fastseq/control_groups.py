"""What Linux control groups, as those of containers, let this process have of a resource."""


def limits(controller, read_limit):
    """The limits of the process's groups and all their parents, where there are any.

    ``read_limit(folder, version)`` reads one from a group's files, or gives None.  A container
    often sees only the top folder, which then is its own group.
    """
    for folder, version in _folders(controller):
        try:
            limit = read_limit(folder, version)
        except (OSError, ValueError):  # no such file; or "max", which is no number
            continue
        if limit is not None:
            yield limit


def read(path):
    """The text of a file."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def _folders(controller):
    """(folder, version) where limits of the controller, such as ``"cpu"``, may stand."""
    try:
        lines = read("/proc/self/cgroup").splitlines()
    except (OSError, ValueError):  # not Linux
        return
    for line in lines:  # "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root, version = "/sys/fs/cgroup", 2
        if controllers:
            root, version = f"{root}/{controller}", 1
        names = [name for name in path.split("/") if name]
        for depth in range(len(names) + 1):
            yield "/".join([root, *names[:depth]]), version
