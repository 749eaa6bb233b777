"""Dialogues from files: an utterance a line, or numbered exchanges as those of dialog bAbI."""

from __future__ import annotations

import os
import re

from fastseq import checks, files
from fastseq.data.vocabulary import UNITS

FORMATS = ("lines", "numbered")
FACTS = ("omit", "utterance", "join")


def read_dialogues(
    path: str | os.PathLike,
    *,
    format: str = "lines",
    facts: str = "omit",
    unit: str = "character",
) -> list[list]:
    """The dialogues in a file, each a list of utterances.

    Parameters
    ----------
    path : str or path
        A file in UTF-8, compressed if it ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``;
        ``"-"`` is standard input.
    format : {"lines", "numbered"}
        ``"lines"`` has one utterance a line, and empty lines between dialogues.

        ``"numbered"`` has lines ``ID user<TAB>bot``, as dialog bAbI (Bordes et al., 2017): what
        one says and what the other answers, either of which may be empty.  IDs count 1, 2, 3, ...;
        where they begin anew, or after an empty line, there is another dialogue.
    facts : {"omit", "utterance", "join"}
        What becomes of numbered lines without a tab, which are facts of a knowledge base: they are
        left out; each is an utterance, so that the answers no longer are every second one; or they
        go before what the user says next, with a blank between them (those that come last are an
        utterance of their own).  With ``"lines"`` there are none.
    unit : {"character", "word"}
        ``"character"`` leaves utterances as strings; ``"word"`` splits them at white space.

    Returns
    -------
    dialogues : list of lists of str, or of lists of str
        ``dialogues[i][j]`` is an utterance; in ``"numbered"`` files user and bot take turns, and
        ``dialogues[i][1::2]`` are the bot's.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If a line has no number where there should be one, another one than the next, or several
        tabs; if numbered exchanges are read as lines, or ``facts`` are asked of lines; if there
        is no dialogue; if the file is empty, damaged, or not UTF-8.

    References
    ----------
    Bordes, Boureau & Weston (2017), "Learning end-to-end goal-oriented dialog".

    Examples
    --------
    >>> import tempfile, pathlib, fastseq as fs
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "talk.txt")
    >>> size = path.write_text("hello\\nhi , how are you ?\\nfine\\n\\nbye\\nsee you\\n", "utf-8")
    >>> fs.read_dialogues(path)
    [['hello', 'hi , how are you ?', 'fine'], ['bye', 'see you']]
    >>> size = path.write_text("1 hi\\thello\\n2 a table\\twhere\\n\\n1 hi\\thello\\n", "utf-8")
    >>> fs.read_dialogues(path, format="numbered")
    [['hi', 'hello', 'a table', 'where'], ['hi', 'hello']]
    >>> folder.cleanup()
    """
    checks.choice("format", format, FORMATS)
    checks.choice("facts", facts, FACTS)
    checks.choice("unit", unit, UNITS)
    if format == "lines":
        if facts != "omit":
            raise ValueError(f"facts is for format='numbered', got {facts!r} with format='lines'")
        dialogues = list(_blocks(path))
    else:
        dialogues = [_utterances(lines, facts) for lines in _numbered(path)]
    dialogues = [dialogue for dialogue in dialogues if dialogue]
    if not dialogues:
        raise ValueError(f"{files.display_name(path)}: expected dialogues, got none")
    if unit == "word":
        return [[utterance.split() for utterance in dialogue] for dialogue in dialogues]
    return dialogues


def _blocks(path):
    """The lines between empty ones."""
    dialogue = []
    for number, line in files.numbered_lines(path):
        if line and not line.isspace():
            dialogue.append(line)
        elif dialogue:
            _check_numbered(path, number - len(dialogue), dialogue)
            yield dialogue
            dialogue = []
    if dialogue:
        _check_numbered(path, number + 1 - len(dialogue), dialogue)
    yield dialogue


_NUMBERED = re.compile(r"([0-9]{1,9})(?: (.*))?", re.DOTALL)


def _check_numbered(path, number, lines):
    """Raise if lines, from the one of this number on, are numbered exchanges."""
    if (
        lines[0].startswith("1 ")
        and "\t" in "".join(lines)
        and all(map(_NUMBERED.fullmatch, lines))
    ):
        raise files.located(
            path,
            number,
            f"expected utterances, got numbered exchanges: {files.shortened(lines[0])}; they are "
            "read with format='numbered' (--format numbered)",
        )


def _numbered(path):
    """The lines of each dialogue, without numbers: lists of one text, or of user's and bot's."""
    dialogue = []
    for number, line in files.numbered_lines(path):
        if not line or line.isspace():
            if dialogue:
                yield dialogue
            dialogue = []
            continue
        place, texts = _place_and_texts(path, number, line)
        if place == 1 and dialogue:
            yield dialogue
            dialogue = []
        if place != len(dialogue) + 1:
            raise files.located(
                path,
                number,
                f"expected ID {len(dialogue) + 1}, or 1 for another dialogue, got {place}: "
                f"{files.shortened(line)}",
            )
        dialogue.append(texts)
    yield dialogue


def _place_and_texts(path, number, line):
    """The number that a line begins with, and what tabs separate behind it."""
    found = _NUMBERED.fullmatch(line)
    if found is None:
        raise files.located(
            path,
            number,
            f"expected an ID and a blank before an utterance, got {files.shortened(line)}; "
            "a file of mere utterances is read with format='lines'",
        )
    texts = (found[2] or "").split("\t")
    if len(texts) > 2:
        raise files.located(
            path,
            number,
            f"expected one tab, between user and bot, got {len(texts) - 1}: "
            f"{files.shortened(line)}",
        )
    return int(found[1]), texts


def _utterances(lines, facts):
    """A dialogue's utterances; its facts as wished."""
    utterances, known = [], []
    for texts in lines:
        if len(texts) == 2:
            user, bot = texts
            utterances += [" ".join([*known, user]) if known else user, bot]
            known = []
        elif facts == "utterance":
            utterances += texts
        elif facts == "join":
            known += texts
    return utterances + [" ".join(known)] * bool(known)
