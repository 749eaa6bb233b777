"""Which keys are similar to others, by the cosine of their vectors.

N keys, D numbers in a vector, Q queries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.words.vector_search import best, safe_norms, scores_in_blocks, unit
from fastseq.words.vector_table import VectorTable, as_floats, is_key, is_single, no_key, norms_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Key = str | int | np.ndarray  # a key, its place, or a vector itself
    Keys = Key | Sequence[Key]
    WeightedKeys = Key | Sequence[Key | tuple[Key, float]]
    Similar = list[tuple[str, float]]


class SimilarKeys(VectorTable):
    """The queries of :class:`KeyedVectors`."""

    def most_similar(
        self,
        positive: WeightedKeys | None = None,
        negative: WeightedKeys | None = None,
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
            Or of pairs of one and its weight, which is 1 or -1 otherwise.  Vectors are arrays, and
            taken with the length that they have; an array (n,) of integers is refused, since
            places may be meant.
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
            If nothing was given, or something else than the above; if the vectors have no norms
            (see :meth:`fill_norms`).

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> [(key, round(similar, 3)) for key, similar in wv.most_similar("b", negative="a")]
        [('c', 0.924)]
        >>> [key for key, _ in wv.most_similar([("b", 0.5), np.array([0.0, 3.0])])]
        ['c', 'a']
        """
        query = self._query(positive, negative)
        begin, end = self._range(clip_start, clip_end, restrict_vocab)
        return self._search([query], topn, begin, end)[0]

    def most_similar_batch(
        self,
        positive: Sequence[WeightedKeys] | np.ndarray,
        negative: Sequence[WeightedKeys | None] | None = None,
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

        Raises
        ------
        KeyError, TypeError, ValueError
            As ``most_similar``; also if ``positive`` is one key, or ``negative`` has another
            length.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> [[key for key, _ in keys] for keys in wv.most_similar_batch(["a", ["a", "b"]])]
        [['b', 'c'], ['c']]
        """
        _check_queries("positive", positive)
        if negative is None:
            negative = [None] * len(positive)
        _check_queries("negative", negative)
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
        for name, items, sign in (("positive", positive, 1.0), ("negative", negative, -1.0)):
            for i, item in enumerate(_as_list(name, items)):
                is_pair = isinstance(item, tuple) and len(item) == 2
                key, weight = item if is_pair else (item, sign)
                keys.append(self._read_item(name, i, key))
                weights.append(checks.finite("weight", weight))
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
        """:meth:`most_similar` of one key.

        Parameters
        ----------
        key : str or int
            A key or its place; vectors are for :meth:`similar_by_vector`.
        topn, restrict_vocab
            As of ``most_similar``.

        Returns
        -------
        similar : list of (str, float), or ndarray (N,)
            As of ``most_similar``.

        Raises
        ------
        KeyError
            If there is no vector for the key.
        TypeError, ValueError
            As ``most_similar``.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> [key for key, _ in wv.similar_by_key("a")]
        ['b', 'c']
        >>> wv.similar_by_key("a", topn=None).round(3).tolist()
        [1.0, 0.707, 0.0]
        """
        self.get_index(key)  # what is no key is no vector either
        return self.most_similar([key], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_word(
        self, word: str | int, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Similar | np.ndarray:
        """The same as :meth:`similar_by_key`, by gensim's other name.

        Parameters
        ----------
        word : str or int
        topn, restrict_vocab
            As of ``most_similar``.

        Returns
        -------
        similar : list of (str, float), or ndarray (N,)

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.similar_by_word("a") == wv.similar_by_key("a")
        True
        """
        return self.similar_by_key(word, topn, restrict_vocab)

    def similar_by_vector(
        self, vector: ArrayLike, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Similar | np.ndarray:
        """:meth:`most_similar` of a vector.

        Parameters
        ----------
        vector : array (D,)
            Of floats or integers.
        topn, restrict_vocab
            As of ``most_similar``.

        Returns
        -------
        similar : list of (str, float), or ndarray (N,)
            As of ``most_similar``, of all keys: none was given.

        Raises
        ------
        TypeError, ValueError
            If the vector does not hold D finite numbers; otherwise as ``most_similar``.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> [key for key, _ in wv.similar_by_vector([2, 1], topn=2)]
        ['b', 'a']
        """
        vector = self._read_vector("vector", vector)
        return self.most_similar([vector], topn=topn, restrict_vocab=restrict_vocab)

    def most_similar_cosmul(
        self,
        positive: Keys | None = None,
        negative: Keys | None = None,
        topn: int | None = 10,
        restrict_vocab: int | None = None,
    ) -> Similar | np.ndarray:
        """As :meth:`most_similar`, by products and quotients of cosines instead of sums.

        The cosines are first brought to 0 ... 1 (3CosMul: Levy & Goldberg, 2014).

        Parameters
        ----------
        positive, negative : key, vector, or list of these
            Without weights, which a product has not; at least one is positive.
        topn, restrict_vocab
            As of ``most_similar``.

        Returns
        -------
        similar : list of (str, float), or ndarray (N,)
            As of ``most_similar``, with quotients, which may be above 1, for similarities.

        Raises
        ------
        KeyError
            If there is no vector for a key.
        TypeError, ValueError
            If nothing positive was given, or something else than the above; if the vectors have
            no norms (see :meth:`fill_norms`).

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> [(key, round(score, 3)) for key, score in wv.most_similar_cosmul("b", "a")]
        [('c', 1.707)]
        """
        positive = self._read_items("positive", positive)
        negative = self._read_items("negative", negative, can_be_empty=True)
        _, end = self._range(0, None, restrict_vocab)
        topn = topn if topn is None else checks.not_negative_int("topn", topn)
        items = [*positive, *negative]
        queries = [x if isinstance(x, np.ndarray) else self.get_vector(x) for x in items]
        vectors, norms = self._vectors[:end], self.norms[:end]
        shifted = [(1 + _cosines(query, vectors, norms)) / 2 for query in queries]
        quotients = np.prod(shifted[: len(positive)], axis=0)
        quotients /= np.prod(shifted[len(positive) :], axis=0) + 1e-6
        if topn is None:
            return quotients
        given = {self.get_index(item) for item in items if not isinstance(item, np.ndarray)}
        quotients[[i for i in given if i < end]] = -np.inf
        places = best(quotients, topn).tolist()
        places = [i for i in places if quotients[i] > -np.inf]
        return [(self.index_to_key[i], float(quotients[i])) for i in places]

    def similarity(self, w1: str | int, w2: str | int) -> float:
        """The cosine of two keys' vectors; 0 if one of them has zeros only.

        Parameters
        ----------
        w1, w2 : str or int
            Keys or their places.

        Returns
        -------
        similarity : float
            From -1 to 1, to rounding.

        Raises
        ------
        KeyError
            If there is no vector for a key.
        TypeError
            If something else was given, such as a list.
        ValueError
            If the vectors have no norms; see :meth:`fill_norms`.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> round(wv.similarity("a", "b"), 3), wv.similarity("a", "c")
        (0.707, 0.0)
        """
        return float(self.get_vector(w1, norm=True) @ self.get_vector(w2, norm=True))

    def distance(self, w1: str | int, w2: str | int) -> float:
        """``1 - similarity(w1, w2)``, from 0 to 2.

        Parameters
        ----------
        w1, w2 : str or int
            As of :meth:`similarity`, whose errors come too.

        Returns
        -------
        distance : float

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> round(wv.distance("a", "b"), 3), wv.distance("a", "c")
        (0.293, 1.0)
        """
        return 1 - self.similarity(w1, w2)

    def similarities(self, word_or_vector: Key, other_words: Sequence[str] = ()) -> np.ndarray:
        """The cosines of a key's vector, or of a vector, and those of other keys.

        Parameters
        ----------
        word_or_vector : str, int, or array (D,)
            A key, its place, or a vector.
        other_words : sequence of n keys or places
            By default all N keys.

        Returns
        -------
        similarities : ndarray, (n,) or (N,)

        Raises
        ------
        KeyError
            If there is no vector for a key.
        TypeError, ValueError
            If ``word_or_vector`` is neither a key nor D finite numbers, or ``other_words`` is one
            key; if the vectors have no norms (see :meth:`fill_norms`).

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.similarities("a", ["b", "c"]).round(3).tolist()
        [0.707, 0.0]
        >>> wv.similarities([0, 1]).round(3).tolist()
        [0.0, 0.707, 1.0]
        """
        vector = self._vector_of("word_or_vector", word_or_vector)
        others = _several("other_words", other_words)
        if not others:
            return _cosines(vector, self._vectors, self.norms)
        places = [self.get_index(key) for key in others]
        return _cosines(vector, self._vectors[places], self.norms[places])

    def distances(self, word_or_vector: Key, other_words: Sequence[str] = ()) -> np.ndarray:
        """``1 - similarities(word_or_vector, other_words)``, from 0 to 2.

        Parameters
        ----------
        word_or_vector, other_words
            As of :meth:`similarities`, whose errors come too.

        Returns
        -------
        distances : ndarray, (n,) or (N,)

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.distances("a", ["b", "c"]).round(3).tolist()
        [0.293, 1.0]
        """
        return 1 - self.similarities(word_or_vector, other_words)

    @staticmethod
    def cosine_similarities(
        vector_1: ArrayLike, vectors_all: ArrayLike, norms: ArrayLike | None = None
    ) -> np.ndarray:
        """The cosines of a vector and others; 0 where one has zeros only.

        Parameters
        ----------
        vector_1 : array (D,)
        vectors_all : array (n, D)
            Both of float32 or float64; other numbers are taken as float64.
        norms : array (n,), optional
            Those of ``vectors_all``, if they are known.

        Returns
        -------
        similarities : ndarray, (n,)

        Raises
        ------
        TypeError, ValueError
            If they hold no numbers, or infinite ones or NaN, or the shapes don't match; if a norm
            is beyond the dtype.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> others = np.array([[1.0, 1.0], [0.0, 2.0]])
        >>> fs.KeyedVectors.cosine_similarities(np.array([3.0, 0.0]), others).round(3).tolist()
        [0.707, 0.0]
        """
        vectors = _floats("vectors_all", vectors_all)
        if vectors.ndim != 2:
            raise ValueError(f"vectors_all must have shape (n, D), got {vectors.shape}")
        vector = _floats("vector_1", vector_1)
        checks.shape("vector_1", vector, vectors.shape[1:], "(D,)")
        norms = norms_of(vectors) if norms is None else _floats("norms", norms)
        checks.shape("norms", norms, vectors.shape[:1], "(n,)")
        wrong = np.flatnonzero(~np.isfinite(norms))
        if wrong.size:
            raise ValueError(
                f"vectors_all must hold finite numbers, whose norms {norms.dtype} can hold, got "
                f"others in row {wrong[0]}: leave it out, or divide all by a number first"
            )
        return _cosines(_finite("vector_1", vector), vectors, norms)

    def n_similarity(self, ws1: Sequence[str], ws2: Sequence[str]) -> float:
        """The cosine of the sums of two sets of keys' vectors.

        Parameters
        ----------
        ws1, ws2 : sequence of keys or vectors, or one key
            Keys without a vector are left out.

        Returns
        -------
        similarity : float

        Raises
        ------
        KeyError
            If no key of a set has a vector.
        TypeError, ValueError
            If a set is empty, or something else; a vector must hold D finite numbers.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> round(wv.n_similarity(["a", "c"], ["b", "unseen"]), 3)
        0.949
        """
        means = []
        for name, keys in (("ws1", ws1), ("ws2", ws2)):
            keys = self._read_items(name, keys)
            if not any(isinstance(key, np.ndarray) or key in self for key in keys):
                raise KeyError(f"there is no vector for any key of {name}, such as {keys[0]!r}")
            means.append(self.get_mean_vector(keys, pre_normalize=False, post_normalize=True))
        return float(means[0] @ means[1])

    def relative_cosine_similarity(self, wa: str | int, wb: str | int, topn: int = 10) -> float:
        """The cosine of two keys' vectors over the sum of those of the first and its neighbours.

        Of synonyms it is often above 1 / topn (Leeuwenberg et al., 2016, "A minimally supervised
        approach for synonym extraction with word embeddings").

        Parameters
        ----------
        wa, wb : key
        topn : int
            How many neighbours.

        Returns
        -------
        similarity : float
            NaN if the neighbours' cosines sum to 0, as those with a vector of zeros do.

        Raises
        ------
        KeyError
            If there is no vector for a key.
        TypeError, ValueError
            If topn is no positive integer, or a key something else; if the vectors have no norms
            (see :meth:`fill_norms`).

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> round(wv.relative_cosine_similarity("b", "a", topn=2), 3)
        0.5
        """
        cosine = self.similarity(wa, wb)
        neighbours = self.most_similar(wa, topn=checks.positive_int("topn", topn))
        total = sum(similar for _, similar in neighbours)
        return cosine / total if total else math.nan

    def get_mean_vector(
        self,
        keys: Keys,
        weights: ArrayLike | None = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> np.ndarray:
        """The mean of vectors.

        Parameters
        ----------
        keys : list of n keys or vectors
            Vectors are arrays (D,); one alone will do as well, a vector if it is of floats.
        weights : array (n,), optional
            The sum is divided by that of their absolute values.
        pre_normalize : bool
            Whether each key's vector is first divided by its norm; vectors are taken as they are.
        post_normalize : bool
            Whether the mean is divided by its norm.
        ignore_missing : bool
            Whether keys without a vector are left out.

        Returns
        -------
        mean : ndarray, (D,)
            In the dtype of the table; zeros if no key has a vector, or all weights are 0.

        Raises
        ------
        KeyError
            If a key has no vector and ``ignore_missing`` is False.
        TypeError, ValueError
            If there are no keys, or something else among them, or not a weight for each; if weights
            or vectors are no finite numbers; with ``pre_normalize`` also if the vectors of the
            table have no norms (see :meth:`fill_norms`).

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.get_mean_vector(["a", "c"]).tolist()
        [0.5, 0.5]
        >>> wv.get_mean_vector(["a", "c"], weights=[3, 1], pre_normalize=False).tolist()
        [0.75, 0.5]
        """
        keys = self._read_items("keys", keys)
        weights = np.ones(len(keys)) if weights is None else checks.numbers("weights", weights)
        checks.shape("weights", weights, (len(keys),), "(number of keys,)")
        _finite("weights", weights)
        total, sum_of_weights = np.zeros(self.vector_size), 0.0
        for weight, key in zip(weights.tolist(), keys, strict=True):
            if isinstance(key, np.ndarray):
                vector = key
            elif ignore_missing and key not in self:
                continue
            else:
                vector = self.get_vector(key, norm=pre_normalize)
            total += weight * vector.astype(np.float64)
            sum_of_weights += abs(weight)
        mean = total / sum_of_weights if sum_of_weights else total
        return (unit(mean) if post_normalize else mean).astype(self._vectors.dtype)

    def _read_vector(self, name, value):
        vector = as_floats(name, value, self._vectors.dtype)
        checks.shape(name, vector, (self.vector_size,), "(D,)")
        return _finite(name, vector)

    def _read_items(self, name, items, can_be_empty=False):
        """Keys and vectors as a list."""
        items = [self._read_item(name, i, item) for i, item in enumerate(_as_list(name, items))]
        if not items and not can_be_empty:
            raise ValueError(f"{name} must hold at least one key, got none")
        return items

    def _read_item(self, name, i, item):
        if isinstance(item, np.ndarray):
            return self._read_vector(name, item)
        if not is_key(item):
            is_pair = isinstance(item, tuple) and len(item) == 2
            way_out = "; pairs with weights are for most_similar" * is_pair
            expected = "a key, its place, or a vector as an array"
            raise no_key(f"{name}[{i}]", item, expected, way_out)
        return item

    def _vector_of(self, name, item):
        """The vector of a key, or a vector itself."""
        return self.get_vector(item) if is_key(item) else self._read_vector(name, item)

    def doesnt_match(self, words: Sequence[str]) -> str:
        """The key that is least similar to the mean of all of them.

        Parameters
        ----------
        words : sequence of str
            As of :meth:`rank_by_centrality`, whose errors and warning come too.

        Returns
        -------
        word : str

        Examples
        --------
        >>> import fastseq as fs
        >>> wv = fs.KeyedVectors(2)
        >>> wv.add_vectors(["red", "blue", "seven"], [[4, 1], [3, 1], [1, 4]])
        >>> wv.doesnt_match(["red", "blue", "seven"])
        'seven'
        """
        return self.rank_by_centrality(words)[-1][1]

    def rank_by_centrality(
        self, words: Sequence[str], use_norm: bool = True
    ) -> list[tuple[float, str]]:
        """The keys with their similarity to the mean of all of them, the most similar first.

        Parameters
        ----------
        words : sequence of str
            Those without a vector are left out, with a warning.
        use_norm : bool
            Whether all vectors are first divided by their norms; otherwise the products with the
            mean, which is of length 1, also grow with the vectors' lengths.

        Returns
        -------
        ranked : list of (float, str)
            Those of equal similarity by falling key.

        Raises
        ------
        TypeError
            If ``words`` is no sequence of keys.
        ValueError
            If none of the keys has a vector; with ``use_norm`` also if the vectors have no norms
            (see :meth:`fill_norms`).

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[2, 0], [3, 1], [0, 1.0]]))
        >>> [(round(similar, 2), key) for similar, key in wv.rank_by_centrality(list("abc"))]
        [(0.96, 'b'), (0.83, 'a'), (0.56, 'c')]
        """
        words = [words] if is_key(words) else _several("words", words)
        for i, word in enumerate(words):
            if not is_key(word):
                raise no_key(f"words[{i}]", word)
        known = [self.index_to_key[self.get_index(word)] for word in words if word in self]
        if not known:
            raise ValueError(f"words must hold at least one key with a vector, got {words!r}")
        if len(known) < len(words):
            missing = [word for word in words if word not in self]
            checks.warn(f"left out, since they have no vector: {missing}")
        vectors = np.array([self.get_vector(word, norm=use_norm) for word in known])
        similar = vectors @ self.get_mean_vector(list(vectors), post_normalize=True)
        return sorted(zip(similar.tolist(), known, strict=True), reverse=True)

    def most_similar_to_given(self, key1: str, keys_list: Sequence[str]) -> str:
        """The one of some keys that is most similar to a key.

        Parameters
        ----------
        key1 : str, int, or array (D,)
            A key, its place, or a vector.
        keys_list : sequence of str
            Of equally similar ones the first is taken.

        Returns
        -------
        key : str

        Raises
        ------
        KeyError
            If there is no vector for a key.
        TypeError, ValueError
            If ``keys_list`` is empty or one key; otherwise as :meth:`similarities`.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.most_similar_to_given("a", ["c", "b"])
        'b'
        """
        keys = _several("keys_list", keys_list)
        if not keys:
            raise ValueError("keys_list must hold at least one key, got none")
        return keys[int(np.argmax(self.similarities(key1, keys)))]

    def closer_than(self, key1: str, key2: str) -> list[str]:
        """The keys that are more similar to the first key than the second one is.

        Parameters
        ----------
        key1, key2 : str or int
            Keys or their places.

        Returns
        -------
        closer : list of str
            By place, without the first key itself.

        Raises
        ------
        KeyError
            If there is no vector for a key.
        TypeError
            If something else was given, such as a list.
        ValueError
            If the vectors have no norms; see :meth:`fill_norms`.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.closer_than("a", "c"), wv.closer_than("a", "b")
        (['b'], [])
        """
        first, second = self.get_index(key1), self.get_index(key2)
        similar = self.similarities(first)
        closer = np.flatnonzero(similar > similar[second])
        return [self.index_to_key[i] for i in closer.tolist() if i != first]

    def rank(self, key1: str, key2: str) -> int:
        """The second key's rank, from 1, among all others by their similarity to the first.

        Parameters
        ----------
        key1, key2 : str or int
            As of :meth:`closer_than`, whose errors come too.

        Returns
        -------
        rank : int
            1 more than the number of keys that are closer.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.rank("a", "b"), wv.rank("a", "c")
        (1, 2)
        """
        return len(self.closer_than(key1, key2)) + 1


# --- arguments ----------------------------------------------------------------------------------


def _as_list(name, items):
    """Keys or vectors as a list: one alone, the rows of an array, or what is a list already."""
    if items is None:
        return []
    if is_key(items):
        return [items]
    if is_single(items):
        raise no_key(name, items, "a key, a vector, or a list of these")
    if isinstance(items, np.ndarray) and items.ndim == 1:
        if items.dtype.kind == "f":
            return [items]
        if items.dtype.kind in "iu":
            raise TypeError(
                f"{name} must be keys or a vector of floats, got {checks.shown(items)}, which may "
                f"be places or a vector: give {name}.tolist() or {name}.astype(float)"
            )
    return list(items)


def _check_queries(name, queries):
    if isinstance(queries, str) or is_single(queries) or not hasattr(queries, "__len__"):
        raise TypeError(
            f"{name} must be a sequence of queries, got {queries!r}; for one query call "
            "most_similar"
        )


def _several(name, keys):
    """Keys as a list; one alone would be taken for a list of its characters."""
    if isinstance(keys, str) or is_single(keys):
        raise TypeError(f"{name} must be a list of keys, got {keys!r}; for one key give [{keys!r}]")
    return list(keys)


def _floats(name, value):
    array = checks.numbers(name, value)
    dtype = np.float32 if array.dtype == np.float32 else np.float64
    return array.astype(dtype, copy=False)


def _finite(name, vector):
    """A vector, or weights, without NaN or infinity."""
    if not np.isfinite(vector).all():
        at = checks.first(vector, ~np.isfinite(vector))
        raise ValueError(
            f"{name} must hold finite numbers, got {vector[at]} as number {at[0]} of "
            f"{len(vector)}; fill the gaps first, as with np.nan_to_num"
        )
    return vector


def _cosines(vector, vectors, norms):
    """The cosines of a vector and others, whose norms are known; 0 where one has zeros only."""
    return vectors @ unit(vector) / safe_norms(norms)
