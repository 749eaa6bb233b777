"""What to say where a state dict has other names than the parameters it is given to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# such as "encoder.weight_ih_l1_reverse"; cells have neither layer nor direction
_RECURRENT = (
    r"(?P<prefix>(?:.*\.)?)(?P<kind>weight|bias)_(?P<side>ih|hh|hr)"
    r"(?:_l(?P<layer>\d+)(?P<reverse>_reverse)?)?"
)


def way_out(names, state_dict):
    """The end of the message: what is the matter and what to do, or nothing where it isn't known.

    Parameters
    ----------
    names : iterable of str
        Those of the parameters.
    state_dict : mapping
        With other ones.
    """
    unexpected = [name for name in state_dict if name not in names]
    for name in unexpected:
        if isinstance(state_dict[name], Mapping):
            return f"; the state dict seems to lie within it: give that alone, as with x[{name!r}]"
    for name in unexpected:
        parts = str(name).split(".")
        for i in range(1, len(parts)):
            if ".".join(parts[i:]) in names:
                prefix = ".".join(parts[:i])
                return f"; take the part of the model, as with model.{prefix}.state_dict()"
    return _of_options(_recurrent(names), _recurrent(state_dict))


class Options(NamedTuple):
    """With what a recurrent layer was made, as far as its names tell."""

    is_cell: bool
    num_layers: int
    bidirectional: bool
    bias: bool
    is_projected: bool


def _recurrent(names):
    """The options of each recurrent layer, by the prefix of its names."""
    found = {}
    for name in names:
        match = re.fullmatch(_RECURRENT, str(name))
        if match:
            found.setdefault(match["prefix"], []).append(match)
    return {
        prefix: Options(
            is_cell=all(match["layer"] is None for match in matches),
            num_layers=1 + max(int(match["layer"] or 0) for match in matches),
            bidirectional=any(match["reverse"] for match in matches),
            bias=any(match["kind"] == "bias" for match in matches),
            is_projected=any(match["side"] == "hr" for match in matches),
        )
        for prefix, matches in found.items()
    }


def _of_options(own_options, other_options):
    """What to say of the first recurrent layer that was made with other options than its like."""
    for prefix, own in own_options.items():
        other = other_options.get(prefix, own)
        layer = prefix.rstrip(".") or "the layer"
        if other.is_projected:
            return f"; {layer} was made with proj_size, which isn't there in fastseq"
        if other.is_cell != own.is_cell:
            theirs, ours = ("a cell", "a layer") if other.is_cell else ("a layer", "a cell")
            return f"; '_l0' makes the difference: these names are {theirs}'s, and this is {ours}"
        changed = [
            f"{name}={getattr(other, name)}"
            for name in ("num_layers", "bidirectional", "bias")
            if getattr(other, name) != getattr(own, name)
        ]
        if changed:
            return f"; make {layer} with {', '.join(changed)}"
    return ""
