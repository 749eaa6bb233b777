# Which instruction set an extension uses: the one place for both, whose tables differ.

cdef const fs_isa *_isa = fs_available_isas()[0]


def available_isas():
    """Names of the instruction sets this build and this processor have, best first."""
    cdef const fs_isa *const *isas = fs_available_isas()
    names = []
    while isas[len(names)] != NULL:
        names.append(isas[len(names)].name.decode())
    return tuple(names)


def isa():
    """Name of the instruction set in use."""
    return _isa.name.decode()


def set_isa(name):
    """Use another instruction set than the best one."""
    global _isa
    names = available_isas()
    if name not in names:
        raise ValueError(
            "the environment variable FASTSEQ_ISA must be one of "
            f"{', '.join(map(repr, names))}, which this processor has, got {name!r}; "
            "unset it to use the widest"
        )
    _isa = fs_available_isas()[names.index(name)]


if os.environ.get("FASTSEQ_ISA"):
    set_isa(os.environ["FASTSEQ_ISA"])
