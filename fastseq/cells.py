"""Recurrent cells: one step of an RNN, LSTM or GRU, with a backward pass.

They run the layers' kernels on sequences of one token.  B rows, I input size, H hidden size.
To run a trained layer step by step, use its ``stream``: it is faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks, module, stack
from fastseq.packing import pack

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from fastseq.recurrent import State


class RecurrentCell(stack.Stack):
    """Common to RNNCell, LSTMCell and GRUCell."""

    _names = "{}"  # weight_ih and so on

    def __init__(self, input_size, hidden_size, *, bias, dtype, seed):
        super().__init__(
            input_size, hidden_size, 1, 1, bias=bias, dropout=0.0, dtype=dtype, seed=seed
        )

    def __repr__(self):
        return self._repr([])

    def __call__(self, x: ArrayLike, state: State = None) -> State:
        """One step, saving nothing for a backward pass.

        Parameters
        ----------
        x : array of floats, (B, I) or (I,)
        state : None, array or pair of arrays, (B, H) or (H,)
            h, for the LSTM (h, c).  None is zeros.

        Returns
        -------
        state : like the argument
            The state after the step.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype, rank or shape.
        """
        buffers = self._pool.borrow()
        x, states, packing = self._read(x, state)
        _, finals, _ = self._run(x, states, packing, buffers, training=False)
        self._pool.give_back(buffers)
        return self._hand_out_step(finals, packing)

    def forward(self, x: ArrayLike, state: State = None) -> tuple[State, CellBackprop]:
        """As calling the cell, with a function that runs the backward pass.

        ``x`` and ``state`` are kept without a copy until then; don't change them before, nor
        the parameters.

        Returns
        -------
        state : array or pair of arrays
            The state after the step.
        backprop : CellBackprop
            ``dx, dstate = backprop(dstate)`` adds to ``parameters.grads``.  It can run once.
        """
        x, states, packing = self._read(x, state)
        _, finals, tape = self._run(x, states, packing, self._pool.borrow(), training=True)
        lead = (packing.tokens,) if packing.batched else ()
        return self._hand_out_step(finals, packing), CellBackprop(self, tape, lead)

    def _read(self, x, state):
        """Checked arguments as tokens (B, I), states (1, B, H), and their packing."""
        x = checks.floats("x", x, self.dtype)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"x must have shape (B, {self.input_size}), or ({self.input_size},) without a "
                f"batch, got {x.shape}; the last axis is input_size"
            )
        packing = pack((1, *x.shape[:-1]), None, False)
        states = self._read_cell_states("state", state, x.shape[:-1])
        return x.reshape(packing.tokens, self.input_size), states, packing

    def _read_cell_states(self, name, value, lead):
        if value is None:
            return self._zero_states((1, *(lead or (1,)), self.hidden_size))
        letters = "(B, hidden_size)" if lead else "(hidden_size,)"
        arrays = self._read_states(name, value, (*lead, self.hidden_size), letters)
        return [array.reshape(1, -1, self.hidden_size) for array in arrays]

    def _hand_out_step(self, states, packing):
        return self._hand_out(states, lambda state: packing.unsort(state)[0])


class CellBackprop(module.Backprop):
    """The backward pass of one call of a cell's ``forward``."""

    __slots__ = ()

    def __call__(
        self, dstate: State, *, input_grad: bool = True
    ) -> tuple[np.ndarray | None, State]:
        """Gradients of one step; adds to the cell's gradients.

        Parameters
        ----------
        dstate : array or pair of arrays, the shape of the state
            Gradient of the loss with respect to the state after the step.  None is zeros, also
            within a pair.
        input_grad : bool
            False saves the work for dx where nobody needs it.

        Returns
        -------
        dx : ndarray, the shape of x, or None
        dstate : array or pair of arrays
            Gradient with respect to the state before the step.

        Raises
        ------
        RuntimeError
            If it has run before.
        TypeError, ValueError
            If the argument has the wrong type, dtype or shape; it can still run after that.
        """
        cell, tape = self._owner, self._read_tape()
        packing, buffers, _, _ = tape
        lead = self._shape
        input_grad = checks.flag("input_grad", input_grad)
        dstates = cell._read_cell_states("dstate", dstate, lead)
        dstates = [array.copy() for array in dstates]  # the kernels write there
        dy = np.zeros((packing.tokens, cell.hidden_size), cell.dtype)
        self._use_up()
        dx = cell._run_back(tape, dy, dstates, input_grad)
        cell._pool.give_back(buffers)
        if dx is not None:
            dx = dx.reshape(*lead, cell.input_size)
        return dx, cell._hand_out_step(dstates, packing)


class RNNCell(RecurrentCell):
    """One step of :class:`~fastseq.RNN`.

    Parameters
    ----------
    input_size : int
        I
    hidden_size : int
        H
    nonlinearity : {"tanh", "relu", "sigmoid"}
        The activation.
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    dtype : {float32, float64}
        Of parameters, states and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, U(-1 / sqrt(H), 1 / sqrt(H)).

    Attributes
    ----------
    parameters : Parameters
        ``weight_ih`` (H, I), ``weight_hh`` (H, H), ``bias_ih`` (H,), ``bias_hh`` (H,).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> cell = fs.RNNCell(3, 4, seed=0)
    >>> h = cell(np.ones((2, 3), np.float32))
    >>> h = cell(np.ones((2, 3), np.float32), h)
    >>> h.shape
    (2, 4)
    """

    _kind = stack.RNN
    nonlinearity = module.fixed("nonlinearity")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._nonlinearity = checks.choice("nonlinearity", nonlinearity, stack.NONLINEARITIES)
        super().__init__(input_size, hidden_size, bias=bias, dtype=dtype, seed=seed)


class LSTMCell(RecurrentCell):
    """One step of :class:`~fastseq.LSTM`.

    Parameters
    ----------
    input_size : int
        I
    hidden_size : int
        H
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    dtype : {float32, float64}
        Of parameters, states and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, U(-1 / sqrt(H), 1 / sqrt(H)).

    Attributes
    ----------
    parameters : Parameters
        ``weight_ih`` (4 * H, I), ``weight_hh`` (4 * H, H), ``bias_ih`` (4 * H,), ``bias_hh``
        (4 * H,); gates in the order i, f, g, o.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> cell = fs.LSTMCell(3, 4, seed=0)
    >>> (h, c), backprop = cell.forward(np.ones((2, 3), np.float32))
    >>> dx, (dh, dc) = backprop((h, c))
    >>> dx.shape, dh.shape, dc.shape
    ((2, 3), (2, 4), (2, 4))
    """

    _kind = stack.LSTM

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias=bias, dtype=dtype, seed=seed)


class GRUCell(RecurrentCell):
    """One step of :class:`~fastseq.GRU`.

    Parameters
    ----------
    input_size : int
        I
    hidden_size : int
        H
    reset_after : bool
        Whether the reset gate acts after the recurrent product.
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    dtype : {float32, float64}
        Of parameters, states and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, U(-1 / sqrt(H), 1 / sqrt(H)).

    Attributes
    ----------
    parameters : Parameters
        ``weight_ih`` (3 * H, I), ``weight_hh`` (3 * H, H), ``bias_ih`` (3 * H,), ``bias_hh``
        (3 * H,); gates in the order r, z, n.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> cell = fs.GRUCell(3, 4, reset_after=False, seed=0)
    >>> h = cell(np.ones(3, np.float32))  # without a batch
    >>> h.shape
    (4,)
    """

    _kind = stack.GRU
    reset_after = module.fixed("reset_after")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._reset_after = checks.flag("reset_after", reset_after)
        super().__init__(input_size, hidden_size, bias=bias, dtype=dtype, seed=seed)
