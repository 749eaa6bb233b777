"""Vectors by keys, such as words: what is similar, what fits an analogy, and files of them.

Names and meanings are gensim 4's, so that programs move over.  N keys, D numbers in a vector.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks, files
from fastseq.words import vector_evaluation, vector_files, word2vec_files
from fastseq.words.vector_similarity import SimilarKeys
from fastseq.words.vector_table import key_list

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import DTypeLike


class KeyedVectors(SimilarKeys):
    """A vector for each key, as gensim's ``KeyedVectors``.

    Wherever a key is expected its place in ``index_to_key`` will do as well, and for most
    queries a vector.

    Parameters
    ----------
    vector_size : int
        D
    dtype : {float32, float64}

    Attributes
    ----------
    index_to_key : list of str
        The keys by place; where they come from a corpus, by falling count.
    key_to_index : dict
        The places by key.
    vectors : ndarray, (N, D)
        A view that can't be written to, since norms are kept: change a vector by
        ``wv[key] = vector``, or assign an array.
    norms : ndarray, (N,)
        The vectors' Euclidean norms, computed when they are first needed and again after a
        change.
    vector_size : int
    expandos : dict
        Further attributes of the keys, by name, such as ``count``: arrays (N,).

    Raises
    ------
    TypeError, ValueError
        If ``vector_size`` is no positive integer, or ``dtype`` another one.

    See Also
    --------
    KeyedVectors.from_arrays : From keys and an array.
    KeyedVectors.load : From a file.

    Examples
    --------
    >>> import fastseq as fs
    >>> wv = fs.KeyedVectors(2)
    >>> wv.add_vectors(["king", "queen", "man", "woman"], [[3, 1], [3, 3], [1, 1], [1, 3]])
    >>> wv["queen"].tolist(), "prince" in wv, len(wv)
    ([3.0, 3.0], False, 4)
    >>> wv.most_similar(positive=["king", "woman"], negative=["man"], topn=1)[0][0]
    'queen'
    >>> round(wv.similarity("king", "man"), 3)
    0.894
    """

    # --- evaluation -----------------------------------------------------------------------------

    def evaluate_word_analogies(
        self,
        analogies: str | os.PathLike,
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[float, list[dict[str, Any]]]:
        """How many analogies are solved: *a* is to *b* as *c* is to which key?

        The answer is the key that is most similar to b - a + c and none of the three.

        Parameters
        ----------
        analogies : str or path
            Lines of four words, in sections that begin with a line ``: name``; what ends with
            ``.gz``, ``.bz2``, ``.xz`` or ``.zst`` is decompressed.
        restrict_vocab : int or None
            Only the first keys are known.
        case_insensitive : bool
            Whether all is compared in upper case; of keys that differ in case the first one's
            vector stands for all of them.
        dummy4unknown : bool
            Whether lines with unknown words count as not solved; otherwise they don't count.

        Returns
        -------
        score : float
            The part that is solved, from 0 to 1.
        sections : list of dict
            ``section``, the name, and ``correct`` and ``incorrect``, lists of four words; the
            last one, ``Total accuracy``, has all of them.

        Raises
        ------
        OSError
            If the file can't be read.
        TypeError, ValueError
            If an argument is something else, or a line, whose file and number the message names.

        Examples
        --------
        >>> import os, tempfile, fastseq as fs
        >>> wv = fs.KeyedVectors(2)
        >>> wv.add_vectors(["king", "queen", "man", "woman"], [[3, 1], [3, 3], [1, 1], [1, 3]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open(path := os.path.join(folder, "analogies.txt"), "w") as file:
        ...         print(": royal", file=file)
        ...         print("man king woman queen", file=file)
        ...     score, sections = wv.evaluate_word_analogies(path)
        >>> score, sections[0]["correct"]
        (1.0, [('MAN', 'KING', 'WOMAN', 'QUEEN')])
        """
        checks.path("analogies", analogies)
        known = vector_evaluation.Known(self, restrict_vocab, case_insensitive)
        return vector_evaluation.analogies(known, analogies, dummy4unknown)

    def evaluate_word_pairs(
        self,
        pairs: str | os.PathLike,
        delimiter: str = "\t",
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[vector_evaluation.Correlation, vector_evaluation.Correlation, float]:
        """How similarities go along with people's judgments.

        Parameters
        ----------
        pairs : str or path
            Lines of two words and a number, with ``delimiter`` between them; lines that begin
            with # are comments.
        delimiter : str
            Not empty.
        restrict_vocab, case_insensitive
            As of ``evaluate_word_analogies``.
        dummy4unknown : bool
            Whether pairs with unknown words have similarity 0; otherwise they don't count.

        Returns
        -------
        pearson, spearman : Correlation
            ``(statistic, pvalue)``, the latter for both directions.
        oov_ratio : float
            Percentage of the pairs that have unknown words.

        Raises
        ------
        OSError
            If the file can't be read.
        TypeError, ValueError
            If an argument or a line is something else, or there are not two pairs of known words.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open(path := os.path.join(folder, "pairs.txt"), "w") as file:
        ...         for pair in ("a a 10", "a b 7", "a c 1", "b unseen 5"):
        ...             print(pair, file=file)
        ...     pearson, spearman, oov_ratio = wv.evaluate_word_pairs(path, delimiter=" ")
        >>> round(pearson.statistic, 2), round(spearman.statistic, 2), oov_ratio
        (1.0, 1.0, 25.0)
        """
        checks.path("pairs", pairs)
        known = vector_evaluation.Known(self, restrict_vocab, case_insensitive)
        return vector_evaluation.pairs(known, pairs, delimiter, dummy4unknown)

    def plot(
        self,
        keys: Sequence[str] | None = None,
        path: str | os.PathLike | None = None,
        *,
        method: str = "pca",
        seed: int | None = 0,
    ) -> Figure:
        """Draw vectors as points in a plane, with their keys.

        Parameters
        ----------
        keys : sequence of str, optional
            Which ones; by default the first 100.
        path : str or path, optional
            Where to save the picture; the ending says in which format.
        method : {"pca", "umap", "tsne"}
            What makes two numbers of D: principal components, UMAP (needs umap-learn), or t-SNE
            (needs scikit-learn).
        seed : int or None
            Of the latter two.

        Returns
        -------
        figure : matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If a library is missing.
        KeyError
            If a key has no vector.
        TypeError
            If ``keys`` is no list of strings, or ``path`` no path.
        ValueError
            If there are fewer than two keys, or vectors of theirs hold NaN or infinity, or the
            method or the picture's format is another one.
        OSError
            If the picture can't be written.
        """
        from fastseq.words import vector_plots

        if path is not None:
            checks.path("path", path)
        keys = self.index_to_key[:100] if keys is None else key_list("keys", keys)
        figure = vector_plots.draw(keys, vector_plots.project(self[keys], method, seed))
        if path is not None:
            figure.savefig(path)
        return figure

    # --- files ----------------------------------------------------------------------------------

    def save_word2vec_format(
        self,
        fname: str | os.PathLike,
        fvocab: str | os.PathLike | None = None,
        binary: bool = False,
        *,
        write_header: bool = True,
        sort_attr: str | None = "count",
    ) -> None:
        """Write a file as word2vec.c does, which it, gensim and many others read.

        Parameters
        ----------
        fname : str or path
            What ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst`` (with the extra ``zstd``) is
            compressed.  The file is replaced as a whole or not at all.
        fvocab : str or path, optional
            Another file, for a key and its count in each line; both are replaced, or none.
        binary : bool
            Whether numbers are written as float32 in binary, or as decimals that are read back
            without a difference.
        write_header : bool
            Whether the first line says how many keys and numbers there are; GloVe's files have
            none.
        sort_attr : str or None
            Keys are written by falling values of this attribute if they have it, and otherwise
            in their order.

        Raises
        ------
        ValueError
            If a key is empty, or has white space or half a character in it, or a number is too
            large for float32 in binary, which the format can't hold; or if ``fvocab`` is given and
            is the same file, or there are no such values.  Nothing is written then.
        TypeError
            If an argument is something else, or the values to sort by are no numbers.
        OSError
            If the file can't be written; the old one is as it was.
        ImportError
            If zstd is missing for ``.zst``.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(["to", "be"], np.eye(2), counts=[5, 7])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     wv.save_word2vec_format(path := os.path.join(folder, "vectors.txt"))
        ...     with open(path) as file:
        ...         print(file.read(), end="")
        2 2
        be 0 1
        to 1 0
        """
        _check_names(fname, fvocab)
        checks.flag("binary", binary)
        checks.flag("write_header", write_header)
        if fvocab is not None:
            files.check_outputs([("fname", fname), ("fvocab", fvocab)], [])
            if sort_attr not in self.expandos:
                raise ValueError(
                    f"fvocab needs the attribute {sort_attr!r}, which the keys don't have"
                )
        order = None
        if sort_attr in self.expandos:
            order = _falling(sort_attr, np.asarray(self.expandos[sort_attr]))
        in_order = order is None or bool((order == np.arange(len(order))).all())
        keys = self.index_to_key if in_order else [self.index_to_key[i] for i in order]
        vectors = self._vectors if in_order else self._vectors[order]
        counts = None
        if fvocab is not None:
            counts = fvocab, _whole_counts(sort_attr, self.expandos[sort_attr])[order]
        word2vec_files.write_word2vec(fname, keys, vectors, binary, write_header, counts)

    @classmethod
    def load_word2vec_format(
        cls,
        fname: str | os.PathLike,
        fvocab: str | os.PathLike | None = None,
        binary: bool = False,
        encoding: str = "utf8",
        unicode_errors: str = "strict",
        limit: int | None = None,
        datatype: DTypeLike = np.float32,
        no_header: bool = False,
    ) -> KeyedVectors:
        """The vectors in a file of word2vec.c, gensim, GloVe (``no_header=True``) or others.

        Parameters
        ----------
        fname : str or path
            What ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst`` is decompressed.
        fvocab : str or path, optional
            A file with a key and its count in each line.
        binary : bool
            Which kind of file it is.
        encoding, unicode_errors : str
            How bytes become keys; with ``"replace"`` or ``"ignore"`` also those that are no
            whole characters.
        limit : int, optional
            Read the first vectors only.
        datatype : {float32, float64}
            Of the vectors.
        no_header : bool
            Whether the first line is a vector already (not in binary files).

        Returns
        -------
        wv : KeyedVectors
            Of keys that come twice the first is taken, with a warning.

        Raises
        ------
        OSError
            If the file can't be read.
        ValueError
            If it is truncated, damaged, or something else; the message names file and line.  If
            it holds numbers that ``datatype`` can't hold.
        TypeError, ValueError
            If an argument is something else, such as an unknown encoding.

        Examples
        --------
        >>> import os, tempfile, fastseq as fs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open(path := os.path.join(folder, "glove.txt"), "w") as file:
        ...         print("to 1 0", file=file)
        ...         print("be 0 1", file=file)
        ...     wv = fs.KeyedVectors.load_word2vec_format(path, no_header=True)
        >>> wv.index_to_key, wv["be"].tolist()
        (['to', 'be'], [0.0, 1.0])
        """
        _check_names(fname, fvocab)
        words, vectors = word2vec_files.read_word2vec(
            fname,
            binary=checks.flag("binary", binary),
            encoding=encoding,
            errors=unicode_errors,
            limit=None if limit is None else checks.positive_int("limit", limit),
            dtype=_datatype(datatype),
            header=not checks.flag("no_header", no_header),
        )
        counts = None
        if fvocab is not None:
            counts = word2vec_files.read_counts(fvocab, words, encoding, unicode_errors)
        return cls.from_arrays(words, vectors, counts=counts)

    def save(self, path: str | os.PathLike) -> None:
        """Write a file whose ending says what it is.

        ``.safetensors``
            Everything, with a checksum; needs ``pip install 'fastseq[train]'``.
        ``.npy``
            The vectors, for :meth:`load` with ``mmap``; keys and counts lie beside them in a
            file that ends with ``.json``.
        ``.bin``, ``.txt``, ``.vec``
            word2vec's binary and text format, also with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``
            behind; see :meth:`save_word2vec_format`.

        Parameters
        ----------
        path : str or path
            What is there is replaced as a whole or not at all.

        Raises
        ------
        TypeError
            If ``path`` is no path.
        ValueError
            If the ending is another one, or the format can't hold what is to be saved.
        OSError
            If the file can't be written; the old one is as it was.
        ImportError
            If safetensors is missing, or zstd for ``.zst``.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(["to", "be"], np.eye(2), counts=[7, 5])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     wv.save(os.path.join(folder, "vectors.npy"))
        ...     sorted(os.listdir(folder))
        ['vectors.json', 'vectors.npy']
        """
        form = vector_files.format_of(path)
        if form == "safetensors":
            vector_files.write_safetensors(path, self.index_to_key, self._vectors, self.expandos)
        elif form == "npy":
            attributes = dict(self.expandos)
            if "count" in attributes:
                attributes["count"] = _whole_counts("count", attributes["count"])
            vector_files.write_npy(path, self.index_to_key, self._vectors, attributes)
        else:
            self.save_word2vec_format(path, binary=form == "binary")

    @classmethod
    def load(cls, path: str | os.PathLike, mmap: str | None = None) -> KeyedVectors:
        """The vectors in a file, whose ending says what it is; see :meth:`save`.

        Those of word2vec's formats are float32; :meth:`load_word2vec_format` with ``datatype``
        reads float64 from a text as it was saved.

        Parameters
        ----------
        path : str or path
        mmap : {"r", "c"} or None
            Of ``.npy`` files: leave the vectors on the disk, from where the system brings in
            what is used.  Changes would be refused, or not written back.

        Returns
        -------
        wv : KeyedVectors

        Raises
        ------
        OSError
            If the file can't be read.
        ValueError
            If it is truncated, damaged, or something else; the message names the file.  If
            ``mmap`` is another one, or the file no ``.npy`` file.
        TypeError
            If ``path`` is no path.
        ImportError
            If safetensors is missing.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(["to", "be"], np.eye(2, dtype=np.float32))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "vectors.bin")
        ...     wv.save(path)
        ...     fs.KeyedVectors.load(path)["be"].tolist()
        [0.0, 1.0]
        """
        form = vector_files.format_to_read(path)
        if mmap is not None:
            checks.choice("mmap", mmap, ("r", "c"))
            if form != "npy":
                raise ValueError(f"mmap is for files that end with .npy, got {os.fspath(path)!r}")
        if form == "npy":
            keys, vectors, attributes = vector_files.read_npy(path, mmap)
        elif form == "safetensors":
            keys, vectors, attributes = vector_files.read_safetensors(path)
        else:
            return cls.load_word2vec_format(path, binary=form == "binary")
        try:
            wv = cls.from_arrays(keys, vectors)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
        wv.expandos = attributes
        return wv


def _check_names(fname, fvocab):
    checks.path("fname", fname)
    if fvocab is not None:
        checks.path("fvocab", fvocab)


def _falling(name, values):
    """The places of values by falling value, equal ones in their order."""
    try:  # of whole numbers the complement, since 0 - x isn't the opposite where there is no sign
        return np.argsort(~values if values.dtype.kind in "bui" else -values, kind="stable")
    except TypeError as error:
        raise TypeError(
            f"the attribute {name!r}, by which keys are sorted, must hold numbers, got dtype "
            f"{values.dtype}; with sort_attr=None they keep their order"
        ) from error


def _whole_counts(name, values):
    """Counts as int64: they are written as whole numbers, whatever type they came to have."""
    values = np.asarray(values)
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64) if values.dtype.kind in "buif" else np.full(len(values), -1)
    wrong = np.flatnonzero((whole < 0) | (whole != values))
    if wrong.size:
        raise ValueError(
            f"the attribute {name!r} must hold whole numbers, at least 0, to be saved as counts, "
            f"got {values[wrong[0]]!r}, key {wrong[0]}: round it, or save a .safetensors file"
        )
    return whole


def _datatype(value):
    try:
        return checks.float_dtype(value)
    except ValueError:
        raise ValueError(f"datatype must be float32 or float64, got {value!r}") from None
