"""Vectors by keys, such as words: what is similar, what fits an analogy, and files of them.

Names and meanings are gensim 4's, so that programs move over.  N keys, D numbers in a vector.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks, files, vector_evaluation, vector_files
from fastseq.vector_search import best, safe_norms, scores_in_blocks, unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, DTypeLike

    Key = str | int | np.ndarray  # a key, its place, or a vector itself
    Keys = Key | Sequence[Key | tuple[Key, float]]
    Similar = list[tuple[str, float]]

AT_ONCE = 1 << 16  # vectors whose norms are taken at a time


class KeyedVectors:
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

    def __init__(self, vector_size: int, *, dtype: DTypeLike = np.float32) -> None:
        size = checks.positive_int("vector_size", vector_size)
        self._put([], np.empty((0, size), checks.float_dtype(dtype)))

    @classmethod
    def from_arrays(
        cls, keys: Iterable[str], vectors: ArrayLike, *, counts: ArrayLike | None = None
    ) -> KeyedVectors:
        """Vectors that are there already.

        Parameters
        ----------
        keys : iterable of str
            All different.
        vectors : array of floats, (N, D)
            float32 or float64 are used without a copy: don't change them afterwards, or call
            ``fill_norms(force=True)``.
        counts : array of integers, (N,), optional
            How often each key was seen.

        Raises
        ------
        TypeError, ValueError
            If keys are no strings, or one comes twice; if there is not a vector for each.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> fs.KeyedVectors.from_arrays(["a", "b"], np.eye(2))
        <KeyedVectors: 2 keys, vectors of 2 numbers, float64>
        """
        vectors = _matrix("vectors", vectors)
        keys = _key_list("keys", keys)
        checks.shape("vectors", vectors, (len(keys), vectors.shape[1]), "(number of keys, D)")
        wv = cls.__new__(cls)
        wv._put(keys, vectors)
        if counts is not None:
            counts = checks.integers("counts", counts)
            checks.shape("counts", counts, (len(keys),), "(number of keys,)")
            wv.expandos["count"] = counts.astype(np.int64)
        return wv

    def _put(self, keys, vectors):
        places = {key: i for i, key in enumerate(keys)}
        if len(places) < len(keys):
            key = next(key for i, key in enumerate(keys) if places[key] != i)
            raise ValueError(f"keys must differ from each other, got {key!r} twice")
        self.index_to_key, self.key_to_index = keys, places
        self.expandos: dict[str, np.ndarray] = {}
        self._vectors, self._norms = vectors, None

    def __repr__(self):
        return (
            f"<{type(self).__name__}: {len(self):,} keys, vectors of {self.vector_size} numbers, "
            f"{self._vectors.dtype}>"
        )

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, key: object) -> bool:
        return self.has_index_for(key)

    # --- vectors --------------------------------------------------------------------------------

    @property
    def vector_size(self) -> int:
        """D"""
        return self._vectors.shape[1]

    @property
    def vectors(self) -> np.ndarray:
        """All vectors (N, D), not to be written to."""
        view = self._vectors.view()
        view.flags.writeable = False
        return view

    @vectors.setter
    def vectors(self, value: ArrayLike) -> None:
        value = _matrix("vectors", value)
        checks.shape("vectors", value, self._vectors.shape, "(number of keys, D)")
        self._vectors, self._norms = value, None

    @property
    def norms(self) -> np.ndarray:
        """The vectors' norms (N,)."""
        self.fill_norms()
        return self._norms

    def fill_norms(self, force: bool = False) -> None:
        """Compute the norms unless they are there; with ``force`` anyway.

        Raises
        ------
        ValueError
            If a vector holds NaN or infinity; the message names its key.
        """
        if self._norms is None or force:
            norms = _norms(self._vectors)
            wrong = np.flatnonzero(~np.isfinite(norms))
            if wrong.size:
                raise ValueError(
                    f"vectors must hold finite numbers, got others for {wrong.size} keys, first "
                    f"for {self.index_to_key[wrong[0]]!r}; leave these out"
                )
            norms.flags.writeable = False
            self._norms = norms

    def get_normed_vectors(self) -> np.ndarray:
        """All vectors divided by their norms, (N, D); vectors of zeros stay."""
        return self._vectors / safe_norms(self.norms)[:, None]

    def unit_normalize_all(self) -> None:
        """Divide all vectors by their norms, for good."""
        self.vectors = self.get_normed_vectors()

    def __getitem__(self, key_or_keys: Keys) -> np.ndarray:
        """The vector of a key (D,), or those of a list of keys (n, D).

        Raises
        ------
        KeyError
            If there is no such key.
        """
        if isinstance(key_or_keys, (str, int, np.integer)):
            return self.get_vector(key_or_keys)
        return self._vectors[[self.get_index(key) for key in key_or_keys]]

    def get_vector(self, key: str | int, norm: bool = False) -> np.ndarray:
        """The vector of a key (D,), not to be written to; with ``norm`` of length 1."""
        index = self.get_index(key)
        if norm:
            return self._vectors[index] / safe_norms(self.norms[index])
        return self.vectors[index]

    def get_index(self, key: str | int, default: int | None = None) -> int:
        """The place of a key; the default, if there is one, for unknown keys.

        Raises
        ------
        KeyError
            If there is neither.
        """
        try:
            index = self.key_to_index.get(key)
        except TypeError:  # a list can't be looked up
            raise TypeError(f"key must be a string or a place, got {key!r}") from None
        if index is not None:
            return index
        if isinstance(key, (int, np.integer)) and 0 <= key < len(self):
            return int(key)
        if default is not None:
            return default
        raise KeyError(f"there is no vector for {key!r}")

    def has_index_for(self, key: object) -> bool:
        """Whether there is a vector for the key."""
        return self.get_index(key, -1) >= 0

    def __setitem__(self, keys: str | Sequence[str], vectors: ArrayLike) -> None:
        """Add vectors, or replace those of keys that are there."""
        self.add_vectors(keys, vectors, replace=True)

    def add_vector(self, key: str, vector: ArrayLike) -> int:
        """Add one vector and return its place; for many ``add_vectors`` is much faster."""
        self.add_vectors([key], [vector])
        return self.key_to_index[key]

    def add_vectors(
        self,
        keys: str | Sequence[str],
        weights: ArrayLike,
        extras: Mapping[str, ArrayLike] | None = None,
        replace: bool = False,
    ) -> None:
        """Add vectors behind those that are there.

        Parameters
        ----------
        keys : str or sequence of str
            Where a key comes twice its last vector counts.
        weights : array, (n, D), or (D,) for one key
        extras : mapping, optional
            Further attributes by name, arrays (n,).
        replace : bool
            Whether keys that are there already get the new vectors; otherwise they keep the
            old ones.

        Raises
        ------
        TypeError, ValueError
            If keys are no strings, or there is not a vector of D numbers for each; nothing was
            added then.
        """
        if isinstance(keys, str):
            keys, weights = [keys], np.asarray(weights)[None]
        keys = _key_list("keys", keys)
        weights = np.asarray(checks.numbers("weights", weights), self._vectors.dtype)
        checks.shape("weights", weights, (len(keys), self.vector_size), "(number of keys, D)")
        extras = {name: np.asarray(values) for name, values in (extras or {}).items()}
        for name, values in extras.items():
            checks.shape(f"extras[{name!r}]", values, (len(keys),), "(number of keys,)")
        rows = {key: row for row, key in enumerate(keys)}
        known = [key for key in rows if key in self.key_to_index] if replace else []
        new = [key for key in rows if key not in self.key_to_index]
        vectors = np.concatenate([self._vectors, weights[[rows[key] for key in new]]])
        places = {key: i for i, key in enumerate(new, len(self))}
        self.index_to_key = [*self.index_to_key, *new]
        self.key_to_index = self.key_to_index | places
        self._grow_attributes()
        here, there = [self.key_to_index[key] for key in known], [rows[key] for key in known]
        vectors[here] = weights[there]
        self._vectors, self._norms = vectors, None
        here, there = here + list(places.values()), there + [rows[key] for key in new]
        for name, values in extras.items():
            self._allocate(name, values.dtype)
            self.expandos[name][here] = values[there]

    def vectors_for_all(self, keys: Iterable[str]) -> KeyedVectors:
        """Those of the keys that have a vector, in this order, each once."""
        known = [key for key in dict.fromkeys(keys) if key in self.key_to_index]
        places = [self.key_to_index[key] for key in known]
        wv = type(self).from_arrays(known, self._vectors[places])
        wv.expandos = {name: values[places] for name, values in self.expandos.items()}
        return wv

    def embedding_matrix(
        self, tokens: Sequence[str], *, seed: int | np.random.Generator | None = None
    ) -> tuple[np.ndarray, list[str]]:
        """A row for each of some tokens, such as a vocabulary's, to begin an ``Embedding`` with.

        Parameters
        ----------
        tokens : sequence of str
            V of them.
        seed : None, int or Generator
            Tokens without a vector get a random one, N(0, s^2) with s the standard deviation of
            the numbers in the other rows.

        Returns
        -------
        table : ndarray, (V, D)
        missing : list of str
            The tokens without a vector.

        Raises
        ------
        ValueError
            If no token has a vector.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> words = fs.KeyedVectors.from_arrays(["to", "be"], np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> vocabulary = fs.Vocabulary.build([["to", "be", "or"]])
        >>> table, missing = words.embedding_matrix(vocabulary.tokens, seed=0)
        >>> embedding = fs.Embedding.from_pretrained(table, freeze=False)
        >>> embedding(vocabulary.encode(["be", "to"])).tolist(), missing
        ([[3.0, 4.0], [1.0, 2.0]], ['<pad>', '<unk>', 'or'])
        """
        tokens = _key_list("tokens", tokens)
        places = np.array([self.key_to_index.get(token, -1) for token in tokens], np.int64)
        known = places >= 0
        if not known.any():
            examples = ", ".join(map(repr, self.index_to_key[:3]))
            raise ValueError(
                f"tokens must have vectors, got none among {len(tokens)} of them that has; there "
                f"are vectors for {len(self):,} keys, such as {examples}"
            )
        rows = self._vectors[places[known]]
        table = np.empty((len(tokens), self.vector_size), self._vectors.dtype)
        table[known] = rows
        shape = (np.count_nonzero(~known), self.vector_size)
        table[~known] = checks.generator(seed).standard_normal(shape) * rows.std(dtype=np.float64)
        return table, [tokens[i] for i in np.flatnonzero(~known)]

    # --- further attributes ---------------------------------------------------------------------

    def get_vecattr(self, key: str | int, attr: str) -> Any:
        """An attribute of a key, such as its ``count``."""
        index = self.get_index(key)
        if attr not in self.expandos:
            raise KeyError(f"there is no attribute {attr!r}, only {list(self.expandos)}")
        return self.expandos[attr][index]

    def set_vecattr(self, key: str | int, attr: str, val: Any) -> None:
        """Set an attribute of a key; the first time all other keys get 0, or None."""
        index = self.get_index(key)
        self._allocate(attr, np.dtype(object) if isinstance(val, str) else np.asarray(val).dtype)
        self.expandos[attr][index] = val

    def _allocate(self, attr, dtype):
        if attr not in self.expandos:
            dtype = np.dtype(object) if dtype.kind == "U" else dtype
            self.expandos[attr] = _blank(len(self), dtype)

    def _grow_attributes(self):
        for name, values in self.expandos.items():
            rest = _blank(len(self) - len(values), values.dtype)
            self.expandos[name] = np.concatenate([values, rest])

    # --- what is similar ------------------------------------------------------------------------

    def most_similar(
        self,
        positive: Keys | None = None,
        negative: Keys | None = None,
        topn: int | None = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
    ) -> Similar | np.ndarray:
        """The keys whose vectors have the largest cosine with a sum of vectors.

        The sum is that of the positive keys' vectors, each of length 1, minus that of the
        negative ones (3CosAdd: Mikolov et al., 2013).

        Parameters
        ----------
        positive, negative : key, vector, or list of these
            Or of pairs of one and its weight, which is 1 or -1 otherwise.  Vectors are taken
            with the length that they have.
        topn : int or None
            How many keys; None gives the similarities of all vectors.
        clip_start, clip_end : int
            Search these places only.
        restrict_vocab : int, optional
            Search the first keys only, as with ``clip_end``.

        Returns
        -------
        similar : list of (str, float), or ndarray
            The most similar first, those of equal similarity by place; without the keys that
            were given.

        Raises
        ------
        KeyError
            If there is no vector for a key.
        TypeError, ValueError
            If nothing was given, or something else than the above.
        """
        query = self._query(positive, negative)
        begin, end = self._range(clip_start, clip_end, restrict_vocab)
        return self._search([query], topn, begin, end)[0]

    def most_similar_batch(
        self,
        positive: Sequence[Keys] | np.ndarray,
        negative: Sequence[Keys | None] | None = None,
        topn: int | None = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
    ) -> list[Similar] | np.ndarray:
        """:meth:`most_similar` of many queries, at a fraction of the time.

        Parameters
        ----------
        positive : sequence, or array (Q, D)
            For each query what ``most_similar`` takes: a key, a vector, or a list.
        negative : sequence, optional
            The same; None for queries without.
        topn, clip_start, clip_end, restrict_vocab
            As of ``most_similar``.

        Returns
        -------
        similar : list of lists of (str, float), or ndarray (Q, N)
            For each query, what ``most_similar`` gives (to rounding).

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> [[key for key, _ in keys] for keys in wv.most_similar_batch(["a", ["a", "b"]])]
        [['b', 'c'], ['c']]
        """
        if isinstance(positive, str) or not hasattr(positive, "__len__"):
            raise TypeError(
                f"positive must be a sequence of queries, got {positive!r}; for one query call "
                "most_similar"
            )
        if negative is None:
            negative = [None] * len(positive)
        if len(negative) != len(positive):
            raise ValueError(
                f"negative must have an entry for each of the {len(positive)} queries, got "
                f"{len(negative)}"
            )
        queries = [self._query(*pair) for pair in zip(positive, negative, strict=True)]
        begin, end = self._range(clip_start, clip_end, restrict_vocab)
        results = self._search(queries, topn, begin, end)
        if topn is None:
            return np.stack(results) if results else np.empty((0, end - begin))
        return results

    def _query(self, positive, negative):
        """The vector to look for, and the places to leave out."""
        keys, weights = [], []
        for weight, items in ((1.0, _as_list(positive)), (-1.0, _as_list(negative))):
            for item in items:
                is_pair = isinstance(item, tuple) and len(item) == 2
                keys.append(item[0] if is_pair else item)
                weights.append(checks.finite("weight", item[1]) if is_pair else weight)
        if not keys:
            raise ValueError("positive or negative must hold at least one key, got none")
        mean = self.get_mean_vector(keys, weights, post_normalize=True, ignore_missing=False)
        return mean, [self.get_index(key) for key in keys if not isinstance(key, np.ndarray)]

    def _range(self, clip_start, clip_end, restrict_vocab):
        begin = checks.not_negative_int("clip_start", clip_start)
        end = len(self) if clip_end is None else checks.positive_int("clip_end", clip_end)
        if restrict_vocab is not None:
            begin, end = 0, checks.positive_int("restrict_vocab", restrict_vocab)
        end = min(end, len(self))
        return min(begin, end), end

    def _search(self, queries, topn, begin, end):
        if topn is not None:
            topn = checks.not_negative_int("topn", topn)
        means = np.array([mean for mean, _ in queries]).reshape(len(queries), self.vector_size)
        results = []
        vectors, norms = self._vectors[begin:end], self.norms[begin:end]
        for first, scores in scores_in_blocks(means, vectors, norms):
            for row, (_, given) in zip(scores, queries[first:], strict=False):
                if topn is None:
                    results.append(row.copy())
                    continue
                row[[i - begin for i in given if begin <= i < end]] = -np.inf
                places = [i for i in best(row, topn).tolist() if row[i] > -np.inf]
                results.append([(self.index_to_key[i + begin], float(row[i])) for i in places])
        return results

    def similar_by_key(
        self, key: str | int, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Similar | np.ndarray:
        """``most_similar`` of one key."""
        self.get_index(key)  # what is no key is no vector either
        return self.most_similar([key], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_word(
        self, word: str | int, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Similar | np.ndarray:
        """The same as ``similar_by_key``."""
        return self.similar_by_key(word, topn, restrict_vocab)

    def similar_by_vector(
        self, vector: ArrayLike, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Similar | np.ndarray:
        """``most_similar`` of a vector (D,)."""
        vector = self._read_vector("vector", vector)
        return self.most_similar([vector], topn=topn, restrict_vocab=restrict_vocab)

    def most_similar_cosmul(
        self,
        positive: Keys | None = None,
        negative: Keys | None = None,
        topn: int | None = 10,
        restrict_vocab: int | None = None,
    ) -> Similar | np.ndarray:
        """As ``most_similar``, by products and quotients of cosines instead of sums.

        The cosines are first brought to 0 ... 1 (3CosMul: Levy & Goldberg, 2014).

        Parameters
        ----------
        positive, negative : key, vector, or list of these
        topn, restrict_vocab
            As of ``most_similar``.
        """
        positive, negative = _as_list(positive), _as_list(negative)
        if not positive:
            raise ValueError("positive must hold at least one key, got none")
        _, end = self._range(0, None, restrict_vocab)
        items = [*positive, *negative]
        vectors, norms = self._vectors[:end], self.norms[:end]
        shifted = [
            (1 + self.cosine_similarities(self._vector_of(item), vectors, norms)) / 2
            for item in items
        ]
        quotients = np.prod(shifted[: len(positive)], axis=0)
        quotients /= np.prod(shifted[len(positive) :], axis=0) + 1e-6
        if topn is None:
            return quotients
        given = {self.get_index(item) for item in items if not isinstance(item, np.ndarray)}
        quotients[[i for i in given if i < end]] = -np.inf
        places = best(quotients, checks.not_negative_int("topn", topn)).tolist()
        places = [i for i in places if quotients[i] > -np.inf]
        return [(self.index_to_key[i], float(quotients[i])) for i in places]

    def similarity(self, w1: str | int, w2: str | int) -> float:
        """The cosine of two keys' vectors."""
        return float(self.get_vector(w1, norm=True) @ self.get_vector(w2, norm=True))

    def distance(self, w1: str | int, w2: str | int) -> float:
        """``1 - similarity(w1, w2)``"""
        return 1 - self.similarity(w1, w2)

    def similarities(self, word_or_vector: Key, other_words: Sequence[str] = ()) -> np.ndarray:
        """The cosines of a key's vector, or of a vector, and those of other keys (n,).

        Without other keys of all, (N,).
        """
        vector = self._vector_of(word_or_vector)
        if not len(other_words):
            return self.cosine_similarities(vector, self._vectors, self.norms)
        return self.cosine_similarities(vector, self[other_words])

    def distances(self, word_or_vector: Key, other_words: Sequence[str] = ()) -> np.ndarray:
        """``1 - similarities(word_or_vector, other_words)``"""
        return 1 - self.similarities(word_or_vector, other_words)

    @staticmethod
    def cosine_similarities(
        vector_1: np.ndarray, vectors_all: np.ndarray, norms: np.ndarray | None = None
    ) -> np.ndarray:
        """The cosines of a vector (D,) and others (n, D), whose norms may be known: (n,)."""
        norms = _norms(vectors_all) if norms is None else norms
        return vectors_all @ unit(vector_1) / safe_norms(norms)

    def n_similarity(self, ws1: Sequence[str], ws2: Sequence[str]) -> float:
        """The cosine of the sums of two sets of keys' vectors.

        Keys without a vector are left out.

        Raises
        ------
        ValueError
            If a set is empty.
        KeyError
            If no key of a set has a vector.
        """
        means = []
        for name, keys in (("ws1", ws1), ("ws2", ws2)):
            keys = _as_list(keys)
            if keys and not any(isinstance(key, np.ndarray) or key in self for key in keys):
                raise KeyError(f"there is no vector for any key of {name}, such as {keys[0]!r}")
            means.append(self.get_mean_vector(keys, pre_normalize=False, post_normalize=True))
        return float(means[0] @ means[1])

    def get_mean_vector(
        self,
        keys: Keys,
        weights: ArrayLike | None = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> np.ndarray:
        """The mean of vectors (D,).

        Parameters
        ----------
        keys : list of keys or vectors
        weights : array (n,), optional
            The sum is divided by that of their absolute values.
        pre_normalize : bool
            Whether each key's vector is first divided by its norm; vectors are taken as they are.
        post_normalize : bool
            Whether the mean is divided by its norm.
        ignore_missing : bool
            Whether keys without a vector are left out.

        Raises
        ------
        KeyError
            If a key has no vector and ``ignore_missing`` is False.
        ValueError
            If there are no keys, or not a weight for each.
        """
        keys = _as_list(keys)
        if not keys:
            raise ValueError("keys must hold at least one key, got none")
        weights = np.ones(len(keys)) if weights is None else checks.numbers("weights", weights)
        checks.shape("weights", weights, (len(keys),), "(number of keys,)")
        total, sum_of_weights = np.zeros(self.vector_size), 0.0
        for weight, key in zip(weights.tolist(), keys, strict=True):
            if isinstance(key, np.ndarray):
                vector = self._read_vector("vector", key)
            elif ignore_missing and key not in self:
                continue
            else:
                vector = self.get_vector(key, norm=pre_normalize)
            total += weight * vector.astype(np.float64)
            sum_of_weights += abs(weight)
        mean = total / sum_of_weights if sum_of_weights else total
        return (unit(mean) if post_normalize else mean).astype(self._vectors.dtype)

    def _read_vector(self, name, value):
        vector = checks.numbers(name, value)
        checks.shape(name, vector, (self.vector_size,), "(D,)")
        return vector.astype(self._vectors.dtype)

    def _vector_of(self, item):
        """The vector of a key, or a vector itself."""
        if isinstance(item, (str, int, np.integer)):
            return self.get_vector(item)
        return self._read_vector("vector", item)

    def doesnt_match(self, words: Sequence[str]) -> str:
        """The key that is least similar to the mean of all of them."""
        return self.rank_by_centrality(words)[-1][1]

    def rank_by_centrality(
        self, words: Sequence[str], use_norm: bool = True
    ) -> list[tuple[float, str]]:
        """The keys with their similarity to the mean of all of them, the most similar first.

        Keys without a vector are left out, with a warning.
        """
        words = _as_list(words)
        known = [word for word in words if word in self]
        if not known:
            raise ValueError(f"words must hold at least one key with a vector, got {words!r}")
        if len(known) < len(words):
            missing = [word for word in words if word not in self]
            warnings.warn(f"left out, since they have no vector: {missing}", stacklevel=2)
        vectors = np.array([self.get_vector(word, norm=use_norm) for word in known])
        similar = vectors @ self.get_mean_vector(list(vectors), post_normalize=True)
        return sorted(zip(similar.tolist(), known, strict=True), reverse=True)

    def most_similar_to_given(self, key1: str, keys_list: Sequence[str]) -> str:
        """The one of some keys that is most similar to a key."""
        return keys_list[int(np.argmax(self.similarities(key1, keys_list)))]

    def closer_than(self, key1: str, key2: str) -> list[str]:
        """The keys that are more similar to the first key than the second one is."""
        similar, first = self.similarities(key1), self.get_index(key1)
        closer = np.flatnonzero(similar > similar[self.get_index(key2)])
        return [self.index_to_key[i] for i in closer.tolist() if i != first]

    def rank(self, key1: str, key2: str) -> int:
        """The second key's place, from 1, among all keys by their similarity to the first."""
        return len(self.closer_than(key1, key2)) + 1

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
            Lines of four words, in sections that begin with a line ``: name``; ``.gz`` and
            ``.xz`` are decompressed.
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
        ValueError
            If a line is something else; the message names file and line.
        """
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
        ValueError
            If a line is something else, or there are not two pairs of known words.
        """
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
        """
        from fastseq import vector_plots

        keys = self.index_to_key[:100] if keys is None else _key_list("keys", keys)
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
        sort_attr: str = "count",
    ) -> None:
        """Write a file as word2vec.c does, which it, gensim and many others read.

        Parameters
        ----------
        fname : str or path
            What ends with ``.gz`` or ``.xz`` is compressed.  The file is replaced as a whole or
            not at all.
        fvocab : str or path, optional
            Another file, for a key and its count in each line.
        binary : bool
            Whether numbers are written as float32 in binary, or as decimals that are read back
            without a difference.
        write_header : bool
            Whether the first line says how many keys and numbers there are; GloVe's files have
            none.
        sort_attr : str
            Keys are written by falling values of this attribute if they have it, and otherwise
            in their order.

        Raises
        ------
        ValueError
            If a key is empty or has white space in it, which the format can't hold; or if
            ``fvocab`` is given and there are no such values.  Nothing is written then.
        OSError
            If the file can't be written; the old one is as it was.
        """
        checks.flag("binary", binary)
        checks.flag("write_header", write_header)
        if fvocab is not None and sort_attr not in self.expandos:
            raise ValueError(f"fvocab needs the attribute {sort_attr!r}, which the keys don't have")
        order = None
        if sort_attr in self.expandos:
            order = np.argsort(-np.asarray(self.expandos[sort_attr]), kind="stable")
        in_order = order is None or bool((order == np.arange(len(order))).all())
        keys = self.index_to_key if in_order else [self.index_to_key[i] for i in order]
        vectors = self._vectors if in_order else self._vectors[order]
        vector_files.write_word2vec(fname, keys, vectors, binary, write_header)
        if fvocab is not None:
            values = self.expandos[sort_attr][order]
            vector_files.write_counts(fvocab, keys, values)

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
            What ends with ``.gz`` or ``.xz`` is decompressed.
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
            If it is truncated, damaged, or something else; the message names file and line.
        """
        words, vectors = vector_files.read_word2vec(
            fname,
            binary=checks.flag("binary", binary),
            encoding=encoding,
            errors=unicode_errors,
            limit=None if limit is None else checks.positive_int("limit", limit),
            dtype=checks.float_dtype(datatype),
            header=not checks.flag("no_header", no_header),
        )
        counts = None
        if fvocab is not None:
            counts = vector_files.read_counts(fvocab, words, encoding, unicode_errors)
        return cls.from_arrays(words, vectors, counts=counts)

    def save(self, path: str | os.PathLike) -> None:
        """Write a file whose ending says what it is.

        ``.safetensors``
            Everything, with a checksum; needs ``pip install 'fastseq[train]'``.
        ``.npy``
            The vectors, for :meth:`load` with ``mmap``; keys and counts lie beside them in a
            file that ends with ``.json``.
        ``.bin``, ``.txt``, ``.vec``
            word2vec's binary and text format, also with ``.gz`` or ``.xz`` behind; see
            :meth:`save_word2vec_format`.

        Raises
        ------
        ValueError
            If the ending is another one, or the format can't hold what is to be saved.
        OSError
            If the file can't be written; the old one is as it was.
        ImportError
            If safetensors is missing.
        """
        form = vector_files.format_of(path)
        if form == "safetensors":
            vector_files.write_safetensors(path, self.index_to_key, self._vectors, self.expandos)
        elif form == "npy":
            vector_files.write_npy(path, self.index_to_key, self._vectors, self.expandos)
        else:
            self.save_word2vec_format(path, binary=form == "binary")

    @classmethod
    def load(cls, path: str | os.PathLike, mmap: str | None = None) -> KeyedVectors:
        """The vectors in a file, whose ending says what it is; see :meth:`save`.

        Parameters
        ----------
        path : str or path
        mmap : {"r", "c"} or None
            Of ``.npy`` files: leave the vectors on the disk, from where the system brings in
            what is used.  Changes would be refused, or not written back.

        Raises
        ------
        OSError
            If the file can't be read.
        ValueError
            If it is truncated, damaged, or something else; the message names the file.
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
        form = vector_files.format_of(path)
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


# --- arguments ----------------------------------------------------------------------------------


def _as_list(items):
    """Keys or vectors as a list: one alone, the rows of an array, or what is a list already."""
    if items is None:
        return []
    if isinstance(items, (str, int, np.integer)):
        return [items]
    if isinstance(items, np.ndarray):
        return [items] if items.ndim == 1 and items.dtype.kind == "f" else list(items)
    if not isinstance(items, Iterable):
        raise TypeError(f"expected a key, a vector, or a list of these, got {items!r}")
    return list(items)


def _key_list(name, keys):
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise TypeError(f"{name} must be a list of strings, got {files.shortened(str(keys))}")
    keys = keys.tolist() if isinstance(keys, np.ndarray) else list(keys)
    for i, key in enumerate(keys):
        if not isinstance(key, str):
            raise TypeError(
                f"{name}[{i}] must be a string, got {key!r} of type {type(key).__name__}"
            )
    return keys


def _matrix(name, value):
    """Vectors (N, D) as they are if they are float32 or float64."""
    array = checks.numbers(name, value)
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name} must have shape (N, D), got {array.shape}")
    known = array.dtype.isnative and array.dtype in (np.float32, np.float64)
    return array if known else array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)


def _norms(vectors):
    """Norms of rows, summed in float64, in the vectors' dtype."""
    norms = np.empty(len(vectors))
    for i in range(0, len(vectors), AT_ONCE):
        squares = np.square(vectors[i : i + AT_ONCE], dtype=np.float64)
        np.sqrt(squares.sum(axis=1), out=norms[i : i + AT_ONCE])
    return norms.astype(vectors.dtype)


def _blank(count, dtype):
    return np.full(count, None, object) if dtype.kind == "O" else np.zeros(count, dtype)
