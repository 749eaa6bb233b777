"""Decoders with attention: ours against a loop over steps in PyTorch.

The loop is what one writes there: keys are projected once, each step calls a fused cell, and what
does not depend on other steps waits until after the loop.  Without feeding there is no loop: the
layer runs as a whole, then come batched products.

T target steps and as many source positions, B rows, H of everything: input, hidden, memory and
attention size.
"""

import numpy as np

from fastseq.bench.peers import check_equal

KINDS = {
    "additive": {"score": "additive"},
    "general fed": {"score": "general"},
    "general unfed": {"score": "general", "input_feeding": False},
}
SHAPES = ((20, 32, 256), (20, 8, 128), (20, 1, 128))
QUICK_SHAPES = ((4, 2, 16),)
CLASS_NAMES = {"lstm": "AttentionLSTM", "gru": "AttentionGRU"}


def make_decoder(cell, kind, shape, dtype, threads):
    """Our decoder, and x, memory and dy."""
    import fastseq

    fastseq.set_num_threads(threads)
    steps, rows, size = shape
    decoder = getattr(fastseq, CLASS_NAMES[cell])(
        size, size, size, **KINDS[kind], dtype=dtype, seed=0
    )
    random = np.random.default_rng(0)
    return decoder, *(random.standard_normal((steps, rows, size)).astype(dtype) for _ in range(3))


def prepare(cell, kind, mode, shape, dtype="float32", threads=1, *, torch=True):
    """Competitor -> call, after a check that all of them compute the same."""
    decoder, x, memory, dy = make_decoder(cell, kind, shape, dtype, threads)

    def inference():
        return decoder(x, memory)

    def training():
        y, _, _, backprop = decoder.forward(x, memory)
        return y, *backprop(dy)[:2]

    calls = {"fastseq": inference if mode == "inference" else training}
    if torch:
        loop = TorchLoop(decoder, cell, kind, x, memory, dy, threads)
        calls["torch"] = getattr(loop, mode)
        decoder.parameters.zero_grad()
        ours = dict(zip(("y", "dx", "dmemory"), training(), strict=True))
        theirs = dict(zip(("y", "dx", "dmemory"), loop.training(), strict=True))
        gradients = {name: parameter.grad for name, parameter in loop.parameters.items()}
        for name, gradient in (theirs | gradients).items():
            mine = ours.get(name, decoder.parameters.grads.get(name))
            theirs = {name: gradient.detach().numpy()}
            check_equal("torch", theirs, {name: mine}, np.dtype(dtype))
    return calls


class TorchLoop:
    """The same decoder in PyTorch."""

    def __init__(self, decoder, cell, kind, x, memory, dy, threads):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.settings = torch, KINDS[kind]
        self.parameters = {
            name: torch.from_numpy(array.copy()).requires_grad_()
            for name, array in decoder.parameters.items()
        }
        self.x, self.memory = (torch.from_numpy(a.copy()).requires_grad_() for a in (x, memory))
        self.dy, self.hidden = torch.from_numpy(dy), decoder.hidden_size
        self.step = torch.lstm_cell if cell == "lstm" else torch.gru_cell
        self.lstm = cell == "lstm"

    def inference(self):
        with self.torch.inference_mode():
            return self.forward()

    def training(self):
        for leaf in (self.x, self.memory, *self.parameters.values()):
            leaf.grad = None
        y = self.forward()
        y.backward(self.dy)
        return y, self.x.grad, self.memory.grad

    def forward(self):
        if not self.settings.get("input_feeding", True):
            return self.at_once()
        values = self.memory.transpose(0, 1).contiguous()  # (B, S, E)
        keys = self.keys(values)
        return self.asked_before(keys, values) if self.additive else self.asked_after(keys, values)

    @property
    def additive(self):
        return self.settings["score"] == "additive"

    def keys(self, values):
        p = self.parameters
        return self.torch.nn.functional.linear(values, p["weight_key"], p.get("bias_key"))

    def advance(self, x, state):
        new = self.step(x, state, *self.cell)
        return new, new[0] if self.lstm else new

    def start(self):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self.cell = [self.parameters[name] for name in names]
        h = self.x.new_zeros(self.x.shape[1], self.hidden)
        return h, (h, self.torch.zeros_like(h)) if self.lstm else h

    def asked_before(self, keys, values):
        torch, p = self.torch, self.parameters
        h, state = self.start()
        attended = []
        for x in self.x:
            query = torch.nn.functional.linear(h, p["weight_query"])
            scores = torch.tanh(query[:, None] + keys) @ p["weight_score"]
            weights = torch.softmax(scores, dim=1)
            context = torch.bmm(weights[:, None], values)[:, 0]
            state, h = self.advance(torch.cat([x, context], dim=1), state)
            attended.append(torch.cat([context, h], dim=1))
        return self.output(torch.stack(attended))

    def asked_after(self, keys, values):
        torch = self.torch
        h, state = self.start()
        y, outputs = h, []
        for x in self.x:
            state, h = self.advance(torch.cat([x, y], dim=1), state)
            weights = torch.softmax(torch.bmm(keys, h[:, :, None])[:, :, 0], dim=1)
            context = torch.bmm(weights[:, None], values)[:, 0]
            y = self.output(torch.cat([context, h], dim=1))
            outputs.append(y)
        return torch.stack(outputs)

    def output(self, attended):
        p, linear = self.parameters, self.torch.nn.functional.linear
        return self.torch.tanh(linear(attended, p["weight_output"], p["bias_output"]))

    def at_once(self):
        torch = self.torch
        h, _ = self.start()
        zeros = h[None]
        options = (True, 1, 0.0, False, False, False)  # biases, layers, dropout, ...
        if self.lstm:
            y, *_ = torch.lstm(self.x, (zeros, zeros), self.cell, *options)
        else:
            y, _ = torch.gru(self.x, zeros, self.cell, *options)
        values, y = self.memory.transpose(0, 1), y.transpose(0, 1)
        weights = torch.softmax(torch.bmm(y, self.keys(values).transpose(1, 2)), dim=2)
        return self.output(torch.cat([torch.bmm(weights, values), y], dim=2)).transpose(0, 1)
