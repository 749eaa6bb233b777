"""exp, tanh and sigmoid without calls into libm, so that LLVM can vectorise loops over them.

``exp_of``, ``tanh_of`` and ``sigmoid_of`` are for compiled code: they take one float32 or
float64 number.  ``exp``, ``tanh`` and ``sigmoid`` take whole arrays.

With n = round(x / log 2) and r = x - n log 2, exp(x) = 2^n exp(r) and |r| <= log(2) / 2, where
a Taylor polynomial is exact to a fraction of a rounding error.  Adding and taking away MAGIC
rounds to an integer, which then stands in the low bits of the sum, ready to be shifted into
an exponent.  Errors stay below 3 ulp over the whole range; exp gives 0 where the result would
be below the smallest normal number.

Clamps are written ``LOW if x < LOW else x``, which lets NaN through.
"""

import math
from types import SimpleNamespace

import numba
import numpy as np
from numba.extending import intrinsic, overload

from fastseq.jit.compiling import OPTIONS, compiled


@intrinsic
def _bits(typing_context, x):
    """The integer with the bits of a float."""
    integer = numba.types.Integer.from_bitwidth(x.bitwidth)

    def bitcast(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(integer))

    return integer(x), bitcast


@intrinsic
def _from_bits(typing_context, bits):
    """The float with the bits of an integer."""
    number = {32: numba.float32, 64: numba.float64}[bits.bitwidth]

    def bitcast(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(number))

    return number(bits), bitcast


def _log_towards_zero(x):
    exact = math.log(x)  # its nearest float64 lies towards zero for both float64 limits
    log = type(x)(exact)
    return log if abs(float(log)) <= abs(exact) else np.nextafter(log, type(x)(0))


def _functions(float_type, int_type, degree, log2_high, log2_low):
    """The three functions for one dtype; Numba freezes what they close over as constants.

    ``log2_high + log2_low`` is log 2, the first cut to so few bits that n * log2_high is exact.
    """
    info = np.finfo(float_type)
    MANTISSA_BITS = info.nmant
    MAGIC = float_type(1.5 * 2**MANTISSA_BITS)
    LOG2_E, LOG2_HIGH, LOG2_LOW = map(float_type, (1 / math.log(2), log2_high, log2_low))
    COEFFICIENTS = tuple(float_type(1 / math.factorial(k)) for k in range(degree, 1, -1))
    ZERO, ONE, TWO, INFINITY = map(float_type, (0, 1, 2, math.inf))
    HIGHEST = _log_towards_zero(info.max)  # exp is finite up to here
    LOWEST = _log_towards_zero(info.tiny)  # and a normal number from here
    TANH_IS_ONE = float_type(info.nmant / 2)
    TANH_IS_X = float_type(math.sqrt(info.eps) / 2)

    @numba.njit(**OPTIONS)
    def reduced(x):
        """The exponent bits of 2**n, to be added to a number's own, and exp(r) - 1."""
        shifted = x * LOG2_E + MAGIC
        n = shifted - MAGIC
        r = (x - n * LOG2_HIGH) - n * LOG2_LOW
        series = ZERO
        for coefficient in COEFFICIENTS:
            series = series * r + coefficient
        return int_type(_bits(shifted) << MANTISSA_BITS), r + r * r * series

    def exp(x):
        clamped = LOWEST if x < LOWEST else x
        clamped = HIGHEST if clamped > HIGHEST else clamped
        exponent, em1 = reduced(clamped)
        result = _from_bits(int_type(_bits(ONE + em1) + exponent))
        result = ZERO if x < LOWEST else result
        result = INFINITY if x > HIGHEST else result
        return x if x != x else result

    def tanh(x):
        clamped = -TANH_IS_ONE if x < -TANH_IS_ONE else x
        clamped = TANH_IS_ONE if clamped > TANH_IS_ONE else clamped
        exponent, em1 = reduced(TWO * clamped)
        scale = _from_bits(int_type(_bits(ONE) + exponent))
        em1 = scale * em1 + (scale - ONE)  # exp(2 x) - 1
        result = em1 / (em1 + TWO)
        return x if abs(x) < TANH_IS_X else result  # keeps -0.0 and subnormal numbers

    def sigmoid(x):
        return ONE / (ONE + exp_of(-x))

    return SimpleNamespace(exp=exp, tanh=tanh, sigmoid=sigmoid)


_FUNCTIONS = {
    numba.float32: _functions(np.float32, np.int32, 7, 0.693359375, -2.12194440054690583e-4),
    numba.float64: _functions(
        np.float64, np.int64, 13, 0.693145751953125, 1.42860682030941723212e-6
    ),
}

# For arithmetic in compiled code: a literal 1 would widen float32 to float64, these don't.
ZERO, ONE = np.float32(0), np.float32(1)


def exp_of(x):
    """exp of one number, in compiled code."""


def tanh_of(x):
    """tanh of one number, in compiled code."""


def sigmoid_of(x):
    """1 / (1 + exp(-x)) of one number, in compiled code."""


@compiled
def slope_of_tanh(y):
    """tanh's derivative, in terms of its value y."""
    return ONE - y * y


@compiled
def slope_of_sigmoid(y):
    """The sigmoid's derivative, in terms of its value y."""
    return y * (ONE - y)


@overload(exp_of, jit_options=OPTIONS)
def _exp_of(x):
    return _FUNCTIONS[x].exp


@overload(tanh_of, jit_options=OPTIONS)
def _tanh_of(x):
    return _FUNCTIONS[x].tanh


@overload(sigmoid_of, jit_options=OPTIONS)
def _sigmoid_of(x):
    return _FUNCTIONS[x].sigmoid


@compiled
def exp(x, out):
    """out = exp(x), elementwise."""
    for i in range(x.size):
        out[i] = exp_of(x[i])


@compiled
def tanh(x, out):
    """out = tanh(x), elementwise."""
    for i in range(x.size):
        out[i] = tanh_of(x[i])


@compiled
def sigmoid(x, out):
    """out = 1 / (1 + exp(-x)), elementwise, without overflow."""
    for i in range(x.size):
        out[i] = sigmoid_of(x[i])
