"""An update of all parameters: fastseq's pass over memory beside PyTorch's fused kernels."""

import numpy as np

import fastseq as fs

from .common import require

# sizes of an LSTM: 33 thousand parameters, in cache; 2 million, and 8 million, beyond it
HIDDEN = [64, 512, 1024]
OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 1e-3}),
    "momentum": ("SGD", {"lr": 1e-3, "momentum": 0.9}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "adagrad": ("Adagrad", {}),
}


def prepare_fastseq(hidden, name):
    kind, options = OPTIMIZERS[name]
    parameters = fs.LSTM(hidden, hidden, seed=0).parameters
    parameters.flat_grad[:] = np.random.default_rng(0).standard_normal(parameters.flat.size)
    return getattr(fs, kind)(parameters, **options)


def prepare_torch(hidden, name):
    torch = require("torch")
    torch.set_num_threads(fs.get_num_threads())
    kind, options = OPTIMIZERS[name]
    layer = torch.nn.LSTM(hidden, hidden)
    for parameter in layer.parameters():
        parameter.grad = torch.randn_like(parameter)
    return getattr(torch.optim, kind)(layer.parameters(), **options, fused=True)


class Updates:
    params = (HIDDEN, list(OPTIMIZERS), ["fastseq", "torch"])
    param_names = ("hidden", "optimizer", "competitor")

    def setup(self, hidden, optimizer, competitor):
        prepare = prepare_fastseq if competitor == "fastseq" else prepare_torch
        self.optimizer = prepare(hidden, optimizer)
        self.optimizer.step()

    def time_step(self, hidden, optimizer, competitor):
        self.optimizer.step()


class Clipping:
    params = HIDDEN
    param_names = ("hidden",)

    def setup(self, hidden):
        self.optimizer = prepare_fastseq(hidden, "adam")
        self.optimizer.step()
        self.max_norm = 100.0

    def time_within_the_step(self, hidden):
        self.optimizer.step(max_norm=1.0)

    def time_before_the_step(self, hidden):
        self.max_norm *= 0.9999  # or there would be nothing left to clip
        fs.clip_grad_norm(self.optimizer.parameters, self.max_norm)
        self.optimizer.step()
