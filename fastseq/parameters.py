"""Parameters: one flat buffer of values, one of gradients, and named views into both.

Optimisers, clipping, saving and all-reduce are then single passes over one array.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks


class NamedViews(Mapping):
    """Arrays by name that lie one after the other in one flat buffer.

    Reading gives a view; assigning copies into it, so names never come loose from the buffer.

    Parameters
    ----------
    shapes : dict
        Name to shape, in the buffer's order.
    flat : ndarray, (size,)
    """

    def __init__(self, shapes, flat):
        self._settle(shapes, flat)

    def _settle(self, shapes, flat):
        """Be the views of this buffer from now on."""
        self._flat = flat
        self._views = {}
        begin = 0
        for name, shape in shapes.items():
            end = begin + math.prod(shape)
            self._views[name] = flat[begin:end].reshape(shape)
            begin = end

    if not TYPE_CHECKING:  # where a __setattr__ would mean that any name is right

        def __setattr__(self, name, value):
            if name[:1] != "_" and not hasattr(type(self), name):
                raise AttributeError(
                    f"{name} is no attribute that can be assigned: copy into a parameter by its "
                    "name, as in parameters[name] = ..."
                )
            super().__setattr__(name, value)

    @property
    def views(self) -> dict[str, np.ndarray]:
        """The views by name; a dict that is not to be changed."""
        return self._views

    @property
    def flat(self) -> np.ndarray:
        """The whole buffer."""
        return self._flat

    @flat.setter
    def flat(self, value):
        # ``views.flat *= 2`` ends with an assignment too: of the array it began with
        if value is not self._flat:
            raise AttributeError("the flat array can't be replaced; copy into it: flat[:] = ...")

    def __getitem__(self, name):
        try:
            return self._views[name]
        except KeyError:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(self)}") from None

    def __setitem__(self, name, value):
        np.copyto(self[name], self._check(name, value))

    def __contains__(self, name):
        return name in self._views  # Mapping's own would make the message of a KeyError

    def __iter__(self):
        return iter(self._views)

    def __len__(self):
        return len(self._views)

    # Mapping compares its items, which arrays can't do; two of these are equal if identical.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self):
        lines = (f"  {name}: {view.shape}" for name, view in self.items())
        return "\n".join([f"{type(self).__name__} of {self.flat.dtype}", *lines])

    # Copies and pickles must keep the views tied to their buffer.

    def __getstate__(self):
        return {"shapes": self._shapes(), "flat": self.flat}

    def __setstate__(self, state):
        self._settle(**state)

    def _shapes(self):
        return {name: view.shape for name, view in self.items()}

    def _check(self, name, value):
        """The value as an array that can be copied into the view of this name."""
        expected = self[name].shape
        array = checks.floats(name, value, self.flat.dtype)
        checks.shape(name, array, expected, "of the parameter")
        return array


class Parameters(NamedViews):
    """The parameters of a layer: a mapping from PyTorch's names to views of one flat array.

    ``parameters[name]`` is a view and ``parameters[name] = array`` copies into it, after a
    check of shape and dtype.  It is made by a layer, not by hand.

    Parameters
    ----------
    shapes : dict
        Name to shape, in the buffer's order.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    flat : ndarray, (size,)
        All values, one after the other.
    flat_grad : ndarray, (size,)
        All gradients, in the same order.  Backward passes add to them.
    grads : mapping
        The gradients by name: views of ``flat_grad``.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> parameters = fs.RNN(2, 3, seed=0).parameters
    >>> list(parameters)
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    >>> parameters["bias_hh_l0"] = np.zeros(3)
    >>> parameters.flat.shape, parameters.flat[-3:].tolist()
    ((21,), [0.0, 0.0, 0.0])
    >>> parameters.flat -= 0.1 * parameters.flat_grad  # a step of gradient descent
    """

    def __init__(self, shapes, dtype):
        size = sum(map(math.prod, shapes.values()))
        try:
            values, grads = np.zeros(size, dtype), np.zeros(size, dtype)
        except (MemoryError, ValueError):  # the latter where NumPy can't even count them
            name = max(shapes, key=lambda name: math.prod(shapes[name]))
            raise MemoryError(
                f"there is no memory for {size:,} parameters and their gradients, "
                f"{2 * size * np.dtype(dtype).itemsize / 2**30:,.1f} GiB; "
                f"the largest is {name} with shape {shapes[name]}: take smaller sizes"
            ) from None
        super().__init__(shapes, values)
        self._grads = NamedViews(shapes, grads)
        self._stand_alone()

    def _stand_alone(self):
        self._lock = _BufferLock()
        self._parts = {}
        self._whole = _nothing  # a weak reference to the joint parameters that these belong to
        self._borrowed = []  # from other modules: parameters that the module of these works with
        self._is_frozen = False
        self._users = weakref.WeakValueDictionary()  # by id: a module, and shallow copies of it

    @property
    def grads_lock(self) -> threading.Lock:
        """For whoever adds to the gradients: one lock for all that share a buffer."""
        return self._lock.lock

    @property
    def grads(self) -> NamedViews:
        """The gradients by name."""
        return self._grads

    @grads.setter
    def grads(self, value):
        raise AttributeError("grads can't be replaced; copy into it: grads[name] = ...")

    @property
    def flat_grad(self) -> np.ndarray:
        """All gradients."""
        return self.grads.flat

    @flat_grad.setter
    def flat_grad(self, value):
        self.grads.flat = value

    def zero_grad(self) -> None:
        """Set all gradients to 0."""
        self.grads.flat.fill(0)

    def state_dict(self, *, tied: bool = False) -> dict[str, np.ndarray]:
        """Copies of all values, by name.

        Parameters
        ----------
        tied : bool
            Whether what is tied to another parameter occurs as well, as in PyTorch: the table of
            an embedding also as the ``weight`` of the linear layer that works with it.
        """
        values = {name: view.copy() for name, view in self.items()}
        names = self._tied_names() if checks.flag("tied", tied) else {}
        return values | {name: values[lender].copy() for name, lender in names.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy all values from a mapping, or none of them if anything in it is wrong.

        Parameters
        ----------
        state_dict : mapping
            Exactly these names; arrays, or what ``np.asarray`` turns into arrays, such as
            PyTorch's tensors.  What is tied may occur as well, see :meth:`state_dict`.

        Raises
        ------
        TypeError
            If it is no mapping, or a value doesn't hold floating-point numbers.
        ValueError
            If names are missing or unexpected, a shape is wrong, or what is tied differs.
        """
        tied = self._tied_names()
        checks.state_dict(state_dict, self, lambda _: _way_out(self, state_dict), optional=tied)
        arrays = {name: self._check(name, state_dict[name]) for name in self}
        for name, lender in tied.items():
            if name in state_dict:
                self._check_tied(name, state_dict[name], lender, arrays[lender])
        for name, array in arrays.items():
            if np.may_share_memory(array, self.flat):  # our own views, perhaps under other names
                arrays[name] = array.copy()
        for name, array in arrays.items():
            np.copyto(self[name], array)

    def __call__(self):
        raise TypeError(
            "parameters is no method here, but a mapping: give it without parentheses, as in "
            "fs.Adam(model.parameters), and go over parameters.items()"
        )

    def _used_by(self, module):
        """Note a module that looks up where these lie; all that do: shallow copies of one."""
        self._users[id(module)] = module
        return list(self._users.values())

    def __copy__(self):
        raise TypeError(
            "a shallow copy of Parameters would share their arrays, but neither lock nor place in "
            "a model: use the object itself, copy.deepcopy of the layer or model, or state_dict()"
        )

    # --- frozen parameters ------------------------------------------------------------------

    def freeze(self) -> None:
        """Let no optimiser that is made from now on change these.

        For a layer that is made so and adds to no gradients: those would count in norms.
        """
        self._is_frozen = True

    @property
    def frozen(self) -> frozenset[str]:
        """The names of the parameters that stay as they are."""
        frozen = [(path, part) for path, part in self._tree() if part._is_frozen]
        return frozenset(_joined(path, name) for path, part in frozen for name in part)

    # --- parameters of others ---------------------------------------------------------------

    def borrow(self, other: Parameters, names: Mapping[str, str] | None = None) -> None:
        """Note that the module of these works with another's too, and adds to their gradients.

        ``names`` are what PyTorch calls them here, and what they are called there.
        """
        self._borrowed.append((other, dict(names or {})))

    def _tied_names(self):
        """PyTorch's second names of parameters that are borrowed within these: to the first."""
        paths = {id(part): path for path, part in self._tree()}
        return {
            _joined(path, name): _joined(paths[id(other)], lender)
            for path, part in self._tree()
            for other, names in part._borrowed
            if id(other) in paths
            for name, lender in names.items()
        }

    def _check_tied(self, name, value, lender, expected):
        """Raise unless what is tied has the values of the parameter that it is tied to."""
        array = checks.floats(name, value, self.flat.dtype)
        checks.shape(name, array, expected.shape, f"of {lender}")
        if not np.array_equal(array, expected, equal_nan=True):
            raise ValueError(
                f"{name} is tied to {lender} and must have the same values, got others: make the "
                "layer without tied=..., or leave the name out"
            )

    def check_borrowed(self) -> None:
        """Raise ValueError if a part works with parameters that lie outside of the model."""
        for name, part in self._tree():
            if any(other._root() is not self._root() for other, _ in part._borrowed):
                raise ValueError(
                    f"{name or 'the module'} uses the parameters of a module that is no part of "
                    "the model, so that they would get gradients but never change: make that one "
                    "a part too, as in fs.Module(embedding=embedding, "
                    "linear=fs.Linear(..., tied=embedding))"
                )

    def _tree(self, path=""):
        """These, and those of the parts within, with their paths."""
        yield path, self
        for name, part in self._parts.items():
            yield from part._tree(_joined(path, name))

    def _root(self):
        """The joint parameters of the outermost model."""
        whole = self._whole()
        return self if whole is None else whole._root()

    # --- joint parameters -------------------------------------------------------------------

    @classmethod
    def join(cls, parts: Mapping[str, Parameters]) -> Parameters:
        """The parameters of several modules in one pair of buffers, one part after the other.

        The parts stay what they are, but their arrays are slices of the joint ones from then
        on; arrays that were taken from them before come loose.

        Parameters
        ----------
        parts : mapping
            Name to Parameters.  The joint names are ``"<part>.<name>"``.  What occurs twice is
            joined once, under its first name.

        Raises
        ------
        ValueError
            If a part belongs to other joint parameters already, or dtypes differ.
        """
        whole = cls.__new__(cls)
        whole._join(parts)
        return whole

    def _join(self, parts):
        names = {}  # of what occurs twice, the first
        for name, part in parts.items():
            names.setdefault(id(part), name)
        parts = {name: parts[name] for name in names.values()}
        for name, part in parts.items():
            if part._whole() is not None:
                raise ValueError(
                    f"{name} is part of another module already, and parameters lie in one place: "
                    "make it a part of one module alone, which others may use, or take a copy of "
                    "it, as with copy.deepcopy"
                )
        Parameters.__init__(self, _joint_shapes(parts), _common_dtype(parts))
        self._adopt(parts)

    def _adopt(self, parts):
        """Take over the parts' values and gradients."""
        self._parts = parts
        for part, *buffers in self._slices():
            for new, old in zip(buffers, (part.flat, part.flat_grad), strict=True):
                np.copyto(new, old)
            part._whole = weakref.ref(self)
        self._settle_parts()

    def _settle_parts(self):
        """Let the parts, and theirs, look into their slices."""
        for part, flat, flat_grad in self._slices():
            part._settle(part._shapes(), flat)
            part.grads._settle(part._shapes(), flat_grad)
            part._lock = self._lock
            part._settle_parts()

    def _slices(self):
        """Each part with its own slices of the two buffers."""
        begin = 0
        for part in self._parts.values():
            end = begin + part.flat.size
            yield part, self.flat[begin:end], self.flat_grad[begin:end]
            begin = end

    # Joint parameters are saved as their parts: copies are tied again, and hold no value twice.

    def __getstate__(self):
        if self._parts:
            return {"parts": self._parts}
        state = {"values": super().__getstate__(), "grads": self.grads}
        return state | {"borrowed": self._borrowed, "is_frozen": self._is_frozen}

    def __setstate__(self, state):
        if "parts" in state:
            self._join(state["parts"])
            return
        super().__setstate__(state["values"])
        self._grads = state["grads"]
        self._stand_alone()
        self._borrowed = state["borrowed"]
        self._is_frozen = state["is_frozen"]


def check_parameters(value):
    """The value, if it is a layer's or model's parameters."""
    if not isinstance(value, Parameters):
        raise TypeError(
            "parameters must be a Parameters object, as a layer's or model's .parameters is, "
            f"got {type(value).__name__}"
        )
    return value


def _way_out(names, state_dict):
    from fastseq.state_dicts import way_out  # seldom needed: importing fastseq stays cheap

    return way_out(names, state_dict)


def _joined(path, name):
    return f"{path}.{name}" if path else name


def _nothing():
    return None


def _joint_shapes(parts):
    shapes = {}
    for prefix, part in parts.items():
        for name, view in part.items():
            joint = f"{prefix}.{name}"
            if joint in shapes:
                raise ValueError(f"two parameters would be called {joint}: rename a part")
            shapes[joint] = view.shape
    return shapes


def _common_dtype(parts):
    """The dtype of all parts that have any parameters."""
    dtypes = {name: part.flat.dtype for name, part in parts.items() if part}
    if len(set(dtypes.values())) > 1:
        described = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise ValueError(f"joint parameters must have one dtype, got {described}")
    return checks.float_dtype(next(iter(dtypes.values()), np.float32))


class _BufferLock:
    """The lock of one gradient buffer, in a box that all who use it share."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self):
        self.lock = threading.Lock()
        _locks.add(self)


_locks = weakref.WeakSet()


def _renew_locks():
    """In the child of a fork: the thread that held a lock may not exist there."""
    for box in list(_locks):
        box.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
