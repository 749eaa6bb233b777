"""Scaled dot-product attention: our own and PyTorch's, on the same heads.

Each function takes heads and a number of threads, and returns ``(call, arrays)`` as a peer does.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Heads:
    """Queries, keys and values (B, heads, T, F), and the output's gradient."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    dy: np.ndarray
    causal: bool

    @property
    def dtype(self):
        return self.dy.dtype

    @property
    def inputs(self):
        return self.query, self.key, self.value


def make_heads(shape, *, causal=False, dtype=np.float32, seed=0):
    """Random heads of (B, heads, T, F)."""
    random = np.random.default_rng(seed)
    return Heads(*(random.standard_normal(shape, dtype=np.dtype(dtype)) for _ in range(4)), causal)


def _named(y, gradients=()):
    return {"y": y} | dict(zip(("dquery", "dkey", "dvalue"), gradients, strict=False))


def fastseq_heads(heads, mode, threads):
    """``ScaledDotProductAttention``; the package is set to this many threads."""
    import fastseq

    fastseq.set_num_threads(threads)
    layer = fastseq.ScaledDotProductAttention(causal=heads.causal)

    def infer():
        return layer(*heads.inputs)

    def train():
        y, backprop = layer.forward(*heads.inputs)
        return y, backprop(heads.dy)

    if mode == "inference":
        return infer, _named
    return train, lambda result: _named(*result)


def torch_heads(heads, mode, threads):
    """``torch.nn.functional.scaled_dot_product_attention``."""
    import torch

    torch.set_num_threads(threads)
    function = torch.nn.functional.scaled_dot_product_attention
    training = mode == "training"
    inputs = [torch.from_numpy(array.copy()).requires_grad_(training) for array in heads.inputs]
    dy = torch.from_numpy(heads.dy)

    @torch.inference_mode()
    def infer():
        return function(*inputs, is_causal=heads.causal)

    def train():
        y = function(*inputs, is_causal=heads.causal)
        return y, torch.autograd.grad(y, inputs, dy)

    if mode == "inference":
        return infer, lambda y: _named(y.numpy())
    return train, lambda result: _named(result[0].detach().numpy(), [g.numpy() for g in result[1]])


LIBRARIES = {"fastseq": fastseq_heads, "torch": torch_heads}
