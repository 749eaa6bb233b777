"""Vocabularies: tokens as numbers, and back."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np

from fastseq import checks, files

SPECIAL = ("padding", "unknown", "begin", "end")  # also the order of their ids
UNITS = ("word", "character")

_FORMAT = "fastseq vocabulary"
_VERSION = 1


class Vocabulary:
    """A list of tokens, each with its place in the list as its id.

    Usually made from data by :meth:`build`, or read by :meth:`load`.

    Parameters
    ----------
    tokens : sequence of str
        All tokens in the order of their ids, special ones included, none twice.
    unit : str
        What a token is: a ``"word"``, or a ``"character"`` of a string.
    padding, unknown, begin, end : str or None
        Special tokens, which must be among ``tokens``: what fills batches up, what stands for
        tokens that aren't in the list, and what may be put before and after a sequence.
    counts : sequence of int or None
        How often each token was seen.

    Attributes
    ----------
    tokens : tuple of str
    counts : ndarray of int64, (V,)
        Zeros if they were not given.
    padding_id, unknown_id, begin_id, end_id : int or None
        The ids of the special tokens.

    Raises
    ------
    TypeError, ValueError
        If a token is no string, or comes twice; if a special token is missing.

    Notes
    -----
    A token in the data that is spelled like a special one gets its id.

    Examples
    --------
    >>> import fastseq as fs
    >>> lines = [["to", "be", "or", "not", "to", "be"], ["be", "not"]]
    >>> vocabulary = fs.Vocabulary.build(lines, min_count=2)
    >>> vocabulary.tokens
    ('<pad>', '<unk>', 'be', 'not', 'to')
    >>> ids = vocabulary.encode(["not", "to", "see"])
    >>> ids
    array([3, 4, 1])
    >>> vocabulary.decode(ids).tolist()
    ['not', 'to', '<unk>']
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        unit: str = "word",
        padding: str | None = None,
        unknown: str | None = None,
        begin: str | None = None,
        end: str | None = None,
        counts: Sequence[int] | None = None,
    ) -> None:
        self.unit = self._check_unit(unit)
        self.tokens = _check_tokens(tokens)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            token = next(t for i, t in enumerate(self.tokens) if self._ids[t] != i)
            raise ValueError(f"tokens must differ from each other, got {token!r} twice")
        special = check_special(padding, unknown, begin, end)
        for role, token in special.items():
            if token is not None and token not in self._ids:
                raise ValueError(
                    f"{role} must be one of the tokens, got {token!r}; add it to the tokens"
                )
        self.padding, self.unknown, self.begin, self.end = special.values()
        ids = (self._ids.get(token) for token in special.values())
        self.padding_id, self.unknown_id, self.begin_id, self.end_id = ids
        self.counts = _check_counts(counts, len(self.tokens))
        self._array = np.empty(len(self.tokens), object)  # a dtype of strings would cut off NULs
        self._array[:] = self.tokens
        self._table = self._character_table() if unit == "character" else None

    @classmethod
    def build(
        cls,
        sequences: Iterable[Iterable[str]],
        *,
        unit: str = "word",
        min_count: int = 1,
        max_size: int | None = None,
        padding: str | None = "<pad>",
        unknown: str | None = "<unk>",
        begin: str | None = None,
        end: str | None = None,
    ) -> Vocabulary:
        """The vocabulary of some data.

        Special tokens come first, the others by falling count, then in the order of their text.

        Parameters
        ----------
        sequences : iterable of sequences of str
            With ``unit="character"`` also strings, or one string.
        unit : str
            ``"word"`` or ``"character"``.
        min_count : int
            Tokens that come less often are left out, and become the unknown token.
        max_size : int or None
            The size of the vocabulary at most, special tokens included; the rarest are left out.
        padding, unknown, begin, end : str or None
            Special tokens; None for those that are not wanted.

        Returns
        -------
        vocabulary : Vocabulary
            With the counts of its tokens; the unknown token has those of all that were left out.

        Raises
        ------
        TypeError
            If a token is no string, or a string stands where a list of words should be.
        ValueError
            If there are no tokens, or tokens are left out though there is no unknown token; if
            the special tokens are more than ``max_size``.

        Examples
        --------
        >>> import fastseq as fs
        >>> fs.Vocabulary.build("banana", unit="character", padding=None, max_size=3).tokens
        ('<unk>', 'a', 'n')
        """
        cls._check_unit(unit)
        min_count = checks.positive_int("min_count", min_count)
        special = check_special(padding, unknown, begin, end)
        reserved = list(dict.fromkeys(token for token in special.values() if token is not None))
        counts = _count(sequences, unit)
        seen = [counts.pop(token, 0) for token in reserved]
        common = [item for item in counts.items() if item[1] >= min_count]
        common.sort(key=lambda item: (-item[1], item[0]))
        if max_size is not None:
            max_size = checks.positive_int("max_size", max_size)
            if max_size < len(reserved):
                raise ValueError(
                    f"max_size must leave room for the {len(reserved)} special tokens "
                    f"{', '.join(map(repr, reserved))}, got {max_size}"
                )
            common = common[: max_size - len(reserved)]
        if len(common) < len(counts):
            if unknown is None:
                raise ValueError(
                    f"min_count = {min_count} and max_size = {max_size} leave out "
                    f"{len(counts) - len(common)} tokens, but there is no unknown token to "
                    'stand for them: give one, as with unknown="<unk>"'
                )
            left_out = counts.total() - sum(count for _, count in common)
            seen[reserved.index(unknown)] += left_out
        return cls(
            [*reserved, *(token for token, _ in common)],
            unit=unit,
            counts=[*seen, *(count for _, count in common)],
            **special,
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __eq__(self, other):
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.to_json() == other.to_json()

    __hash__ = None

    def __repr__(self):
        special = [f"{role}={self._special()[role]!r}" for role in SPECIAL if self._special()[role]]
        return f"<{type(self).__name__} of {len(self)} {self.unit}s: {', '.join(special)}>"

    # --- tokens and ids ---------------------------------------------------------------------

    def encode(
        self, tokens: Sequence[str] | np.ndarray, *, begin: bool = False, end: bool = False
    ) -> np.ndarray:
        """The ids of tokens.

        Parameters
        ----------
        tokens : sequence of str, or array of str of any shape
            Also a string, if the unit is the character.
        begin, end : bool
            Whether to put the begin token before, the end token after them (a sequence only).

        Returns
        -------
        ids : ndarray of int64, (T,) or the shape of ``tokens``

        Raises
        ------
        TypeError
            If a token is no string, tokens have no order, as those of a set, or begin or end is
            neither True nor False.
        ValueError
            If a token isn't in the vocabulary and there is no unknown token; if the begin or
            end token is asked for and there is none.

        Examples
        --------
        >>> import fastseq as fs
        >>> vocabulary = fs.Vocabulary.build([["a", "b"]], begin="<s>", end="</s>")
        >>> vocabulary.encode(["b", "c"], begin=True, end=True)
        array([2, 5, 1, 3])
        """
        edges = {"begin": begin, "end": end}
        before, after = (
            [self._edge(role)] if checks.flag(role, wanted) else []
            for role, wanted in edges.items()
        )
        ids = self._look_up(tokens)
        if before or after:
            if ids.ndim != 1:
                raise ValueError(
                    f"tokens must be 1-D where begin or end are added, got shape {ids.shape}"
                )
            ids = np.concatenate([np.array(before, ids.dtype), ids, np.array(after, ids.dtype)])
        return ids

    def encode_all(
        self, sequences: Iterable[Sequence[str]], *, begin: bool = False, end: bool = False
    ) -> list[np.ndarray]:
        """The ids of each of many sequences.

        Parameters
        ----------
        sequences : iterable of sequences of str
            Each as for :meth:`encode`.
        begin, end : bool
            Whether each gets the begin token before, the end token after it.

        Returns
        -------
        ids : list of ndarray of int64, each (T_i,)

        Raises
        ------
        TypeError, ValueError
            As :meth:`encode`; the message names the sequence.  Also if there is one sequence
            instead of many.

        Examples
        --------
        >>> import fastseq as fs
        >>> vocabulary = fs.Vocabulary.build([["a", "b"]], end="</s>")
        >>> vocabulary.encode_all([["b"], ["a", "a"]], end=True)
        [array([4, 2]), array([3, 3, 2])]
        """
        begin, end = checks.flag("begin", begin), checks.flag("end", end)
        encoded = []
        for i, tokens in enumerate(many("sequences", sequences)):
            try:
                encoded.append(self.encode(tokens, begin=begin, end=end))
            except (TypeError, ValueError) as error:
                raise type(error)(f"sequences[{i}]: {error}") from None
        return encoded

    def decode(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The tokens of ids.

        Parameters
        ----------
        ids : array of integers, any shape

        Returns
        -------
        tokens : ndarray of objects (str), the shape of ids

        Raises
        ------
        TypeError
            If the ids are no integers.
        ValueError
            If an id isn't in the vocabulary.

        Examples
        --------
        >>> import fastseq as fs
        >>> fs.Vocabulary(["a", "b", "c"]).decode([[2, 0], [1, 1]]).tolist()
        [['c', 'a'], ['b', 'b']]
        """
        ids = checks.integers("ids", ids)
        wrong = np.argwhere((ids < 0) | (ids >= len(self)))
        if len(wrong):
            place = ", ".join(map(str, wrong[0]))
            raise ValueError(
                f"ids must lie between 0 and {len(self) - 1}, "
                f"got ids[{place}] = {ids[tuple(wrong[0])]}"
            )
        return self._array[ids.astype(np.int64)]

    # --- tokens and text --------------------------------------------------------------------

    def split(self, text: str) -> list[str]:
        """The tokens of a text: what stands between white space, or its characters.

        Parameters
        ----------
        text : str

        Returns
        -------
        tokens : list of str
            They need not be in the vocabulary.

        Raises
        ------
        TypeError
            If the text is no string.

        Examples
        --------
        >>> import fastseq as fs
        >>> fs.Vocabulary(["a"]).split(" to be  or ")
        ['to', 'be', 'or']
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        return list(text) if self.unit == "character" else text.split()

    def join(self, tokens: Iterable[str]) -> str:
        """The text of tokens: words with blanks between them, or characters without.

        Parameters
        ----------
        tokens : iterable of str
            They need not be in the vocabulary.

        Returns
        -------
        text : str

        Raises
        ------
        TypeError
            If a token is no string, or a string stands where a list of words should be.

        Examples
        --------
        >>> import fastseq as fs
        >>> fs.Vocabulary(["a"]).join(["to", "be"])
        'to be'
        """
        tokens = list_to_join(tokens, self.unit)
        return ("" if self.unit == "character" else " ").join(tokens)

    def to_text(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids, without padding, begin and end tokens.

        Parameters
        ----------
        ids : array of integers, (T,)

        Returns
        -------
        text : str

        Raises
        ------
        TypeError, ValueError
            As :meth:`decode`, and if the ids are not those of one sequence.

        Examples
        --------
        >>> import fastseq as fs
        >>> vocabulary = fs.Vocabulary.build([["to", "be"]])
        >>> vocabulary.to_text([3, 2, 0, 0])
        'to be'
        """
        silent, tokens = {self.padding, self.begin, self.end}, self.decode(ids)
        if np.ndim(tokens) != 1:
            raise ValueError(
                f"ids must be those of one sequence, (T,), got shape {np.shape(tokens)}; give "
                "sequences one by one, as with [vocabulary.to_text(row) for row in ids]"
            )
        return self.join([token for token in tokens if token not in silent])

    # --- files ------------------------------------------------------------------------------

    def to_json(self) -> str:
        """The vocabulary as JSON, one token a line, for a file or a model's description.

        Returns
        -------
        text : str
            For :meth:`from_json`.
        """
        head = write_json({"unit": self.unit, **self._special()}).removesuffix("\n}\n")
        rows = zip(self.tokens, self.counts, strict=True)
        lines = [f"  [{_json_string(token)}, {count}]" for token, count in rows]
        return head + ',\n "tokens": [\n' + ",\n".join(lines) + "\n ]\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The vocabulary that :meth:`to_json` wrote.

        Parameters
        ----------
        text : str

        Returns
        -------
        vocabulary : Vocabulary
            Equal to the one that was written, counts included.

        Raises
        ------
        TypeError
            If the text is no string.
        ValueError
            If it is something else, or damaged.

        Examples
        --------
        >>> import fastseq as fs
        >>> vocabulary = fs.Vocabulary(["a", "b"], counts=[2, 1])
        >>> fs.Vocabulary.from_json(vocabulary.to_json()) == vocabulary
        True
        """
        content = parse_json(text)
        if content.get("unit") == "piece":
            raise ValueError(
                "expected a vocabulary of words or characters, got subwords; "
                "read them with Subwords.from_json"
            )
        try:
            rows = content.pop("tokens")
            tokens, counts = [token for token, _ in rows], [count for _, count in rows]
            return cls(tokens, counts=counts, **content)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"expected a whole vocabulary, got a damaged one: {error}") from error

    def save(self, path: str | os.PathLike) -> None:
        """Write the vocabulary to a JSON file, which is replaced as a whole or not at all.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        TypeError
            If it is no path.
        OSError
            If the file can't be written.

        Examples
        --------
        See :meth:`load`.
        """
        files.write_atomically(path, self.to_json().encode("utf-8"))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Vocabulary:
        """The vocabulary in a file that :meth:`save` wrote.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        vocabulary : Vocabulary

        Raises
        ------
        TypeError
            If it is no path.
        OSError
            If the file can't be read.
        ValueError
            If it holds something else, or is damaged; the message names the file.

        Examples
        --------
        >>> import os, tempfile, fastseq as fs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "words.json")
        ...     fs.Vocabulary(["a", "b"]).save(path)
        ...     fs.Vocabulary.load(path).tokens
        ('a', 'b')
        """
        name = checks.path("path", path)
        try:
            return cls.from_json(Path(name).read_text("utf-8"))
        except ValueError as error:  # also of bytes that are no UTF-8
            raise ValueError(f"{name}: {error}") from error

    # --- inside -----------------------------------------------------------------------------

    @classmethod
    def _check_unit(cls, unit):
        return checks.choice("unit", unit, UNITS)

    def _special(self):
        return {role: getattr(self, role) for role in SPECIAL}

    def _edge(self, role):
        """The id of the begin or end token."""
        i = getattr(self, f"{role}_id")
        if i is None:
            raise ValueError(
                f"{role}=True needs a vocabulary with a token for it; "
                f'make it with {role}="<{role}>"'
            )
        return i

    def _look_up(self, tokens):
        """Ids of tokens, without anything around them."""
        if isinstance(tokens, str):
            if self._table is None:
                raise TypeError(
                    f"tokens must be a sequence of strings, got {files.shortened(tokens)}; "
                    "split it first, as with vocabulary.split(text)"
                )
            codes = _code_points(tokens)
            ids, shape = self._table[np.minimum(codes, len(self._table) - 1)], codes.shape
        else:
            tokens, shape = _as_list(tokens)
            try:
                ids = np.fromiter(map(self._ids.get, tokens, repeat(-1)), np.int64, len(tokens))
            except TypeError:  # a list can't be looked up
                check_strings("tokens", tokens, range(len(tokens)))
                raise
        missing = np.flatnonzero(ids < 0)
        if missing.size:
            check_strings("tokens", tokens, missing.tolist())
            if self.unknown_id is None:
                raise ValueError(
                    f"tokens[{missing[0]}] = {tokens[missing[0]]!r} is not in the vocabulary, "
                    'which has no unknown token; make it with unknown="<unk>", or from data '
                    "with this token"
                )
            ids[missing] = self.unknown_id
        return ids.reshape(shape)

    def _character_table(self):
        """Ids by code point; the last entry, -1, is for all that come after."""
        special = self._special().values()
        for token in self.tokens:
            if len(token) != 1 and token not in special:
                raise ValueError(
                    f"tokens must be single characters where the unit is one, got {token!r}"
                )
        points = {ord(token): i for token, i in self._ids.items() if len(token) == 1}
        table = np.full(max(points, default=0) + 2, -1, np.int64)
        table[list(points)] = list(points.values())
        return table


def write_json(content: dict) -> str:
    """JSON that says what it is, for :func:`parse_json`."""
    content = {"format": _FORMAT, "version": _VERSION, **content}
    lines = [f" {_json_string(key)}: {_json_string(value)}" for key, value in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _json_string(value):
    # what can't be printed is escaped: half a surrogate pair could not be written at all
    return json.dumps(value, ensure_ascii=not str(value).isprintable())


def parse_json(text: str) -> dict:
    """What stands in a vocabulary's JSON, but for its format and version."""
    if not isinstance(text, str):
        raise TypeError(
            f"text must be a vocabulary's JSON as a string, got {type(text).__name__}; load reads "
            "a file"
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter of lists in lists in lists
        raise ValueError(f"expected a vocabulary as JSON, but it can't be read: {error}") from error
    if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
        raise ValueError('expected a vocabulary, got JSON without "format": "fastseq vocabulary"')
    version = content.pop("version", None)
    if version != _VERSION:
        raise ValueError(
            f"expected version {_VERSION} of the vocabulary format, got {version!r}; "
            "a newer fastseq may read it"
        )
    return content


def _check_tokens(tokens):
    if isinstance(tokens, str):
        raise TypeError(f"tokens must be a sequence of strings, got {files.shortened(tokens)}")
    tokens, _ = _as_list(tokens)
    check_strings("tokens", tokens, range(len(tokens)))
    if not tokens:
        raise ValueError("tokens must hold at least one token, got none")
    return tuple(tokens)


def check_strings(name, tokens, positions):
    """Raise unless there are strings at these positions."""
    for i in positions:
        if not isinstance(tokens[i], str):
            kind = type(tokens[i]).__name__
            raise TypeError(f"{name}[{i}] must be a string, got {tokens[i]!r} of type {kind}")


def many(name, sequences):
    """The sequences or texts, if there can be many: what a table gives are columns' names."""
    if isinstance(sequences, str):
        kind = f"the string {files.shortened(sequences)}; put a single one in a list"
    elif hasattr(sequences, "columns"):
        kind = "a data frame; give one of its columns"
    elif isinstance(sequences, (bytes, dict)) or not isinstance(sequences, Iterable):
        kind = type(sequences).__name__
    else:
        return sequences
    raise TypeError(f"{name} must be a list of texts, or of lists of tokens, got {kind}")


def check_special(padding, unknown, begin, end):
    special = dict(zip(SPECIAL, (padding, unknown, begin, end), strict=True))
    for role, token in special.items():
        if token is not None and not isinstance(token, str):
            raise TypeError(f"{role} must be a string or None, got {token!r}")
    return special


def _check_counts(counts, size):
    if counts is None:
        return np.zeros(size, np.int64)
    array = np.asarray(counts)
    checks.shape("counts", array, (size,), "(number of tokens,)")
    if array.dtype.kind not in "iu":
        raise TypeError(f"counts must hold integers, got dtype {array.dtype}")
    if array.min(initial=0) < 0 or array.max(initial=0) > np.iinfo(np.int64).max:
        at = checks.first(array, (array < 0) | (array > np.iinfo(np.int64).max))
        raise ValueError(
            f"counts must lie between 0 and 2**63 - 1, got {array[at]} at "
            f"{checks.position('counts', at)}"
        )
    return array.astype(np.int64)


def _as_list(tokens):
    """Tokens as a list, and the shape that their ids are to have."""
    if isinstance(tokens, np.ndarray):
        return tokens.ravel().tolist(), tokens.shape
    if isinstance(tokens, (set, frozenset)):  # whose order is another one in each process
        raise TypeError(
            f"tokens must be a sequence of strings, got a {type(tokens).__name__}; put them in "
            "order, as with sorted"
        )
    try:
        tokens = tokens if isinstance(tokens, (list, tuple)) else list(tokens)
    except TypeError:
        raise TypeError(
            f"tokens must be a sequence of strings, got {type(tokens).__name__}"
        ) from None
    return tokens, (len(tokens),)


def list_to_join(tokens, unit):
    """Tokens as a list of strings; a string has characters, but no words or pieces."""
    if isinstance(tokens, str) and unit != "character":
        raise TypeError(f"tokens must be a sequence of strings, got {files.shortened(tokens)}")
    tokens, _ = _as_list(tokens)
    check_strings("tokens", tokens, range(len(tokens)))
    return tokens


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _count(sequences, unit):
    """How often each token comes."""
    if isinstance(sequences, str):
        sequences = [sequences]
    counts = Counter()
    for i, sequence in enumerate(many("sequences", sequences)):
        if isinstance(sequence, str) and unit == "word":
            raise TypeError(
                f"sequences[{i}] must be a list of words, got the string "
                f"{files.shortened(sequence)}; split it first, as with text.split()"
            )
        if sequence is None or isinstance(sequence, Mapping):  # which a Counter takes for counts
            kind = type(sequence).__name__
            raise TypeError(f"sequences[{i}] must be a sequence of strings, got {kind}")
        try:
            counts.update(sequence.tolist() if isinstance(sequence, np.ndarray) else sequence)
        except TypeError as error:
            raise TypeError(f"sequences[{i}] must be a sequence of strings: {error}") from error
    check_strings("tokens", list(counts), range(len(counts)))
    if not counts:
        raise ValueError("sequences must hold at least one token, got none")
    return counts
