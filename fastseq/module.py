"""Modules: what has parameters, be it a layer or a model made of layers.

A model is a module whose children are layers or models.  Their parameters lie one after the
other in the model's two buffers, so that whatever trains, clips, saves or exchanges a model
goes over one array, while each child goes on working with its own names.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq.parameters import Parameters


def fixed(name):
    """A property for what only the constructor sets, as ``_name``."""

    def refuse(self, value):
        raise AttributeError(f"{name} can't be changed: make a new {type(self).__name__} instead")

    return property(operator.attrgetter("_" + name), refuse)


class Explained:
    """A class whose constructor says of arguments that it doesn't have which ones it has."""

    _not_here: Mapping[str, str] = {"device": "all arrays are NumPy's, in memory"}  # PyTorch's

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = checks.explained(cls.__name__, **cls._not_here)(cls.__init__)


class Settled(Explained):
    """A class whose public attributes are all known: no other name can be assigned.

    Otherwise ``adam.learning_rate = 0.1`` would do nothing, and say nothing.  Classes that users
    derive from it may have whatever attributes they like.
    """

    _is_ours = True

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls._is_ours = cls.__module__.partition(".")[0] == __name__.partition(".")[0]

    if not TYPE_CHECKING:  # where a __setattr__ would mean that any name is right

        def __setattr__(self, name, value):
            if name[:1] != "_" and self._is_ours and name not in self.__dict__:
                _check_known(self, name)
            super().__setattr__(name, value)


def _check_known(owner, name):
    """Raise unless the class has a public attribute of this name."""
    if hasattr(type(owner), name):
        return
    import difflib  # of no other use: importing fastseq stays cheap

    known = [other for other in dir(owner) if other[:1] != "_"]
    known = [other for other in known if not callable(getattr(type(owner), other, None))]
    nearest = difflib.get_close_matches(name.lower(), known, 1)
    kind, hint = type(owner).__name__, f"; the nearest name is {nearest[0]!r}" if nearest else ""
    raise AttributeError(
        f"{kind} has no attribute {name!r} that can be assigned: its options are arguments of "
        f"{kind}(...), make a new one{hint}"
    )


class Elsewhere:
    """In the place of what PyTorch's modules have: an error that says how the same is done here."""

    def __init__(self, way_out):
        self._way_out = way_out

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, module, owner=None):
        if module is None:
            return self
        raise AttributeError(f"there is no {self._name} here: {self._way_out}")

    def __set__(self, module, value):
        self.__get__(module)


_MODES = "calling a layer is inference, and its forward(...) is training, with dropout"
_NO_AUTOGRAD = (
    "backward passes are called by hand; an optimiser of a part alone, as in "
    "fs.Adam(model.linear.parameters), leaves the others as they are, and so does "
    "Embedding.from_pretrained(table, freeze=True) with its table"
)

_ON_CPUS = "all arrays are NumPy's, in memory, and a dtype is chosen when a module is made"

_OURS = ("_parameters", "_rng", "_dtype")  # attributes of instances that have a meaning here


class Module:
    """A layer, or several modules with joint parameters.

    A layer has its parameters as attributes as well, by PyTorch's names: ``lstm.weight_hh_l0`` is
    ``lstm.parameters["weight_hh_l0"]``, a view to be copied into, ``lstm.weight_hh_l0[...] = 0``.

    To make a model, derive from this class and give its parts, by name, to
    ``super().__init__``: they become attributes, their parameters become slices of the model's
    buffers, and their names get a prefix as in PyTorch.  Arrays that were taken from a part
    before, as ``w = layer.weight``, come loose then: changing ``w`` changes nothing any more, so
    take them anew.  An optimiser that was made for a part before goes on, but
    steps that part's slice alone: make the model's own from ``model.parameters``.  A part belongs
    to one module; the same part under two names has its parameters once, under the first.
    ``copy.deepcopy(layer)`` has parameters of its own; ``copy.copy(layer)`` shares them, also when
    either becomes a part later.

    A model that is to be trained has a method ``loss_and_grad(batch) -> float``, which adds the
    loss's gradients to ``parameters.grads``; whatever trains models knows them by this method
    and by ``parameters``, and where something is carried from batch to batch by
    :meth:`training_state`.

    Parameters
    ----------
    **children : Module
        The parts by name, all of one dtype.

    Raises
    ------
    TypeError
        If a child is no module.
    ValueError
        If there are no children, a name is taken, dtypes differ, or a child is part of another
        module already.
    AttributeError
        Here or later, if an attribute is to hold a module that has parameters or a random
        generator and is none of the parts: it would be neither trained nor saved.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> class TwoWays(fs.Module):
    ...     def __init__(self, size, *, seed=None):
    ...         seeds = self.named_seeds(seed, "ahead", "back")
    ...         ahead, back = fs.GRU(size, 4, seed=seeds.ahead), fs.GRU(size, 4, seed=seeds.back)
    ...         super().__init__(ahead=ahead, back=back)
    ...
    ...     def __call__(self, x):
    ...         return self.ahead(x)[0] + self.back(x[::-1])[0][::-1]
    >>> model = TwoWays(3, seed=0)
    >>> list(model.parameters)[:2], len(model.parameters)
    (['ahead.weight_ih_l0', 'ahead.weight_hh_l0'], 8)
    >>> model.parameters.flat[:] = 1
    >>> float(model.back.parameters["bias_hh_l0"].sum())
    12.0
    """

    training, train, eval = Elsewhere(_MODES), Elsewhere(_MODES), Elsewhere(_MODES)
    requires_grad = Elsewhere(_NO_AUTOGRAD)
    to, cpu, cuda = Elsewhere(_ON_CPUS), Elsewhere(_ON_CPUS), Elsewhere(_ON_CPUS)
    zero_grad = Elsewhere("gradients are those of the parameters, use parameters.zero_grad()")

    if TYPE_CHECKING:  # a model's parts and a layer's parameters, which are found by name

        def __getattr__(self, name: str) -> Any: ...

    _children: Mapping[str, Module] = {}
    _bound: tuple[str, ...] = ()  # names of attributes that _bind makes, and copies make again

    def __init__(self, **children: Module) -> None:
        if not children:
            raise ValueError(
                f"{type(self).__name__} must have children: give modules by name, as in "
                "super().__init__(lstm=fs.LSTM(8, 16), linear=...)"
            )
        for name, child in children.items():
            if not isinstance(child, Module):
                raise TypeError(
                    f"{name} must be a Module, which layers and models are, "
                    f"got {type(child).__name__}"
                )
            if not name:
                raise ValueError("a child must have a name, got ''")
            if hasattr(type(self), name) or name in _OURS:
                raise ValueError(
                    f"a child can't be called {name!r}: {type(self).__name__} has an attribute of "
                    "that name"
                )
        parts = {name: child.parameters for name, child in children.items()}
        self.__dict__["_parameters"] = Parameters.join(parts)
        held = self.__dict__.copy()
        self.__dict__.update(children)
        self.__dict__["_children"] = children
        for name, value in held.items():
            self._check_held(name, value)
        self._rebind()

    def __setattr__(self, name, value):
        if name in self._children:
            raise AttributeError(
                f"{name} can't be replaced, since its parameters lie among those of the whole: "
                f"copy values into it, or make a new {type(self).__name__}"
            )
        held = self.__dict__
        if "_parameters" in held:  # before that there are no parts to compare with
            if name in held and name in self._parameters:
                return self._check_replaced(name, value)
            self._check_held(name, value)
        super().__setattr__(name, value)
        if name == "_parameters":
            self._name_views()

    def __delattr__(self, name):
        if name in self._children or name in self.__dict__.get("_parameters", ()):
            raise AttributeError(
                f"{name} can't be deleted, since its parameters lie among those of the whole: make "
                f"a new {type(self).__name__} without it"
            )
        super().__delattr__(name)

    def _check_replaced(self, name, value):
        """Raise unless ``layer.weight *= 2`` assigns the very array that it has changed."""
        if value is not getattr(self, name):
            raise AttributeError(
                f"{name} can't be replaced, since it is a slice of the one array that holds all "
                f"parameters: copy into it, as in layer.{name}[...] = ..."
            )

    def _check_held(self, name, value):
        """Raise if an attribute holds modules whose parameters would stay out of the whole."""
        for module in _modules_in(value):
            is_empty = not module.parameters and not dict(module._generators())
            if not is_empty and not any(module is part for part in self._tree()):
                raise AttributeError(
                    f"{name} holds a {type(module).__name__} that is no part of this "
                    f"{type(self).__name__}, so that it would be neither trained nor saved with "
                    "it: give it to super().__init__(name=...) of a class derived from Module, "
                    "or pass it to the method that uses it"
                )

    def _tree(self) -> Iterator[Module]:
        """This module and all those within."""
        yield self
        for child in self._children.values():
            yield from child._tree()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """For inference; each kind of layer and each model defines it.

        Raises
        ------
        TypeError
            If it doesn't.
        """
        try:
            call = super().__call__  # of a class beside this one
        except AttributeError:
            raise TypeError(
                f"{type(self).__name__} has no __call__: a model defines it for inference, and "
                "loss_and_grad(batch) for training"
            ) from None
        return call(*args, **kwargs)

    def __repr__(self):
        if not self._children:
            return f"{type(self).__name__}()"
        lines = [
            f"  {name}={child!r},".replace("\n", "\n  ") for name, child in self._children.items()
        ]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])

    @property
    def children(self) -> dict[str, Module]:
        """The parts by name; a layer has none."""
        return dict(self._children)

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64: of parameters, outputs and all arithmetic."""
        return checks.float_dtype(self.parameters.flat.dtype)

    # --- parameters -------------------------------------------------------------------------

    @property
    def parameters(self) -> Parameters:
        """The parameters and their gradients by PyTorch's names: :class:`Parameters`."""
        try:
            return self._parameters
        except AttributeError:
            raise AttributeError(
                f"{type(self).__name__} has no parameters yet: its __init__ must give the parts "
                "to super().__init__, as in super().__init__(lstm=fs.LSTM(8, 16), linear=...)"
            ) from None

    @parameters.setter
    def parameters(self, value):
        raise AttributeError("parameters can't be replaced; copy into them: load_state_dict(...)")

    def state_dict(self, *, tied: bool = False) -> dict[str, np.ndarray]:
        """Copies of all parameters: a dict from PyTorch's names to arrays.

        Parameters
        ----------
        tied : bool
            Whether a table that a linear layer is tied to occurs under that layer's name as well,
            as PyTorch expects it.
        """
        return self.parameters.state_dict(tied=tied)

    @checks.explained(strict="for some names alone give model.state_dict() | those of them")
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy parameters from a mapping: a :meth:`state_dict`, or PyTorch's.

        Everything is checked before anything is copied; see ``Parameters.load_state_dict``.
        """
        self.parameters.load_state_dict(state_dict)

    def _bind(self):
        """Collect what a pass would otherwise have to look up at every call.

        Called whenever the parameters come to lie elsewhere.
        """

    def _name_views(self):
        """Let a layer have its parameters as attributes, too."""
        self._parameters._used_by(self)
        self.__dict__.update(self._parameters.views)

    def _rebind(self):
        for child in self._children.values():
            child._rebind()
        for module in self._parameters._used_by(self):  # copy.copy's of it, too
            if not module._children:
                module._name_views()
            module._bind()

    def __getstate__(self):
        left_out = {*self._bound, *self.__dict__.get("_parameters", ())}
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state):
        self.__dict__.update(state)
        if "_dtype" in state:
            # NumPy's own dtype objects are singletons, on which checks rely; unpickled ones aren't.
            self._dtype = checks.float_dtype(state["_dtype"])
        self._rebind()

    # --- memory and randomness --------------------------------------------------------------

    @staticmethod
    def split_seed(seed: checks.Seed, count: int) -> list[np.random.Generator]:
        """Independent seeds from one, for the parts of a model.

        Parts that were given the same number would start with the same random numbers.

        Parameters
        ----------
        seed : int, Generator or None
        count : int
            How many.

        Returns
        -------
        seeds : list of Generator
            Each can be the ``seed`` of a module.

        Raises
        ------
        TypeError, ValueError
            If there can't be such a seed, or count is no positive integer.

        Examples
        --------
        >>> import fastseq as fs
        >>> first, second = fs.Module.split_seed(7, 2)
        >>> model = fs.Module(ahead=fs.GRU(2, 3, seed=first), back=fs.GRU(2, 3, seed=second))
        """
        rng, count = checks.generator(seed), checks.positive_int("count", count)
        try:
            return rng.spawn(count)
        except TypeError as error:  # of a bit generator that was made without a SeedSequence
            raise TypeError(f"seed must be able to spawn others, got {seed!r}: {error}") from error

    @staticmethod
    def named_seeds(seed: checks.Seed, *names: str) -> SimpleNamespace:
        """The same as :meth:`split_seed`, where parts are many: a seed for each of these names.

        Examples
        --------
        >>> import fastseq as fs
        >>> seeds = fs.Module.named_seeds(7, "ahead", "back")
        >>> ahead, back = fs.GRU(2, 3, seed=seeds.ahead), fs.GRU(2, 3, seed=seeds.back)
        """
        seeds = Module.split_seed(seed, len(names))
        return SimpleNamespace(**dict(zip(names, seeds, strict=True)))

    def release(self) -> None:
        """Let go of the memory that is kept from call to call."""
        for child in self._children.values():
            child.release()

    @property
    def random_state(self) -> dict[str, dict[str, Any]]:
        """The states of all random generators within, for checkpoints; can be assigned.

        A dict from the module's path, such as ``"encoder.dropout"``, or ``""`` for the module
        itself, to what NumPy calls the state of a bit generator: for the usual one plain
        numbers and strings.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> rnn, x = fs.RNN(2, 3, num_layers=2, dropout=0.5, seed=0), np.ones((4, 1, 2))
        >>> state = rnn.random_state
        >>> first = rnn.forward(x)[0]
        >>> rnn.random_state = state
        >>> bool((rnn.forward(x)[0] == first).all())
        True
        """
        return {path: rng.bit_generator.state for path, rng in self._generators()}

    @random_state.setter
    def random_state(self, value: Mapping[str, Mapping[str, Any]]) -> None:
        generators = dict(self._generators())
        if not isinstance(value, Mapping) or value.keys() != generators.keys():
            got = list(value) if isinstance(value, Mapping) else type(value).__name__
            raise ValueError(
                f"random_state must have a state for each of {list(generators)}, got {got}"
            )
        for path, rng in generators.items():
            try:
                type(rng.bit_generator)().state = value[path]  # a trial, before any is changed
            except (TypeError, ValueError, KeyError) as error:
                raise ValueError(
                    f"random_state[{path!r}] is no state of a {type(rng.bit_generator).__name__}"
                ) from error
        for path, rng in generators.items():
            rng.bit_generator.state = value[path]

    def training_state(self) -> dict[str, Any]:
        """What is carried from batch to batch beside parameters and random numbers: nothing.

        A model that carries something, such as the state in which a text goes on, has a method
        of this name in place of this one, and :meth:`load_training_state`.  Checkpoints keep it,
        and a validation puts it back.

        Returns
        -------
        state : dict
            Of arrays, numbers and texts, perhaps within dicts, lists and tuples.
        """
        return {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`training_state` gave."""
        if state:
            raise NotImplementedError(
                f"{type(self).__name__} has a training_state, so it must have the method "
                f"load_training_state(state), too, which takes up {list(state)} again"
            )

    def _generators(self, path="") -> Iterator[tuple[str, np.random.Generator]]:
        """The random generators of this module and those within, with their paths."""
        if "_rng" in self.__dict__:
            yield path, self._rng
        for name, child in self._children.items():
            yield from child._generators(f"{path}.{name}" if path else name)


def _modules_in(value):
    """The modules that an attribute holds: itself, within a loss, or in a list, tuple or dict."""
    if isinstance(value, Module):
        yield value
    elif hasattr(value, "_modules_in_use"):
        yield from value._modules_in_use()
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, Module):
                yield item


class Backprop:
    """The backward pass of one forward call.

    It can run once, since it turns the saved activations into gradients in place; then it lets
    go of all arrays.
    """

    __slots__ = ("_owner", "_shape", "_tape")

    def __init__(self, owner, tape, shape):
        self._owner = owner
        self._tape = [tape]  # taken out by the one call that runs: list.pop is atomic
        self._shape = shape  # of the output, or its leading axes

    def _read_tape(self):
        """The tape, still in place."""
        try:
            return self._tape[0]
        except IndexError:
            raise self._has_run() from None

    def _use_up(self):
        try:
            self._tape.pop()
        except IndexError:
            raise self._has_run() from None

    def _has_run(self):
        return RuntimeError(
            "this backprop has already run, and has overwritten the activations that forward "
            "saved: call forward again for another backward pass"
        )

    def __reduce_ex__(self, protocol):
        raise TypeError(
            f"a {type(self).__name__} can't be copied or pickled: it belongs to one forward pass "
            "of its layer and works in that pass's own arrays; copy the layer, and call forward "
            "again"
        )
