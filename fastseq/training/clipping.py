"""Clipping: gradients that are too large, cut down together or one by one."""

from __future__ import annotations

import math

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.parameters import Parameters, check_parameters


@checks.explained(norm_type="the norm is Euclidean")
def clip_grad_norm(parameters: Parameters, max_norm: float) -> float:
    """Scale all gradients together so that their joint norm is at most ``max_norm``.

    They are multiplied by min(1, max_norm / (norm + 1e-6)) (Pascanu, Mikolov & Bengio, 2013, in
    PyTorch's form).  The squares are summed in float64, in one order whatever the number of
    threads.  ``optimizer.step(max_norm=...)`` does the same without changing the gradients.

    Parameters
    ----------
    parameters : Parameters
        Of a layer or model.
    max_norm : float
        Above 0; with ``np.inf`` the norm is only measured.

    Returns
    -------
    norm : float
        Before clipping.

    Raises
    ------
    TypeError, ValueError
        If ``max_norm`` is no positive number.
    FloatingPointError
        If the norm is not finite.  Nothing has changed then.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> parameters = fs.RNN(1, 1, dtype=np.float64).parameters
    >>> parameters.flat_grad[:] = [3, 0, 0, 4]
    >>> fs.clip_grad_norm(parameters, 1.0)
    5.0
    >>> parameters.flat_grad.round(4).tolist()
    [0.6, 0.0, 0.0, 0.8]
    """
    check_parameters(parameters)
    max_norm = checks.positive("max_norm", max_norm)
    with parameters.grads_lock:
        norm = finite_norm(parameters)
        factor = clipping_factor(norm, max_norm)
        if factor < 1:
            np.multiply(parameters.flat_grad, factor, out=parameters.flat_grad)
    return norm


def clip_grad_value(parameters: Parameters, clip_value: float) -> None:
    """Cut every gradient to lie between -clip_value and clip_value; NaN stays.

    Parameters
    ----------
    parameters : Parameters
        Of a layer or model.
    clip_value : float
        Above 0.

    Raises
    ------
    TypeError, ValueError
        If ``clip_value`` is no positive number.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> parameters = fs.RNN(1, 1, dtype=np.float64).parameters
    >>> parameters.flat_grad[:] = [3, 0, 0.25, -4]
    >>> fs.clip_grad_value(parameters, 0.5)
    >>> parameters.flat_grad.tolist()
    [0.5, 0.0, 0.25, -0.5]
    """
    check_parameters(parameters)
    clip_value = checks.positive("clip_value", clip_value)
    with parameters.grads_lock:
        np.clip(parameters.flat_grad, -clip_value, clip_value, out=parameters.flat_grad)


def finite_norm(parameters):
    """The gradients' norm, or an error that says where they aren't finite."""
    norm = math.sqrt(kernels().squared_norm(parameters.flat_grad))
    if math.isfinite(norm):
        return norm
    wrong = [name for name, grad in parameters.grads.items() if not np.isfinite(grad).all()]
    where = f"NaN or infinity in {', '.join(wrong)}" if wrong else "finite, but too large to square"
    raise FloatingPointError(
        f"the gradients' norm is {norm}: they are {where}; lower the learning rate, or look for "
        "bad values in the data"
    )


def clipping_factor(norm, max_norm):
    """The factor that brings a norm down to at most ``max_norm``."""
    return min(1.0, max_norm / (norm + 1e-6))
