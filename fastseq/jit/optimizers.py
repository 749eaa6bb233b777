"""The optimisers' updates: one pass over values, gradients and state.

An array that an optimiser does without is None to the kernels, and an empty one inside.
"""

import math

import numpy as np

from fastseq.jit.compiling import compiled
from fastseq.jit.vector_math import ZERO


def _numbers(dtype, *numbers):
    """The numbers in the arrays' dtype, so that float32 isn't widened."""
    return tuple(dtype.type(number) for number in numbers)


def _or_empty(state, values):
    return values[:0] if state is None else state


def sgd_step(values, grads, buffer, scale, lr, decay, momentum, gain, nesterov):
    numbers = _numbers(values.dtype, scale, lr, decay, momentum, gain)
    _sgd(values, grads, _or_empty(buffer, values), buffer is not None, nesterov, *numbers)


@compiled
def _sgd(values, grads, buffer, with_momentum, nesterov, scale, lr, decay, momentum, gain):
    for i in range(values.size):
        g = scale * grads[i] + decay * values[i]
        if with_momentum:
            buffer[i] = momentum * buffer[i] + gain * g
            g = g + momentum * buffer[i] if nesterov else buffer[i]
        values[i] -= lr * g


def adam_step(
    values,
    grads,
    mean,
    square,
    largest,
    scale,
    rate,
    decay,
    shrink,
    beta1,
    beta2,
    correction,
    eps,
):
    numbers = _numbers(
        values.dtype, scale, rate, decay, shrink, 1 - beta1, beta2, 1 - beta2, correction, eps
    )
    amsgrad = largest is not None
    _adam(values, grads, mean, square, _or_empty(largest, values), amsgrad, *numbers)


@compiled
def _adam(
    values,
    grads,
    mean,
    square,
    largest,
    amsgrad,
    scale,
    rate,
    decay,
    shrink,
    towards,
    beta2,
    added,
    correction,
    eps,
):
    for i in range(values.size):
        g = scale * grads[i] + decay * values[i]
        mean[i] += towards * (g - mean[i])
        square[i] = beta2 * square[i] + added * g * g
        root = square[i]
        if amsgrad:
            largest[i] = largest[i] if root <= largest[i] else root  # NaN too
            root = largest[i]
        values[i] = shrink * values[i] - rate * mean[i] / (math.sqrt(root) * correction + eps)


def rmsprop_step(values, grads, square, mean, buffer, scale, lr, decay, alpha, momentum, eps):
    numbers = _numbers(values.dtype, scale, lr, decay, alpha, 1 - alpha, momentum, eps)
    states = square, _or_empty(mean, values), _or_empty(buffer, values)
    _rmsprop(values, grads, *states, mean is not None, buffer is not None, *numbers)


@compiled
def _rmsprop(
    values,
    grads,
    square,
    mean,
    buffer,
    centered,
    with_momentum,
    scale,
    lr,
    decay,
    alpha,
    added,
    momentum,
    eps,
):
    for i in range(values.size):
        g = scale * grads[i] + decay * values[i]
        square[i] = alpha * square[i] + added * g * g
        variance = square[i]
        if centered:
            mean[i] += added * (g - mean[i])
            variance -= mean[i] * mean[i]
            variance = ZERO if variance < ZERO else variance  # rounding may go below 0
        step = g / (math.sqrt(variance) + eps)
        if with_momentum:
            buffer[i] = momentum * buffer[i] + step
            step = buffer[i]
        values[i] -= lr * step


def adagrad_step(values, grads, total, scale, rate, decay, eps):
    _adagrad(values, grads, total, *_numbers(values.dtype, scale, rate, decay, eps))


@compiled
def _adagrad(values, grads, total, scale, rate, decay, eps):
    for i in range(values.size):
        g = scale * grads[i] + decay * values[i]
        total[i] += g * g
        values[i] -= rate * g / (math.sqrt(total[i]) + eps)


@compiled
def average(mean, values, weight):
    for i in range(values.size):
        mean[i] += weight * (values[i] - mean[i])


@compiled
def squared_norm(x):
    total = 0.0
    sums = np.empty(16)
    for begin in range(0, x.size, 4096):
        sums[:] = 0
        for i in range(begin, min(begin + 4096, x.size)):
            number = np.float64(x[i])
            sums[i % 16] += number * number
        half = 8
        while half:
            for j in range(half):
                sums[j] += sums[j + half]
            half //= 2
        total += sums[0]
    return total
