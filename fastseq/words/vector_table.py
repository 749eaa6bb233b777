"""A table of vectors with a key for each row: what is kept, looked up and added.

N keys, D numbers in a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastseq import checks, files
from fastseq.words.packed_words import PackedWords
from fastseq.words.vector_search import safe_norms, scaled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

AT_ONCE = 1 << 16  # vectors whose norms are taken at a time


class VectorTable:
    """What :class:`KeyedVectors` is without its queries and files."""

    def __init__(self, vector_size: int, *, dtype: DTypeLike = np.float32) -> None:
        size = checks.positive_int("vector_size", vector_size)
        self._put([], np.empty((0, size), checks.float_dtype(dtype)))

    @classmethod
    def from_arrays(
        cls, keys: Iterable[str], vectors: ArrayLike, *, counts: ArrayLike | None = None
    ) -> Self:
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

        Returns
        -------
        wv : KeyedVectors
            Its dtype is that of the vectors; float16 and integers of at most 2 bytes become
            float32, and all else float64.

        Raises
        ------
        TypeError, ValueError
            If keys are no strings, or one comes twice; if there is not a vector for each, or a
            count, or that is negative.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> fs.KeyedVectors.from_arrays(["a", "b"], np.eye(2))
        <KeyedVectors: 2 keys, vectors of 2 numbers, float64>
        """
        vectors = _matrix("vectors", vectors)
        if not isinstance(keys, PackedWords):
            keys = key_list("keys", keys)
        checks.shape("vectors", vectors, (len(keys), vectors.shape[1]), "(number of keys, D)")
        wv = cls.__new__(cls)
        wv._put(keys, vectors)
        if counts is not None:
            counts = checks.integers("counts", counts)
            checks.shape("counts", counts, (len(keys),), "(number of keys,)")
            if counts.min(initial=0) < 0:
                raise ValueError(f"counts must not be negative, got {counts.min()}")
            if counts.max(initial=0) > np.iinfo(np.int64).max:
                raise ValueError(f"counts must fit int64, got {counts.max()}")
            wv.expandos["count"] = counts.astype(np.int64)
        return wv

    def _put(self, keys, vectors):
        """Keys are a list, or packed words that are known to differ."""
        self._keys, self._places = keys, None
        if not isinstance(keys, PackedWords):
            self._places = _places(keys)
        self.expandos: dict[str, np.ndarray] = {}
        self._vectors, self._norms = vectors, None

    def __repr__(self):
        return (
            f"<{type(self).__name__}: {len(self):,} keys, vectors of {self.vector_size} numbers, "
            f"{self._vectors.dtype}>"
        )

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return self.has_index_for(key)

    # --- keys -----------------------------------------------------------------------------------

    @property
    def index_to_key(self) -> list[str]:
        """The keys (N,), in the order of their vectors.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.index_to_key
        ['a', 'b', 'c']
        """
        self._unpack()
        return self._keys

    @index_to_key.setter
    def index_to_key(self, keys: list[str]) -> None:
        self._unpack()  # whose places stay
        self._keys = keys

    @property
    def key_to_index(self) -> dict[str, int]:
        """The place of each key.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.key_to_index
        {'a': 0, 'b': 1, 'c': 2}
        """
        self._unpack()
        return self._places

    @key_to_index.setter
    def key_to_index(self, places: dict[str, int]) -> None:
        self._unpack()
        self._places = places

    def _unpack(self):
        """Make a list and a dict of packed words, which both are in use from then on."""
        keys = self._keys
        if isinstance(keys, PackedWords):
            keys = keys.unpacked()
            self._places = _places(keys)
            self._keys = keys  # last, for threads that look at it meanwhile

    # --- vectors --------------------------------------------------------------------------------

    @property
    def vector_size(self) -> int:
        """D"""
        return self._vectors.shape[1]

    @property
    def vectors(self) -> np.ndarray:
        """All vectors (N, D), not to be written to; another array may be assigned.

        Raises
        ------
        TypeError, ValueError
            On assignment, if it is no array (N, D) of numbers.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.vectors = wv.vectors + 1
        >>> wv.vectors.tolist()
        [[2.0, 1.0], [2.0, 2.0], [1.0, 3.0]]
        """
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
        """The vectors' norms (N,), not to be written to.

        Raises
        ------
        ValueError
            As :meth:`fill_norms`, which is called where they are needed first.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.norms.round(3).tolist()
        [1.0, 1.414, 2.0]
        """
        self.fill_norms()
        return self._norms

    def fill_norms(self, force: bool = False) -> None:
        """Compute the norms unless they are there.

        Parameters
        ----------
        force : bool
            Compute them anyway, as after a change of the array that ``from_arrays`` was given.

        Raises
        ------
        ValueError
            If a vector holds NaN or infinity, or has a norm beyond its dtype; the message names
            its key.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> array = np.array([[3.0, 4.0]])
        >>> wv = fs.KeyedVectors.from_arrays(["a"], array)
        >>> before = wv.norms.tolist()
        >>> array *= 2
        >>> wv.fill_norms(force=True)
        >>> before, wv.norms.tolist()
        ([5.0], [10.0])
        """
        if self._norms is None or force:
            norms = norms_of(self._vectors)
            wrong = np.flatnonzero(~np.isfinite(norms))
            if wrong.size:
                raise ValueError(self._why_no_norm(wrong))
            norms.flags.writeable = False
            self._norms = norms

    def _why_no_norm(self, places):
        count, key = len(places), self.index_to_key[places[0]]
        if np.isfinite(self._vectors[places]).all():
            return (
                f"vectors must have norms that {self._vectors.dtype} can hold, got larger ones for "
                f"{count} keys, first for {key!r}; divide all vectors by a number first"
            )
        return (
            f"vectors must hold finite numbers, got others for {count} keys, first for {key!r}; "
            "leave these out"
        )

    def get_normed_vectors(self) -> np.ndarray:
        """All vectors divided by their norms; vectors of zeros stay.

        Returns
        -------
        vectors : ndarray, (N, D)
            A new array.

        Raises
        ------
        ValueError
            If the vectors have no norms; see :meth:`fill_norms`.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.get_normed_vectors().round(3).tolist()
        [[1.0, 0.0], [0.707, 0.707], [0.0, 1.0]]
        """
        return self._vectors / safe_norms(self.norms)[:, None]

    def unit_normalize_all(self) -> None:
        """Divide all vectors by their norms, for good; vectors of zeros stay.

        An array that ``from_arrays`` was given stays as it is.

        Raises
        ------
        ValueError
            If the vectors have no norms; see :meth:`fill_norms`.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.unit_normalize_all()
        >>> wv["c"].tolist()
        [0.0, 1.0]
        """
        self.vectors = self.get_normed_vectors()

    def __getitem__(self, key_or_keys: str | int | Sequence[str | int]) -> np.ndarray:
        """The vector of a key (D,), or those of a list of keys (n, D).

        That of one key is a view that can't be written to, those of a list are a copy.

        Raises
        ------
        KeyError
            If there is no such key.
        TypeError
            If it is no key, place, or list of these.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv["c"].tolist(), wv[["b", 0]].tolist()
        ([0.0, 2.0], [[1.0, 1.0], [1.0, 0.0]])
        """
        if is_key(key_or_keys):
            return self.get_vector(key_or_keys)
        if is_single(key_or_keys):
            raise no_key("a key", key_or_keys, "a string or a place, or several")
        return self._vectors[[self.get_index(key) for key in key_or_keys]]

    def get_vector(self, key: str | int, norm: bool = False) -> np.ndarray:
        """The vector of a key.

        Parameters
        ----------
        key : str or int
            A key or its place.
        norm : bool
            Whether the vector is divided by its norm, as a copy; one of zeros stays.

        Returns
        -------
        vector : ndarray, (D,)
            Without ``norm`` a view that can't be written to.

        Raises
        ------
        KeyError
            If there is no vector for the key.
        TypeError
            If something else was given, such as a list.
        ValueError
            With ``norm``, if the vectors have no norms; see :meth:`fill_norms`.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.get_vector("c").tolist(), wv.get_vector("c", norm=True).tolist()
        ([0.0, 2.0], [0.0, 1.0])
        """
        index = self.get_index(key)
        if norm:
            return self._vectors[index] / safe_norms(self.norms[index])
        return self.vectors[index]

    def get_index(self, key: str | int, default: int | None = None) -> int:
        """The place of a key.

        Parameters
        ----------
        key : str or int
            A place, from 0 to N - 1, is returned as it is.  True and False are none.
        default : int, optional
            What to return for unknown keys, and for what is none, such as None or True.

        Returns
        -------
        index : int

        Raises
        ------
        KeyError
            If the key is unknown and there is no default.
        TypeError
            If it is neither a string nor a place, and there is no default; in any case if it can't
            be looked up, as a list can't.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.get_index("c"), wv.get_index(2), wv.get_index("unseen", -1)
        (2, 2, -1)
        """
        try:
            index = self.key_to_index.get(key)
        except TypeError:  # a list can't be looked up
            raise no_key("key", key) from None
        if index is not None:
            return index
        if is_key(key) and not isinstance(key, str) and 0 <= key < len(self):
            return int(key)
        if default is not None:
            return default
        if not is_key(key):
            raise no_key("key", key)
        raise KeyError(f"there is no vector for {key!r}")

    def has_index_for(self, key: object) -> bool:
        """Whether there is a vector for the key, or for a place; ``key in wv`` says the same.

        For what is neither, such as None or True, there is none.

        Raises
        ------
        TypeError
            If it can't be looked up, as a list can't.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.has_index_for("a"), wv.has_index_for("unseen"), wv.has_index_for(3), "a" in wv
        (True, False, False, True)
        """
        return self.get_index(key, -1) >= 0

    def __setitem__(self, keys: str | Sequence[str], vectors: ArrayLike) -> None:
        """Add vectors, or replace those of keys that are there.

        Keys are strings here, no places.

        Raises
        ------
        TypeError, ValueError
            As :meth:`add_vectors`.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv["a"] = [5, 6]
        >>> wv[["b", "d"]] = [[7, 8], [9, 9]]
        >>> wv.index_to_key, wv["a"].tolist()
        (['a', 'b', 'c', 'd'], [5.0, 6.0])
        """
        self._add(keys, "vectors", vectors, {}, replace=True)

    def add_vector(self, key: str, vector: ArrayLike) -> int:
        """Add one vector; for many :meth:`add_vectors` is much faster.

        Parameters
        ----------
        key : str
            One that is there already keeps its vector; ``wv[key] = vector`` replaces it.
        vector : array (D,)

        Returns
        -------
        index : int
            The key's place.

        Raises
        ------
        TypeError, ValueError
            If the key is no string, or the vector does not hold D numbers, which float32 can hold
            if the vectors have it.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.add_vector("d", [3, 4]), wv["d"].tolist()
        (3, [3.0, 4.0])
        """
        if not isinstance(key, str):
            raise no_key("key", key, "a string")
        self._add(key, "vector", vector, {}, replace=False)
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
            If keys are no strings, there is not a vector of D numbers for each, float32 can't
            hold them though the vectors have it, or an attribute that is there can't hold the new
            values; nothing was added then.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.add_vectors(["a", "d"], [[9, 9], [3, 4]])
        >>> wv[["a", "d"]].tolist()
        [[1.0, 0.0], [3.0, 4.0]]
        >>> wv.add_vectors(["e"], [[5, 6]], extras={"count": [7]})
        >>> wv.expandos["count"].tolist()
        [0, 0, 0, 0, 7]
        """
        if extras is not None and not isinstance(extras, Mapping):
            raise TypeError(
                f"extras must be a mapping from names to arrays, got {files.shortened(extras)}"
            )
        self._add(keys, "weights", weights, extras or {}, replace)

    def _add(self, keys, argument, weights, extras, replace):
        """``argument`` is what the caller calls the vectors."""
        weights = as_floats(argument, weights, self._vectors.dtype)
        if isinstance(keys, str):
            checks.shape(argument, weights, (self.vector_size,), "(D,)")
            keys, weights = [keys], weights[None]
        keys = key_list("keys", keys)
        checks.shape(argument, weights, (len(keys), self.vector_size), "(number of keys, D)")
        extras = {name: _attribute(name, values, len(keys)) for name, values in extras.items()}
        rows = {key: row for row, key in enumerate(keys)}
        new = [key for key in rows if key not in self.key_to_index]
        taken = new + [key for key in rows if key in self.key_to_index and replace]
        places = self.key_to_index | {key: i for i, key in enumerate(new, len(self))}
        here, there = [places[key] for key in taken], [rows[key] for key in taken]
        vectors = extended(self._vectors, len(self) + len(new))
        vectors[here] = weights[there]
        held = self.expandos | {name: self._room(name, extras[name]) for name in extras}
        held = {name: extended(values, len(self) + len(new)) for name, values in held.items()}
        for name, values in extras.items():
            held[name][here] = values[there]
        # only now, when nothing can fail any more
        self.index_to_key = [*self.index_to_key, *new]
        self.key_to_index = places
        self._vectors, self._norms = vectors, None
        self.expandos.update(held)

    def vectors_for_all(self, keys: Iterable[str]) -> Self:
        """Those of the keys that have a vector, in this order, each once.

        Parameters
        ----------
        keys : iterable of str
            No places.

        Returns
        -------
        wv : KeyedVectors
            A copy of their vectors and attributes.

        Raises
        ------
        TypeError
            If ``keys`` is no iterable, or an item can't be a key, as a list can't.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> some = wv.vectors_for_all(["c", "unseen", "a", "c"])
        >>> some.index_to_key, some.vectors.tolist()
        (['c', 'a'], [[0.0, 2.0], [1.0, 0.0]])
        """
        keys = dict.fromkeys(key_list("keys", keys))
        known = [key for key in keys if key in self.key_to_index]
        places = [self.key_to_index[key] for key in known]
        wv = type(self).from_arrays(known, self._vectors[places])
        wv.expandos = {name: values[places] for name, values in self.expandos.items()}
        return wv

    def embedding_matrix(
        self, tokens: Sequence[str], *, seed: checks.Seed = None
    ) -> tuple[np.ndarray, list[str]]:
        """A row for each of some tokens, such as a vocabulary's, to begin an ``Embedding`` with.

        Parameters
        ----------
        tokens : sequence of str
            V of them.
        seed : int, Generator or None
            Tokens without a vector get a random one, N(0, s^2) with s the standard deviation of
            the numbers in the other rows.

        Returns
        -------
        table : ndarray, (V, D)
        missing : list of str
            The tokens without a vector.

        Raises
        ------
        TypeError
            If tokens are no strings, or the seed is something else.
        ValueError
            If no token has a vector, or the seed is negative.

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
        tokens = key_list("tokens", tokens)
        places = np.array([self.key_to_index.get(token, -1) for token in tokens], np.int64)
        known = places >= 0
        if not known.any():
            examples = ", such as " + ", ".join(map(repr, self.index_to_key[:3]))
            raise ValueError(
                f"tokens must have vectors, got none among {len(tokens)} of them that has; there "
                f"are vectors for {len(self):,} keys{examples * bool(len(self))}"
            )
        rows = self._vectors[places[known]]
        table = np.empty((len(tokens), self.vector_size), self._vectors.dtype)
        table[known] = rows
        shape = (np.count_nonzero(~known), self.vector_size)
        table[~known] = checks.generator(seed).standard_normal(shape) * rows.std(dtype=np.float64)
        return table, [tokens[i] for i in np.flatnonzero(~known)]

    # --- further attributes ---------------------------------------------------------------------

    def get_vecattr(self, key: str | int, attr: str) -> Any:
        """An attribute of a key, such as its ``count``.

        Parameters
        ----------
        key : str or int
            A key or its place.
        attr : str
            One of the names in ``expandos``.

        Returns
        -------
        value : NumPy scalar or object

        Raises
        ------
        KeyError
            If there is no vector for the key, or no such attribute.
        TypeError
            If the key is something else, such as a list, or ``attr`` no string.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(["to", "be"], np.eye(2), counts=[7, 5])
        >>> int(wv.get_vecattr("be", "count"))
        5
        """
        index = self.get_index(key)
        _check_attribute("attr", attr)
        if attr not in self.expandos:
            raise KeyError(f"there is no attribute {attr!r}, only {list(self.expandos)}")
        return self.expandos[attr][index]

    def set_vecattr(self, key: str | int, attr: str, val: Any) -> None:
        """Set an attribute of a key; the first time all other keys get 0, or None.

        Parameters
        ----------
        key : str or int
            A key or its place.
        attr : str
            A name in ``expandos``, or a new one.
        val : number, str or object
            A list, or an array with axes, is one object.

        Raises
        ------
        KeyError
            If there is no vector for the key.
        TypeError
            If the attribute has numbers, and they and the value have no type in common that
            holds both exactly; if the key is something else, such as a list, or ``attr`` no
            string.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> wv = fs.KeyedVectors.from_arrays(list("abc"), np.array([[1, 0], [1, 1], [0, 2.0]]))
        >>> wv.set_vecattr("b", "count", 3)
        >>> wv.set_vecattr("b", "tag", "verb")
        >>> wv.expandos["count"].tolist(), wv.expandos["tag"].tolist()
        ([0, 3, 0], [None, 'verb', None])
        """
        index = self.get_index(key)
        _check_attribute("attr", attr)
        values = self._room(attr, _as_value(val))
        values[index] = val
        self.expandos[attr] = values

    def _room(self, attr, values):
        """An attribute's array (N,), itself or one of another dtype, which can hold the values."""
        dtype = np.dtype(object) if values.dtype.kind in "SU" else values.dtype
        if attr not in self.expandos:
            return _blank(len(self), dtype)
        held = self.expandos[attr]
        if not values.size:  # an empty list would have dtype float64
            return held
        common = _common_dtype(held.dtype, dtype)
        if common is None or not (_keeps(common, held) and _keeps(common, values)):
            raise TypeError(
                f"the attribute {attr!r} has dtype {held.dtype}, which can't become one that also "
                f"holds {files.shortened(values.tolist())}, of dtype {values.dtype}: take another "
                f"name, or make room first, as with expandos[{attr!r}].astype(object)"
            )
        return held.astype(common, copy=False)


# --- arguments ----------------------------------------------------------------------------------


def is_key(value):
    """Whether it may be a key or a place: True and False are neither, though they are integers."""
    return isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)


def is_single(value):
    """Whether it is nothing to iterate over; the bytes of a word are no places."""
    is_scalar = isinstance(value, np.ndarray) and not value.ndim
    return is_scalar or isinstance(value, bytes) or not isinstance(value, Iterable)


def no_key(name, value, expected="a string or a place", way_out=""):
    """The error about what is no key."""
    if isinstance(value, (bool, np.bool_)):
        way_out = "; the places of a mask are np.flatnonzero(mask)"
    elif isinstance(value, bytes):
        way_out = "; make a string of it, as with key.decode()"
    return TypeError(f"{name} must be {expected}, got {checks.shown(value)}{way_out}")


def key_list(name, keys):
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise TypeError(f"{name} must be a list of strings, got {files.shortened(keys)}")
    keys = keys.tolist() if isinstance(keys, np.ndarray) else list(keys)
    for i, key in enumerate(keys):
        if not isinstance(key, str):
            raise TypeError(
                f"{name}[{i}] must be a string, got {key!r} of type {type(key).__name__}"
            )
    return keys


def _places(keys):
    """The place of each key, of which none may come twice."""
    places = {key: i for i, key in enumerate(keys)}
    if len(places) < len(keys):
        key = next(key for i, key in enumerate(keys) if places[key] != i)
        raise ValueError(f"keys must differ from each other, got {key!r} twice")
    return places


def as_floats(name, value, dtype):
    """Numbers of any kind as floats, which the dtype must be able to hold."""
    array = checks.numbers(name, value)
    return checks.floats(name, array if array.dtype.kind == "f" else array.astype(dtype), dtype)


def _matrix(name, value):
    """Vectors (N, D) as they are if they are float32 or float64."""
    array = checks.numbers(name, value)
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name} must have shape (N, D), got {array.shape}")
    most = 4 if array.dtype.kind == "f" else 2  # bytes of which float32 holds every number
    dtype = np.float32 if array.dtype.itemsize <= most else np.float64
    return array.astype(dtype, copy=False)


def norms_of(vectors):
    """Norms of rows, summed in float64, in the vectors' dtype; infinite where that is too small."""
    norms = np.empty(len(vectors))
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(0, len(vectors), AT_ONCE):
            norms[i : i + AT_ONCE] = _norms_at_once(vectors[i : i + AT_ONCE])
        return norms.astype(vectors.dtype)


def _norms_at_once(vectors):
    norms = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    extreme = np.flatnonzero(~((norms > 1e-140) & (norms < np.inf)))  # squares may leave float64
    if extreme.size:
        rows, exponents = scaled(vectors[extreme])
        squares = np.square(rows, dtype=np.float64).sum(axis=1)
        norms[extreme] = np.ldexp(np.sqrt(squares), exponents)
    return norms


# --- further attributes -------------------------------------------------------------------------


def _check_attribute(name, attribute):
    if not isinstance(attribute, str):
        raise TypeError(f"{name} must be the name of an attribute, got {attribute!r}")


def _attribute(name, values, count):
    """An attribute's values (n,), one for each of some keys."""
    _check_attribute("a key of extras", name)
    try:
        values = np.asarray(values)
    except ValueError:
        raise ValueError(
            f"extras[{name!r}] must have shape (number of keys,), got lists of unequal lengths; "
            "make an array of objects first"
        ) from None
    checks.shape(f"extras[{name!r}]", values, (count,), "(number of keys,)")
    return values


def _as_value(value):
    """A value as an array without axes: numbers and strings of their dtype, all else objects."""
    if np.isscalar(value) or (isinstance(value, np.ndarray) and not value.ndim):
        return np.asarray(value)
    array = np.empty((), object)
    array[()] = value
    return array


def _blank(count, dtype):
    return np.full(count, None, object) if dtype.kind == "O" else np.zeros(count, dtype)


def extended(array, count):
    """A copy with ``count`` rows, of which the new ones are blank."""
    shape = (count - len(array), *array.shape[1:])
    return np.concatenate([array, _blank(shape, array.dtype)])


def _common_dtype(held, came):
    """What can hold numbers of both dtypes, or objects; None if they are of other kinds."""
    if held.kind == "O":
        return held
    are_numbers = held.kind in "biuf" and came.kind in "biuf"
    return np.result_type(held, came) if are_numbers or held.kind == came.kind else None


def _keeps(dtype, array):
    """Whether no integer is rounded where the array becomes one of the dtype."""
    if array.dtype.kind not in "iu" or dtype.kind != "f" or not array.size:
        return True
    largest = 2 ** (np.finfo(dtype).nmant + 1)
    return -largest <= int(array.min()) and int(array.max()) <= largest
