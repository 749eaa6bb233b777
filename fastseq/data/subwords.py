"""Subwords: pieces of words that SentencePiece finds, behind a vocabulary's interface."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

from fastseq import checks, files
from fastseq.data.vocabulary import (
    Vocabulary,
    check_special,
    check_strings,
    list_to_join,
    many,
    parse_json,
    write_json,
)

MODELS = ("unigram", "bpe")
_OWN = {  # options of SentencePiece's trainer that ``train`` gives, and the arguments that say them
    "vocab_size": "size",
    "model_type": "model",
    "sentence_iterator": "texts",
    "input": "texts",
    "model_writer": "save",
    "model_prefix": "save",
}


class Subwords(Vocabulary):
    """A vocabulary of subwords, with the SentencePiece model that cuts text into them.

    Needs SentencePiece: ``pip install 'fastseq[text]'``.

    Parameters
    ----------
    model : bytes
        A trained model as SentencePiece writes it.

    Attributes
    ----------
    model : bytes
    tokens, counts, padding_id, unknown_id, begin_id, end_id
        As in :class:`Vocabulary`; the counts are zeros.

    Raises
    ------
    ImportError
        If SentencePiece is not installed.
    ValueError
        If the model can't be read.

    Notes
    -----
    By default SentencePiece normalises text (NFKC) and takes several blanks for one; options of
    :meth:`train` keep the text as it is: ``normalization_rule_name="identity"``,
    ``remove_extra_whitespaces=False``.

    References
    ----------
    Kudo and Richardson (2018), "SentencePiece: A simple and language independent subword
    tokenizer and detokenizer for neural text processing".

    Examples
    --------
    >>> import fastseq as fs
    >>> texts = ["the cat sat", "the hat is on the cat", "a bat sat on that hat"] * 5
    >>> subwords = fs.Subwords.train(texts, size=18)
    >>> ids = subwords.encode(subwords.split("the bat sat"))
    >>> subwords.to_text(ids)
    'the bat sat'
    """

    def __init__(self, model: bytes) -> None:
        if not isinstance(model, bytes):
            raise TypeError(
                f"model must be the bytes of a SentencePiece model, got {type(model).__name__}; "
                "Subwords.load reads a file"
            )
        self.model = model
        processor = _import_sentencepiece().SentencePieceProcessor()
        try:
            if not model:
                raise RuntimeError("it is empty")
            processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueError(
                f"expected a SentencePiece model, got something else: {error}"
            ) from error
        self._processor = processor
        pieces = [processor.IdToPiece(i) for i in range(processor.GetPieceSize())]
        ids = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
        padding, unknown, begin, end = (pieces[i] if i >= 0 else None for i in ids)
        super().__init__(
            pieces, unit="piece", padding=padding, unknown=unknown, begin=begin, end=end
        )

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        size: int,
        *,
        model: str = "unigram",
        padding: str | None = "<pad>",
        unknown: str = "<unk>",
        begin: str | None = None,
        end: str | None = None,
        **options,
    ) -> Subwords:
        """Find the subwords of some texts.

        Parameters
        ----------
        texts : iterable of str
        size : int
            How many subwords, special ones included.
        model : str
            ``"unigram"`` or ``"bpe"``.
        padding, unknown, begin, end : str or None
            Special tokens, as in :meth:`Vocabulary.build`; there is always an unknown one.
        **options
            Other options of SentencePiece's trainer, such as ``character_coverage``.

        Returns
        -------
        subwords : Subwords

        Raises
        ------
        ImportError
            If SentencePiece is not installed.
        ValueError
            If SentencePiece can't train: there is no text, the size doesn't suit it, or it has
            no such option; if there is to be no unknown token, or a text holds half of a
            surrogate pair.
        TypeError
            If a text or a special token is no string, or the size no integer; if an option is
            one of those that arguments of this method stand for.

        Examples
        --------
        >>> import fastseq as fs
        >>> subwords = fs.Subwords.train(["low lower lowest"] * 5, size=12, model="bpe")
        >>> len(subwords), subwords.unknown
        (12, '<unk>')
        """
        size = checks.positive_int("size", size)
        checks.choice("model", model, MODELS)
        texts = list(many("texts", texts))
        check_strings("texts", texts, range(len(texts)))
        for i, text in enumerate(texts):
            _check_unicode(f"texts[{i}]", text)
        _check_options(options)
        trainer = _import_sentencepiece().SentencePieceTrainer
        special = _special_options(padding=padding, unknown=unknown, begin=begin, end=end)
        written = io.BytesIO()
        # without this long texts would be left out, with a line in a log
        settings = {"minloglevel": 2, "max_sentence_length": 1 << 30} | special | options
        try:
            trainer.Train(
                sentence_iterator=iter(texts),
                model_writer=written,
                vocab_size=size,
                model_type=model,
                **settings,
            )
        except (RuntimeError, OSError, ValueError) as error:
            # without the place in SentencePiece's source, where it says more than that
            what = re.sub(r"^\w+: \S+\(\d+\) \[.*\] (?=\S)", "", str(error))
            raise ValueError(f"SentencePiece can't train {size} subwords: {what}") from error
        return cls(written.getvalue())

    @classmethod
    def build(cls, *args, **options):
        """Not for subwords, which are no list of tokens that were counted: see :meth:`train`.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("Subwords can't be built of tokens: Subwords.train(texts, size) finds them")

    def split(self, text: str) -> list[str]:
        """The pieces of a text.

        Parameters
        ----------
        text : str

        Returns
        -------
        pieces : list of str
            What no subword covers stays as it is, and its id is that of the unknown token.

        Raises
        ------
        TypeError
            If the text is no string.
        ValueError
            If it holds half of a surrogate pair.

        Examples
        --------
        >>> import fastseq as fs
        >>> texts = ["the cat sat", "the hat is on the cat", "a bat sat on that hat"] * 5
        >>> subwords = fs.Subwords.train(texts, size=18)
        >>> "".join(subwords.split("the bat"))
        '▁the▁bat'
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        return self._processor.EncodeAsPieces(_check_unicode("text", text))

    def join(self, tokens: Iterable[str]) -> str:
        """The text of pieces.

        Parameters
        ----------
        tokens : iterable of str

        Returns
        -------
        text : str

        Raises
        ------
        TypeError
            If a token is no string, or a string stands where a list of pieces should be.

        Examples
        --------
        >>> import fastseq as fs
        >>> texts = ["the cat sat", "the hat is on the cat", "a bat sat on that hat"] * 5
        >>> subwords = fs.Subwords.train(texts, size=18)
        >>> subwords.join(["▁th", "e", "▁", "b", "at"])
        'the bat'
        """
        return self._processor.DecodePieces(list_to_join(tokens, self.unit))

    def to_json(self) -> str:
        """The SentencePiece model in JSON, for a model's description.

        Returns
        -------
        text : str
            For :meth:`from_json`.
        """
        return write_json({"unit": "piece", "model": base64.b64encode(self.model).decode("ascii")})

    @classmethod
    def from_json(cls, text: str) -> Subwords:
        """The subwords that :meth:`to_json` wrote.

        Parameters
        ----------
        text : str

        Returns
        -------
        subwords : Subwords

        Raises
        ------
        TypeError
            If the text is no string.
        ValueError
            If it is something else, or damaged.
        ImportError
            If SentencePiece is not installed.

        Examples
        --------
        >>> import fastseq as fs
        >>> subwords = fs.Subwords.train(["low lower lowest"] * 5, size=12)
        >>> fs.Subwords.from_json(subwords.to_json()) == subwords
        True
        """
        content = parse_json(text)
        if content.get("unit") != "piece" or "model" not in content:
            raise ValueError(f"expected subwords, got a vocabulary of {content.get('unit')!r}")
        try:
            return cls(base64.b64decode(content["model"], validate=True))
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected whole subwords, got damaged ones: {error}") from error

    def save(self, path: str | os.PathLike) -> None:
        """Write SentencePiece's own file, which is replaced as a whole or not at all.

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
        files.write_atomically(path, self.model)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Subwords:
        """The subwords in a file of SentencePiece, such as :meth:`save` writes.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        subwords : Subwords

        Raises
        ------
        TypeError
            If it is no path.
        OSError
            If the file can't be read.
        ValueError
            If it is no SentencePiece model; the message names the file.
        ImportError
            If SentencePiece is not installed.

        Examples
        --------
        >>> import os, tempfile, fastseq as fs
        >>> subwords = fs.Subwords.train(["low lower lowest"] * 5, size=12)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "low.model")
        ...     subwords.save(path)
        ...     fs.Subwords.load(path) == subwords
        True
        """
        name = checks.path("path", path)
        try:
            return cls(Path(name).read_bytes())
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    @classmethod
    def _check_unit(cls, unit):
        return unit

    def __getstate__(self):  # the processor can't be copied; the model says it all
        return {"model": self.model}

    def __setstate__(self, state):
        self.__init__(state["model"])


def _import_sentencepiece():
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(
            "subwords need SentencePiece: pip install 'fastseq[text]' installs it"
        ) from error
    return sentencepiece


def _special_options(**special):
    """SentencePiece's options for special tokens: an id, or -1 for none, and the token."""
    check_special(**special)
    if special["unknown"] is None:
        raise ValueError("unknown must be a string: SentencePiece always has an unknown token")
    names = {"padding": "pad", "unknown": "unk", "begin": "bos", "end": "eos"}
    options, i = {}, 0
    for role, token in special.items():
        options[f"{names[role]}_id"] = -1 if token is None else i
        if token is not None:
            options[f"{names[role]}_piece"] = token
            i += 1
    return options


def _check_options(options):
    """Raise if an option is one that arguments or methods of :class:`Subwords` stand for."""
    wrong = next((name for name in options if name in _OWN), None)
    if wrong is not None:
        raise TypeError(f"options may not have {wrong}, for which there is {_OWN[wrong]}")


def _check_unicode(name, text):
    """The text, if SentencePiece can take it: as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} must be text that UTF-8 can hold, got half of a surrogate pair at "
            f"{error.start}; leave it out, as with text.encode('utf-8', 'ignore').decode()"
        ) from None
    return text
