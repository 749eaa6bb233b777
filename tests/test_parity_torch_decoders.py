"""Parity of decoders with a PyTorch loop over steps: outputs, weights and every gradient."""

import numpy as np
import pytest
from helpers import assert_close
from layer_cases import as_tuple
from test_decoders import CELLS, KINDS, LENGTHS, MEMORY_LENGTHS, make, make_inputs, train

import fastseq as fs

torch = pytest.importorskip("torch")

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-11}


def tensor_of(array):
    return torch.tensor(array, requires_grad=True)


class Loop:
    """The decoder's equations in PyTorch, for a batch whose rows may end early."""

    def __init__(self, decoder):
        self.decoder = decoder
        self.p = {name: tensor_of(array) for name, array in decoder.parameters.items()}
        step = torch.lstm_cell if isinstance(decoder, fs.AttentionLSTM) else torch.gru_cell
        weights = [self.p[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        self.cell = lambda x, state: step(x, state, *weights)

    def attend(self, h, memory, mask):
        p, score = self.p, self.decoder.score
        if score in ("additive", "concat"):
            if score == "concat":
                parts = p["weight_concat"].split([h.shape[1], memory.shape[2]], dim=1)
            else:
                parts = p["weight_query"], p["weight_key"]
            both = h @ parts[0].T + memory @ parts[1].T + p["bias_key"]
            scores = torch.tanh(both) @ p["weight_score"]
        else:
            keys = memory @ p["weight_key"].T if score == "general" else memory
            scores = (keys * h).sum(-1)
        # A source of length 0 has equal weights here, which the mask turns into zeros
        weights = torch.softmax(scores.masked_fill(~mask, -1e30), dim=0) * mask
        return (weights[:, :, None] * memory).sum(0), weights.T

    def output(self, context, h):
        both = torch.cat([context, h], dim=1)
        return torch.tanh(both @ self.p["weight_output"].T + self.p["bias_output"])

    def __call__(self, x, memory, state, lengths, memory_lengths):
        decoder = self.decoder
        positions = torch.arange(len(memory))[:, None]
        mask = positions < torch.tensor(memory_lengths)
        feeds_output = decoder.input_feeding and decoder.query == "current"
        *state, fed = state if feeds_output else (*state, None)
        ys, all_weights = [], []
        for t in range(len(x)):
            runs = (t < torch.tensor(lengths))[:, None]
            h, cell_input = state[0], x[t]
            if decoder.query == "previous":
                context, weights = self.attend(h, memory, mask)
                cell_input = torch.cat([cell_input, context], dim=1)
            elif feeds_output:
                cell_input = torch.cat([cell_input, fed], dim=1)
            new = as_tuple(self.cell(cell_input, tuple(state) if len(state) > 1 else h))
            if decoder.query == "current":
                context, weights = self.attend(new[0], memory, mask)
            y = self.output(context, new[0])
            state = [torch.where(runs, a, b) for a, b in zip(new, state, strict=True)]
            fed = torch.where(runs, y, fed) if feeds_output else None
            ys.append(y * runs)
            all_weights.append(weights * runs)
        state = (*state, fed) if feeds_output else tuple(state)
        return torch.stack(ys), state, torch.stack(all_weights)


@pytest.fixture(scope="module")
def one_torch_thread():
    """These tensors are small: more threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("cell", [name for name in CELLS if name != "gru-before"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parity(cell, kind, dtype, one_torch_thread):
    decoder = make(cell, kind, sizes=(5, 8, 6), dtype=dtype)
    x, memory, state = make_inputs(decoder)
    y, final, weights, dx, dmemory, dstate, _ = train(
        decoder, x, memory, state, LENGTHS, MEMORY_LENGTHS
    )
    loop, (tx, tm) = Loop(decoder), map(tensor_of, (x, memory))
    tstate = [tensor_of(part) for part in as_tuple(state)]
    their_y, their_final, their_weights = loop(
        tx, tm, [part[0] for part in tstate], LENGTHS, MEMORY_LENGTHS
    )
    rng = np.random.default_rng(5)  # the heads of train, in its order
    results = [their_y, their_weights, *(part[None] for part in their_final)]
    heads = [torch.tensor(rng.standard_normal(tuple(r.shape)).astype(dtype)) for r in results]
    torch.autograd.backward(results, heads)

    def compare(name, ours, theirs):
        assert_close(ours, theirs.detach().numpy(), TOLERANCE[dtype], name=name)

    compare("y", y, their_y)
    compare("weights", weights, their_weights)
    for ours, theirs in zip(as_tuple(final), their_final, strict=True):
        compare("state", ours[0], theirs)
    compare("dx", dx, tx.grad)
    compare("dmemory", dmemory, tm.grad)
    for ours, theirs in zip(as_tuple(dstate), tstate, strict=True):
        compare("dstate", ours, theirs.grad)
    for name, parameter in loop.p.items():
        compare(name, decoder.parameters.grads[name], parameter.grad)
