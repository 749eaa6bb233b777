"""The passes of a decoder over whole target sequences: what goes to the kernels, and comes back.

T target steps, S source positions, B rows, N target tokens, I input size, H hidden size, E memory
size, A attention size, F size of what is fed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastseq import module, stack
from fastseq.attention.sources import Sources
from fastseq.backend import kernels
from fastseq.packing import (
    Buffers,
    Dense,
    Ragged,
    last_tokens,
    pack,
    rows_of_tokens,
    tokens_before,
)


class Run(NamedTuple):
    """What a pass forward leaves for the way back."""

    packing: Dense | Ragged
    buffers: Buffers
    memory: Sources
    states: list  # h0, for the LSTM c0, where an output is fed that one's first
    given: bool  # whether the user gave what is fed first
    keys: np.ndarray
    query_weight: np.ndarray | None
    x: np.ndarray  # (N, I), with what is fed (N, I + F)
    attended: np.ndarray
    alignments: np.ndarray
    y: np.ndarray
    queries: np.ndarray | None
    saved: list


class DecoderPasses(stack.Stack):
    """A recurrent layer that looks at a source: its weights, and its way forward and back."""

    _names = "{}"  # weight_ih and so on
    _bound = (*stack.Stack._bound, "_own")

    memory_size = module.fixed("memory_size")
    attention_size = module.fixed("attention_size")
    score = module.fixed("score")
    query = module.fixed("query")
    input_feeding = module.fixed("input_feeding")
    batch_first = module.fixed("batch_first")

    # --- weights ----------------------------------------------------------------------------

    @property
    def _fed_size(self):
        if not self.input_feeding:
            return 0
        return self.memory_size if self.query == "previous" else self.hidden_size

    @property
    def _feeds_output(self):
        return self.input_feeding and self.query == "current"

    def _bind(self):
        super()._bind()
        self._own = dict(self._parameters), dict(self._parameters.grads)

    def _of_attention(self, views):
        """The weights of queries and keys, or their gradients; None where there is none."""
        if self.score == "concat":
            both = views["weight_concat"]
            return both[:, : self.hidden_size], both[:, self.hidden_size :]
        return views.get("weight_query"), views.get("weight_key")

    def _output(self):
        return self._own[0]["weight_output"], self._own[0].get("bias_output")

    # --- forward and back -------------------------------------------------------------------

    def _run_over(self, x, lengths, memory, states, given, training):
        """Run over x, and over what the sources offer; a Run, and the final states."""
        packing, buffers = pack(x.shape[:2], lengths, self._batch_first), self._pool.borrow()
        states = [packing.sort(s) for s in states]
        weight, _ = self._of_attention(self._own[0])
        run = Run(
            packing,
            buffers,
            memory,
            states,
            given,
            self._keys(memory),
            None if weight is None else np.ascontiguousarray(weight),
            self._inputs(packing.gather(x, buffers, "x"), buffers),
            buffers.get("attended", (packing.tokens, self.memory_size + self.hidden_size)),
            packing.result(buffers, "alignments", memory.longest, self._dtype),
            packing.result(buffers, "y", self.hidden_size, self._dtype),
            self._queries(buffers, packing.tokens) if training else None,
            self._arrays_to_save(buffers, 0, packing.tokens) if training else self._not_saved,
        )
        finals = [s.copy() for s in states]
        if packing.tokens:
            forward, _ = self._way()
            forward(run, finals)
        return run, finals

    def _inputs(self, x, buffers):
        """x (N, I) with columns for what is fed, (N, I + F)."""
        if not self._fed_size:
            return x
        inputs = buffers.get("inputs", (len(x), self.input_size + self._fed_size))
        inputs[:, : self.input_size] = x
        return inputs

    def _results(self, run, finals):
        if not run.given and self._feeds_output:
            finals = finals[:-1]
        packing = run.packing
        state = packing.state(finals)
        return packing.scatter(run.y), state, packing.scatter(run.alignments)

    def _back(self, run, dy, dstates, d_alignments, input_grad):
        """dx (N, I) or None, dmemory, and ``dstates``, which become the initial states'."""
        packing, buffers, memory = run.packing, run.buffers, run.memory
        dx = packing.result(buffers, "dx", self.input_size, self._dtype) if input_grad else None
        d_values = np.zeros_like(memory.values)
        grads = self._own[1]
        d_keys = d_values if run.keys is memory.values else np.zeros_like(run.keys)
        with self._parameters.grads_lock:
            if packing.tokens:
                _, back = self._way()
                d_queries, asked = back(run, dy, dstates, d_alignments, dx, d_keys, d_values)
                kernels().add_linear_gradients(
                    dy, run.attended, grads["weight_output"], grads.get("bias_output")
                )
                self._projections_back(run, d_queries, asked, d_keys, d_values)
        return dx, memory.pad(d_values)

    def _way(self):
        """Forward and back over what ran: step by step, or the attention of all steps at once.

        Back gives the queries' gradients and the states that asked, None where nothing was
        projected; dy becomes its pre-activation's.
        """
        if self._fed_size:
            return self._scan, self._scan_back
        return self._attend_at_once, self._attend_at_once_back

    # --- fed: step by step ------------------------------------------------------------------

    def _scan(self, run, finals):
        """Each step is fed what the one before came to: one kernel walks over all of it."""
        *finals, fed = self._three(finals)
        kernels().decoder_forward(*self._call(run), finals, self._saved(run))
        if fed is None:
            self._find_output(run)
        else:
            _copy_last(run.y, run.packing.offsets, fed)

    def _scan_back(self, run, dy, dstates, d_alignments, dx, d_keys, d_values):
        d_attended = run.buffers.get("d_attended", run.attended.shape)
        d_states, d_fed_outputs = self._three(dstates), None
        dfed = d_states[2]
        if dfed is None:
            self._output_back(run, dy, d_attended)
        else:
            d_fed_outputs = dy
            d_attended.fill(0)
            _add_to_last(dy, run.packing.offsets, dfed)
            not_run = np.diff(run.packing.offsets[:2])[0]
            kept = dfed[not_run:].copy()
        d_queries = None
        if run.queries is not None:
            d_queries = run.buffers.get("d_queries", run.queries.shape)
        kernels().decoder_backward(
            (d_attended, d_alignments, d_fed_outputs),
            *self._call(run),
            self._saved(run),
            dx,
            d_states,
            d_queries,
            (d_keys, d_values, self._own[1].get("weight_score")),
            self._grads[0][0],
        )
        if dfed is not None:
            dfed[not_run:] = kept
        return d_queries, None if d_queries is None else self._states_that_asked(run)

    def _call(self, run):
        """The arguments that the two kernels of the scan have in common."""
        feeds = self._feeds_output
        return (
            self._kind.name,
            self._only_option(),
            run.x,
            self._three(run.states),
            self._weights[0][0],
            self._attention(run.keys, run.memory, run.query_weight),
            run.packing.order,
            self._output() if feeds else None,
            run.packing.offsets,
            (run.attended, run.alignments, run.y if feeds else None),
        )

    def _attention(self, keys, memory, query_weight):
        v = self._own[0].get("weight_score")
        return keys, memory.values, v, memory.offsets, query_weight

    def _saved(self, run):
        """Queries, gates and cells; None what is not saved."""
        gates, cells = ([None if s is None else s[0] for s in run.saved] + [None])[:2]
        return run.queries, gates, cells

    def _states_that_asked(self, run):
        h = run.attended[:, self.memory_size :]
        asked = run.buffers.get("asked", (len(h), self.hidden_size))
        if self.query == "current":
            np.copyto(asked, h)
            return asked
        offsets = run.packing.offsets
        first = offsets[1]
        asked[:first] = run.states[0][0, :first]
        asked[first:] = h[tokens_before(offsets)]
        return asked

    # --- unfed: all steps at once -----------------------------------------------------------

    def _attend_at_once(self, run, finals):
        """Nothing is fed: the cell runs by itself, then all steps look at their sources."""
        packing, buffers, size = run.packing, run.buffers, self.memory_size
        h = buffers.get("h", (packing.tokens, self.hidden_size))
        context = buffers.get("context", (packing.tokens, size))
        given = (run.x, *run.states, self._weights[0], packing.offsets, (False,), *self._option)
        getattr(kernels(), self._kind.forward)(*given, h, *finals, *run.saved)
        query = h
        if run.query_weight is not None:
            query = buffers.get("queries", (packing.tokens, self.attention_size))
            kernels().multiply_rows(h, run.query_weight, None, query)
        arguments = self._attention_arguments(run, query)
        kernels().attention_forward(*arguments, run.alignments, context)
        run.attended[:, :size], run.attended[:, size:] = context, h
        self._find_output(run)

    def _attend_at_once_back(self, run, dy, dstates, d_alignments, dx, d_keys, d_values):
        buffers, size, tokens = run.buffers, self.memory_size, run.packing.tokens
        d_attended = buffers.get("d_attended", run.attended.shape)
        self._output_back(run, dy, d_attended)
        h, dh = (buffers.get(name, (tokens, self.hidden_size)) for name in ("h", "d_h"))
        d_context = buffers.get("d_context", (tokens, size))
        np.copyto(dh, d_attended[:, size:])
        np.copyto(d_context, d_attended[:, :size])
        query = h if run.queries is None else run.queries
        d_query = buffers.get("d_queries", query.shape)
        kernels().attention_backward(
            d_context,
            d_alignments,
            *self._attention_arguments(run, query),
            run.alignments,
            d_query,
            d_keys,
            d_values,
            self._own[1].get("weight_score"),
        )
        through = d_query
        if run.queries is not None:
            through = buffers.get("through_queries", dh.shape)
            kernels().multiply_rows(d_query, run.query_weight.T, None, through)
        dh += through
        given = (run.x, *run.states, self._weights[0], run.packing.offsets, (False,), *self._option)
        getattr(kernels(), self._kind.backward)(
            dh, *given, h, *run.saved, dx, *dstates, self._grads[0]
        )
        return (None, None) if run.queries is None else (d_query, h)

    def _attention_arguments(self, run, query):
        memory, v = run.memory, self._own[0].get("weight_score")
        sources = run.packing.order[rows_of_tokens(run.packing.offsets)]
        return query, run.keys, memory.values, v, sources, memory.offsets

    # --- outputs, queries and keys ----------------------------------------------------------

    def _find_output(self, run):
        weight, bias = self._output()
        kernels().multiply_rows(run.attended, weight, bias, run.y)
        flat = run.y.reshape(-1)
        kernels().tanh(flat, flat)

    def _output_back(self, run, dy, d_attended):
        dy *= 1 - run.y * run.y
        kernels().multiply_rows(dy, self._output()[0].T, None, d_attended)

    def _queries(self, buffers, tokens):
        if self.score in ("dot", "general"):
            return None
        return buffers.get("queries", (tokens, self.attention_size))

    def _keys(self, memory):
        """The memory's keys, projected once for all steps."""
        _, weight = self._of_attention(self._own[0])
        if weight is None:
            return memory.values
        keys = np.empty((len(memory.values), len(weight)), self._dtype)
        kernels().multiply_rows(memory.values, weight, self._own[0].get("bias_key"), keys)
        return keys

    def _projections_back(self, run, d_queries, asked, d_keys, d_values):
        """What queries and keys were projected by, and from."""
        _, key_weight = self._of_attention(self._own[0])
        d_query_weight, d_key_weight = self._of_attention(self._own[1])
        if d_queries is not None:
            kernels().add_linear_gradients(d_queries, asked, d_query_weight, None)
        if key_weight is not None:
            d_bias = self._own[1].get("bias_key")
            kernels().add_linear_gradients(d_keys, run.memory.values, d_key_weight, d_bias)
            through = np.empty_like(d_values)
            kernels().multiply_rows(d_keys, key_weight.T, None, through)
            d_values += through

    # --- one step at a time -----------------------------------------------------------------

    def _stepper(self, memory):
        weight, _ = self._of_attention(self._own[0])
        feeds = None
        if self._fed_size:
            feeds = "output" if self._feeds_output else "context"
        return kernels().DecoderStepper(
            self._kind.name,
            self._only_option(),
            self._weights[0][0],
            self._attention(
                self._keys(memory),
                memory,
                None if weight is None else np.ascontiguousarray(weight),
            ),
            self._output(),
            feeds,
        )

    def _three(self, states):
        """h, c or None, and what is fed or None, each (B, H)."""
        arrays = [s[0] if s.ndim == 3 else s for s in states]
        fed = arrays.pop() if self._feeds_output else None
        return arrays[0], arrays[1] if len(arrays) > 1 else None, fed


def _copy_last(tokens, offsets, out):
    last = last_tokens(offsets)
    out[: len(last)] = tokens[last]


def _add_to_last(tokens, offsets, rows):
    last = last_tokens(offsets)
    tokens[last] += rows[: len(last)]
