"""Optimisers: one pass over the flat values, gradients and state for each update.

An optimiser belongs to one ``Parameters`` object and changes its values in place.  Names of
arguments, defaults and equations are PyTorch's.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.module import Settled, fixed
from fastseq.parameters import NamedViews, Parameters, check_parameters
from fastseq.training.clipping import clipping_factor, finite_norm


class Optimizer(Settled):
    """Common to all: the learning rate, clipping, runs of equal weight decay, and the state.

    Parameters that are frozen lie in no run, and stay as they are.

    A subclass says in ``option_names`` which attributes belong to it, and in ``_update`` how a run
    of the flat arrays changes.
    """

    option_names: tuple[str, ...] = ()

    parameters = fixed("parameters")
    weight_decay = fixed("weight_decay")
    no_decay = fixed("no_decay")
    steps = fixed("steps")
    initial_lr = fixed("initial_lr")

    def __init__(self, parameters, lr, weight_decay, no_decay, state):
        self._parameters = check_parameters(parameters)
        parameters.check_borrowed()
        self.lr = lr
        self._weight_decay = checks.not_negative("weight_decay", weight_decay)
        self._no_decay = _patterns(no_decay, list(parameters))
        self._runs = _runs(parameters, self._weight_decay, self._no_decay)
        self._steps = 0
        self._state = {name: like(parameters, parameters.flat.dtype) for name in state}

    def __repr__(self):
        names = ["lr", *self.option_names, "weight_decay"]
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({options})"

    @property
    def lr(self) -> float:
        """The learning rate; can be assigned.  Schedules start from what was last assigned."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = self._initial_lr = checks.not_negative("lr", value)

    def schedule_lr(self, value: float) -> None:
        """Set the learning rate as a schedule does: ``initial_lr`` stays."""
        self._lr = checks.not_negative("lr", value)

    def zero_grad(self) -> None:
        """Set all gradients to 0."""
        self.parameters.zero_grad()

    def step(self, *, scale: float = 1.0, max_norm: float | None = None) -> float | None:
        """Update all values from the gradients, which stay as they are.

        Parameters
        ----------
        scale : float
            Multiplies the gradients first, as 1 / n does after n backward passes.
        max_norm : float, optional
            The gradients, joined and scaled, are taken as if their norm were at most this; see
            ``clip_grad_norm``, which it equals without a pass of writing.  With ``np.inf``
            nothing is clipped.

        Returns
        -------
        norm : float or None
            The norm before clipping, or None without ``max_norm``.

        Raises
        ------
        TypeError, ValueError
            If an argument is no such number.
        FloatingPointError
            If ``max_norm`` is given and the norm is not finite.  Nothing has changed then.
        """
        scale, norm = checks.finite("scale", scale), None
        if max_norm is not None:
            max_norm = checks.positive("max_norm", max_norm)
        with self._parameters.grads_lock:
            if max_norm is not None:
                norm = abs(scale) * finite_norm(self._parameters)
                scale *= clipping_factor(norm, max_norm)
            self.__dict__["_steps"] += 1  # past __setattr__, for which each step would pay
            self._update_all(scale)
        return norm

    def _update_all(self, scale):
        arrays = [self._parameters.flat, self._parameters.flat_grad]
        arrays += [views.flat for views in self._state.values()]
        for begin, end, decay in self._runs:
            self._update(scale, decay, *(array[begin:end] for array in arrays))

    def _update(self, scale, decay, values, grads, *state):
        raise NotImplementedError

    def __copy__(self):
        raise no_shallow_copy(self)

    def state_dict(self) -> dict[str, Any]:
        """All that changes from step to step, copied: numbers, and arrays by ``state.parameter``.

        Returns
        -------
        state_dict : dict
            ``lr``, ``initial_lr``, ``step`` (updates made), and arrays in PyTorch's names, such
            as ``exp_avg.weight_ih_l0``.
        """
        numbers = {"lr": self._lr, "initial_lr": self._initial_lr, "step": self._steps}
        return numbers | {key: view.copy() for key, view in self._views().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state, or none of it if anything in it is wrong.

        Parameters
        ----------
        state_dict : mapping
            Exactly the names of this optimiser's ``state_dict()``; numbers may be arrays without
            axes.

        Raises
        ------
        TypeError
            If it is no mapping, or a value has the wrong type.
        ValueError
            If names are missing or unexpected, or a shape or number is wrong.
        """
        views = self._views()
        names = ["lr", "initial_lr", "step", *views]
        checks.state_dict(state_dict, names, lambda _: self._hint_of_kind(state_dict))
        lr, initial_lr = (
            checks.not_negative(name, state_dict[name]) for name in ("lr", "initial_lr")
        )
        steps = checks.not_negative_int("step", state_dict["step"])
        arrays = check_arrays(state_dict, views)
        self._lr, self._initial_lr, self._steps = lr, initial_lr, steps
        for view, array in zip(views.values(), arrays, strict=True):
            np.copyto(view, array)

    def _hint_of_kind(self, state_dict):
        """What to say of a state that has other kinds of arrays."""
        theirs = {str(name).partition(".")[0] for name in state_dict if "." in str(name)}
        if theirs == set(self._state):
            return ""
        ours, theirs = (", ".join(sorted(kinds)) or "no arrays" for kinds in (self._state, theirs))
        return (
            f"; it is the state of another optimiser, which keeps {theirs} where this "
            f"{type(self).__name__} keeps {ours}: make the optimiser with the class and options "
            "that it was saved with"
        )

    def _views(self):
        """The state's arrays by the names in ``state_dict``."""
        return {
            f"{state}.{name}": view
            for state, views in self._state.items()
            for name, view in views.items()
        }


# --- the optimisers -------------------------------------------------------------------------


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak, 1964) or Nesterov's (1983).

    With gradient g, or g + weight_decay * value: the first update sets buffer = g, later ones
    buffer = momentum * buffer + (1 - dampening) * g; then value -= lr * buffer, or with
    ``nesterov`` value -= lr * (g + momentum * buffer), or without momentum value -= lr * g.

    Parameters
    ----------
    parameters : Parameters
        Of a layer or model, as in ``SGD(layer.parameters, 0.1)``.
    lr : float
        Learning rate, at least 0.
    momentum, dampening : float
        At least 0.
    nesterov : bool
        Needs momentum without dampening.
    weight_decay : float
        The factor of an L2 penalty's gradient.
    no_decay : iterable of str
        Patterns of names without weight decay, such as ``["*bias*"]``; matched as in a shell,
        capitals and all.

    Attributes
    ----------
    lr : float
        Can be assigned.
    steps : int
        Updates made so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or a pattern matches no name.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> parameters = fs.RNN(1, 1, dtype=np.float64, seed=0).parameters
    >>> parameters.flat[:], parameters.flat_grad[:] = 1, 0.5
    >>> sgd = fs.SGD(parameters, 0.1, momentum=0.9)
    >>> sgd.step()
    >>> sgd.step()
    >>> parameters.flat.round(4).tolist()  # 1 - 0.1 * 0.5 - 0.1 * (0.9 * 0.5 + 0.5)
    [0.855, 0.855, 0.855, 0.855]
    """

    option_names = ("momentum", "dampening", "nesterov")
    momentum, dampening, nesterov = map(fixed, option_names)

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        no_decay: Iterable[str] = (),
    ) -> None:
        self._momentum = checks.not_negative("momentum", momentum)
        self._dampening = checks.not_negative("dampening", dampening)
        self._nesterov = checks.flag("nesterov", nesterov)
        if self._nesterov and (not self._momentum or self._dampening):
            raise ValueError(
                "nesterov=True needs a momentum above 0 and dampening=0, got "
                f"momentum={self._momentum} and dampening={self._dampening}"
            )
        state = ["momentum_buffer"] if self._momentum else []
        super().__init__(parameters, lr, weight_decay, no_decay, state)

    def _update(self, scale, decay, values, grads, buffer=None):
        gain = 1 - self._dampening if self._steps > 1 else 1.0
        numbers = scale, self._lr, decay, self._momentum, gain
        kernels().sgd_step(values, grads, buffer, *numbers, self._nesterov)


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015), with ``amsgrad`` the variant of Reddi et al. (2018).

    With gradient g, or g + weight_decay * value, at update t:
    m = beta1 * m + (1 - beta1) * g,  v = beta2 * v + (1 - beta2) * g^2,
    value -= lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps);
    with ``amsgrad`` the largest v so far takes its place.

    Parameters
    ----------
    parameters : Parameters
        Of a layer or model, as in ``Adam(layer.parameters)``.
    lr : float
        Learning rate, at least 0.
    betas : pair of float
        How much the running mean and the running squares keep, each from 0 to below 1.
    eps : float
        At least 0.
    weight_decay : float
        The factor of an L2 penalty's gradient.
    amsgrad : bool
    no_decay : iterable of str
        Patterns of names without weight decay, such as ``["*bias*"]``; matched as in a shell,
        capitals and all.

    Attributes
    ----------
    lr : float
        Can be assigned.
    steps : int
        Updates made so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or a pattern matches no name.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> gru = fs.GRU(3, 8, seed=0)
    >>> adam = fs.Adam(gru.parameters, lr=0.01)
    >>> x = np.ones((5, 2, 3), np.float32)
    >>> losses = []
    >>> for update in range(50):
    ...     y, h, backprop = gru.forward(x)
    ...     losses.append(float(((y - 0.5) ** 2).mean()))
    ...     adam.zero_grad()
    ...     dx, dh0 = backprop(2 * (y - 0.5) / y.size)
    ...     norm = adam.step(max_norm=1.0)
    >>> losses[-1] < losses[0] / 5
    True
    """

    option_names = ("betas", "eps", "amsgrad")
    betas, eps, amsgrad = map(fixed, option_names)
    _decoupled = False

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        no_decay: Iterable[str] = (),
    ) -> None:
        self._betas = _check_betas(betas)
        self._eps = checks.not_negative("eps", eps)
        self._amsgrad = checks.flag("amsgrad", amsgrad)
        state = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * self._amsgrad
        super().__init__(parameters, lr, weight_decay, no_decay, state)

    def _update(self, scale, decay, values, grads, mean, square, largest=None):
        beta1, beta2 = self._betas
        # both begin at 0 and are biased towards it by these factors
        rate = self._lr / (1 - beta1**self._steps)
        correction = 1 / math.sqrt(1 - beta2**self._steps)
        decay, shrink = (0.0, 1 - self._lr * decay) if self._decoupled else (decay, 1.0)
        numbers = scale, rate, decay, shrink, beta1, beta2, correction, self._eps
        kernels().adam_step(values, grads, mean, square, largest, *numbers)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019).

    As ``Adam``, but the weight decay stays out of the gradient and its averages: it multiplies
    the values by 1 - lr * weight_decay before the update.

    Parameters
    ----------
    parameters : Parameters
        Of a layer or model, as in ``AdamW(layer.parameters)``.
    lr : float
        Learning rate, at least 0.
    betas : pair of float
        How much the running mean and the running squares keep, each from 0 to below 1.
    eps : float
        At least 0.
    weight_decay : float
        At least 0.
    amsgrad : bool
        The variant of Reddi et al. (2018).
    no_decay : iterable of str
        Patterns of names without weight decay, such as ``["*bias*"]``; matched as in a shell,
        capitals and all.

    Attributes
    ----------
    lr : float
        Can be assigned.
    steps : int
        Updates made so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or a pattern matches no name.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> parameters = fs.RNN(1, 1, dtype=np.float64, seed=0).parameters
    >>> parameters.flat[:] = 1
    >>> adamw = fs.AdamW(parameters, lr=0.1, weight_decay=0.5, no_decay=["*bias*"])
    >>> adamw.step()  # all gradients are 0
    >>> parameters.flat.tolist()  # two weights, two biases
    [0.95, 0.95, 1.0, 1.0]
    """

    _decoupled = True

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        no_decay: Iterable[str] = (),
    ) -> None:
        super().__init__(
            parameters,
            lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            no_decay=no_decay,
        )


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton, 2012).

    With gradient g, or g + weight_decay * value: v = alpha * v + (1 - alpha) * g^2 and
    step = g / (sqrt(v) + eps); with ``centered`` (Graves, 2013) the square of g's running mean is
    taken from v first, though no more than there is.  Then value -= lr * step, or with momentum
    buffer = momentum * buffer + step and value -= lr * buffer.

    Parameters
    ----------
    parameters : Parameters
        Of a layer or model, as in ``RMSprop(layer.parameters)``.
    lr : float
        Learning rate, at least 0.
    alpha : float
        How much the running squares keep, from 0 to 1.
    eps : float
        At least 0.
    weight_decay : float
        The factor of an L2 penalty's gradient.
    momentum : float
        At least 0.
    centered : bool
    no_decay : iterable of str
        Patterns of names without weight decay, such as ``["*bias*"]``; matched as in a shell,
        capitals and all.

    Attributes
    ----------
    lr : float
        Can be assigned.
    steps : int
        Updates made so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or a pattern matches no name.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> parameters = fs.RNN(1, 1, dtype=np.float64, seed=0).parameters
    >>> parameters.flat[:], parameters.flat_grad[:] = 1, [4, -4, 0.5, 0]
    >>> fs.RMSprop(parameters, lr=0.01).step()
    >>> parameters.flat.round(4).tolist()  # at first, a gradient's size doesn't count
    [0.9, 1.1, 0.9, 1.0]
    """

    option_names = ("alpha", "eps", "momentum", "centered")
    alpha, eps, momentum, centered = map(fixed, option_names)

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        no_decay: Iterable[str] = (),
    ) -> None:
        self._alpha = checks.probability("alpha", alpha)
        self._eps = checks.not_negative("eps", eps)
        self._momentum = checks.not_negative("momentum", momentum)
        self._centered = checks.flag("centered", centered)
        state = ["square_avg"] + ["grad_avg"] * self._centered
        state += ["momentum_buffer"] * (self._momentum > 0)
        super().__init__(parameters, lr, weight_decay, no_decay, state)

    def _update(self, scale, decay, values, grads, square, *others):
        others = list(others)
        mean = others.pop(0) if self._centered else None
        buffer = others.pop(0) if self._momentum else None
        numbers = scale, self._lr, decay, self._alpha, self._momentum, self._eps
        kernels().rmsprop_step(values, grads, square, mean, buffer, *numbers)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan & Singer, 2011).

    With gradient g, or g + weight_decay * value, at update t: sum += g^2 and
    value -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps).

    Parameters
    ----------
    parameters : Parameters
        Of a layer or model, as in ``Adagrad(layer.parameters)``.
    lr : float
        Learning rate, at least 0.
    lr_decay : float
        At least 0.
    weight_decay : float
        The factor of an L2 penalty's gradient.
    initial_accumulator_value : float
        Where the sums of squares start, at least 0.
    eps : float
        At least 0.
    no_decay : iterable of str
        Patterns of names without weight decay, such as ``["*bias*"]``; matched as in a shell,
        capitals and all.

    Attributes
    ----------
    lr : float
        Can be assigned.
    steps : int
        Updates made so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or a pattern matches no name.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> parameters = fs.RNN(1, 1, dtype=np.float64, seed=0).parameters
    >>> parameters.flat[:], parameters.flat_grad[:] = 1, [4, -4, 0.5, 0]
    >>> fs.Adagrad(parameters, lr=0.01).step()
    >>> parameters.flat.round(4).tolist()
    [0.99, 1.01, 0.99, 1.0]
    """

    option_names = ("lr_decay", "initial_accumulator_value", "eps")
    lr_decay, initial_accumulator_value, eps = map(fixed, option_names)

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-2,
        *,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        no_decay: Iterable[str] = (),
    ) -> None:
        self._lr_decay = checks.not_negative("lr_decay", lr_decay)
        self._initial_accumulator_value = checks.not_negative(
            "initial_accumulator_value", initial_accumulator_value
        )
        self._eps = checks.not_negative("eps", eps)
        super().__init__(parameters, lr, weight_decay, no_decay, ["sum"])
        self._state["sum"].flat.fill(self._initial_accumulator_value)

    def _update(self, scale, decay, values, grads, total):
        rate = self._lr / (1 + (self._steps - 1) * self._lr_decay)
        kernels().adagrad_step(values, grads, total, scale, rate, decay, self._eps)


# --- what lies beside the parameters --------------------------------------------------------


def like(parameters, dtype):
    """Zeros under the parameters' names."""
    shapes = {name: view.shape for name, view in parameters.items()}
    return NamedViews(shapes, np.zeros(parameters.flat.size, dtype))


def no_shallow_copy(owner):
    """The error where one is asked for: its arrays would be shared, but not how old they are."""
    kind = type(owner).__name__
    return TypeError(
        f"a shallow copy of {kind} would share its arrays, but not the number of updates: take "
        "copies of model and optimiser or average together, as with copy.deepcopy((model, "
        "optimizer)), or keep its state_dict()"
    )


# Running squares and their sums, of which roots are taken.
SQUARES = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum")


def check_arrays(state_dict, views):
    """The arrays that belong into the views of these names."""
    arrays = []
    for name, view in views.items():
        array = checks.floats(name, state_dict[name], view.dtype)
        checks.shape(name, array, view.shape, "of the parameter")
        if name.partition(".")[0] in SQUARES and (array < 0).any():
            raise ValueError(f"{name} must hold squares, at least 0, got {array.min()}")
        arrays.append(array)
    return arrays


def _check_betas(value):
    try:
        beta1, beta2 = value
    except (TypeError, ValueError):
        raise TypeError(f"betas must be a pair of numbers, got {value!r}") from None
    return checks.fraction("betas[0]", beta1), checks.fraction("betas[1]", beta2)


def _patterns(value, names):
    """The patterns as a tuple, each of which matches a name."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"no_decay must be a list of patterns, as in ['*bias*'], got {value!r}")
    patterns = tuple(value)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"no_decay must hold strings, got {pattern!r}")
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"no_decay: {pattern!r} matches no parameter; there are {', '.join(names)}"
            )
    return patterns


def _runs(parameters, weight_decay, no_decay):
    """Where the flat arrays have the same weight decay: (begin, end, decay), in order.

    What is frozen is left out.
    """
    frozen, decays = parameters.frozen, []
    for name, view in parameters.items():
        excluded = any(fnmatch.fnmatchcase(name, pattern) for pattern in no_decay)
        decay = None if name in frozen else 0.0 if excluded else weight_decay
        decays.append((decay, view.size))
    runs, begin = [], 0
    for decay, group in itertools.groupby(decays, key=lambda pair: pair[0]):
        end = begin + sum(size for _, size in group)
        if decay is not None:
            runs.append((begin, end, decay))
        begin = end
    return runs
