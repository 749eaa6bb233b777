"""The shapes that are compared: (T, B, H) of one layer whose input size is H."""

from typing import NamedTuple

CELLS = ("lstm", "gru", "rnn")
MODES = ("inference", "training")


class Shape(NamedTuple):
    """Time steps, batch rows and hidden units of one layer."""

    steps: int
    batch: int
    hidden: int

    def __str__(self):
        return ",".join(map(str, self))


SHAPES = tuple(
    Shape(*sizes)
    for sizes in (
        (50, 1, 64),
        (100, 1, 256),
        (100, 1, 512),
        (1000, 1, 128),
        (50, 16, 128),
        (35, 20, 200),
        (35, 20, 650),
        (100, 32, 128),
        (1000, 32, 64),
        (100, 32, 256),
        (50, 128, 256),
        (100, 64, 512),
        (25, 64, 1024),
    )
)
QUICK_SHAPES = (Shape(50, 1, 64), Shape(50, 16, 128))


def parse_shapes(text):
    """Read ``"T,B,H;T,B,H"``.

    >>> parse_shapes("100,32,128; 50,1,64")
    (Shape(steps=100, batch=32, hidden=128), Shape(steps=50, batch=1, hidden=64))
    """
    parts = text.strip().removesuffix(";").split(";")
    return tuple(_parse_shape(part) for part in parts)


def _parse_shape(text):
    try:
        shape = Shape(*map(int, text.split(",")))
    except (TypeError, ValueError):
        shape = None
    if shape is None or min(shape) < 1:
        raise ValueError(
            f"shapes: expected three positive integers 'T,B,H' separated by ';', got {text!r}; "
            "for example '100,32,128;50,1,64'"
        )
    return shape
