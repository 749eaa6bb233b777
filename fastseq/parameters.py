"""Parameters: one flat buffer of values, one of gradients, and named views into both.

Optimisers, clipping, saving and all-reduce are then single passes over one array.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Mapping
from typing import Any

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
        self._flat = flat
        self._views = {}
        begin = 0
        for name, shape in shapes.items():
            end = begin + math.prod(shape)
            self._views[name] = flat[begin:end].reshape(shape)
            begin = end

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
        return {"shapes": {name: view.shape for name, view in self.items()}, "flat": self.flat}

    def __setstate__(self, state):
        NamedViews.__init__(self, **state)

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
        super().__init__(shapes, np.zeros(size, dtype))
        self._grads = NamedViews(shapes, np.zeros(size, dtype))
        self._add_lock()

    def _add_lock(self):
        self.grads_lock = threading.Lock()  # for whoever adds to the gradients
        _locked.add(self)

    @property
    def grads(self) -> NamedViews:
        """The gradients by name."""
        return self._grads

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

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all values, by name."""
        return {name: view.copy() for name, view in self.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy all values from a mapping, or none of them if anything in it is wrong.

        Parameters
        ----------
        state_dict : mapping
            Exactly these names; arrays, or what ``np.asarray`` turns into arrays, such as
            PyTorch's tensors.

        Raises
        ------
        TypeError
            If it is no mapping, or a value doesn't hold floating-point numbers.
        ValueError
            If names are missing or unexpected, or a shape is wrong.
        """
        checks.state_dict(state_dict, self)
        arrays = {name: self._check(name, state_dict[name]) for name in self}
        for name, array in arrays.items():
            if np.may_share_memory(array, self.flat):  # our own views, perhaps under other names
                arrays[name] = array.copy()
        for name, array in arrays.items():
            np.copyto(self[name], array)

    def __getstate__(self):
        return {"values": super().__getstate__(), "grads": self.grads}

    def __setstate__(self, state):
        super().__setstate__(state["values"])
        self._grads = state["grads"]
        self._add_lock()


_locked = weakref.WeakSet()


def _renew_locks():
    """In the child of a fork: the thread that held a lock may not exist there."""
    for parameters in list(_locked):
        parameters.grads_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
