"""A picture of attention: which source token mattered for which target token."""


def draw(source, target, attention, path=None):
    """A heat map, the source from left to right and the target from top to bottom."""
    try:
        from matplotlib.figure import Figure  # pyplot would look for a display
    except ImportError as error:
        raise ImportError("plot_attention needs matplotlib: pip install 'fastseq[plot]'") from error
    size = 1.5 + 0.35 * len(source), 1.2 + 0.35 * len(target)
    axes = (figure := Figure(figsize=size, layout="tight")).add_subplot()
    axes.imshow(attention, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    rotation = 90 if max(map(len, source[:-1]), default=0) > 3 else 0  # the last one is the end
    # a dollar sign would begin a formula
    axes.set_xticks(range(len(source)), source, rotation=rotation, parse_math=False)
    axes.set_yticks(range(len(target)), target, parse_math=False)
    axes.xaxis.tick_top()
    if path is not None:
        figure.savefig(path)
    return figure
