"""Writes ``api.md``: all public names by topic, with their parameters and what they do.

``python docs/write_api.py`` after a change of a name, a parameter or a docstring's first paragraph.
"""

import inspect
import re
from pathlib import Path

import fastseq as fs

PAGE = Path(__file__).parent / "api.md"
HEAD = """# Public names

Written by `python docs/write_api.py`: do not edit. In Python `help(fs.LSTM)` has the whole text:
shapes, equations, errors, sources and examples. What all layers and networks have stands under
[Module](#module) alone.
"""
# Topic -> modules and folders of the package whose names belong there.
TOPICS = {
    "Recurrent layers, cells and streams": ("recurrent", "cells", "streaming"),
    "Other layers": ("layers", "latent"),
    "Decoders with attention": ("decoders", "decoding"),
    "Attention": ("attention",),
    "Losses": ("losses",),
    "Training": ("training",),
    "Data": ("data",),
    "Ready-made models": ("models",),
    "Search": ("search", "sampling"),
    "Word vectors": ("words",),
    "Metrics": ("metrics", "dialogue_metrics"),
    "Modules and parameters": ("module", "parameters"),
    "Files": ("checkpoint", "tensor_files"),
    "Settings": ("backend", "config", "elementwise"),
}

PLAIN = (bool, int, float, str, tuple, type(None))


def names_by_topic():
    """Topic -> public names; a name that belongs nowhere is an error."""
    found = {topic: [] for topic in TOPICS}
    topics = {room: topic for topic, rooms in TOPICS.items() for room in rooms}
    for name in fs.__all__:
        if not name.startswith("__"):
            room = getattr(fs, name).__module__.removeprefix("fastseq.").partition(".")[0]
            found[topics[room]].append(name)
    return found


def summary(thing):
    """The first paragraph of its docstring, without the markup of references."""
    text = " ".join(inspect.getdoc(thing).partition("\n\n")[0].split())
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)
    return text.replace("``", "`")


def parameters(function, *, bound=False):
    """A signature without annotations; a default that is no plain value becomes dots."""
    kept = list(inspect.signature(function).parameters.values())[bound:]
    return str(inspect.Signature([_without_annotation(parameter) for parameter in kept]))


def _without_annotation(parameter):
    default = parameter.default
    if default is parameter.empty or isinstance(default, PLAIN):
        return parameter.replace(annotation=parameter.empty)
    shown = default.__name__ if isinstance(default, type) else "..."
    return parameter.replace(annotation=parameter.empty, default=_Shown(shown))


class _Shown(str):
    """What is shown without quotes."""

    __repr__ = str.__str__


def members(cls):
    """Public attributes of a class by name, but for those that all modules have."""
    owners = [
        owner for owner in cls.__mro__ if cls is fs.Module or not issubclass(fs.Module, owner)
    ]
    found = {name: member for owner in reversed(owners) for name, member in vars(owner).items()}
    return {n: m for n, m in sorted(found.items()) if n == "__call__" or not n.startswith("_")}


def methods(cls):
    """Lines on what its objects can do, and know; what merely repeats a parameter is left out."""
    for name, member in members(cls).items():
        if isinstance(member, property) and inspect.isfunction(member.fget) and member.__doc__:
            yield f"- `.{name}`: {summary(member)}"
        elif inspect.isfunction(member):
            shown = "" if name == "__call__" else f".{name}"
            yield f"- `{shown}{parameters(member, bound=True)}`: {summary(member)}"
        elif isinstance(member, classmethod | staticmethod):
            shown = parameters(getattr(cls, name))
            yield f"- `{cls.__name__}.{name}{shown}`: {summary(member.__func__)}"


def entry(name):
    """What the page says of one name."""
    thing = getattr(fs, name)
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return "\n".join([f"### {name}", "", summary(thing)])
    lines = [f"### {name}", "", f"`{name}{parameters(thing)}`", "", summary(thing)]
    if inspect.isclass(thing) and (described := list(methods(thing))):
        lines += ["", *described]
    return "\n".join(lines)


def page():
    """The whole page."""
    parts = [HEAD]
    for topic, names in names_by_topic().items():
        parts += [f"## {topic}\n", *(entry(name) + "\n" for name in sorted(names, key=str.lower))]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
