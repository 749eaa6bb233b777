"""One class per library that is compared: the same problem in, one call to time out.

``peer.inference(problem, threads)`` and ``peer.training(problem, threads)`` set everything up
and return ``(call, arrays)``: ``call()`` is what gets timed, ``arrays(call())`` gives its
results as a dict of NumPy arrays under common names (y, h_n, c_n, dx, dh0, dc0 and PyTorch's
parameter names), to check that everyone computes the same thing.  ``arrays`` is good for the
result of the first call: gradients may accumulate over further ones.

Training is forward and backward with gradients of weights, input and initial state.
"""

import importlib

import numpy as np

from fastseq.bench import tutorial
from fastseq.bench.onnx_models import STATES_IN, STATES_OUT, layer_model

PARAMETERS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
FINAL = ("h_n", "c_n")
INITIAL = ("dh0", "dc0")
CLASS_NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def named(names, arrays):
    """A dict; names beyond the arrays (c of a cell that has only h) are left out."""
    return dict(zip(names, arrays, strict=False))


class DifferentResults(ValueError):
    """A peer computes something else, so its times would mean nothing."""


class Peer:
    """What all peers share; a subclass that lacks a mode leaves the method out.

    Raises
    ------
    ImportError
        When the library is not installed.
    """

    name = ""
    packages = ()
    modes = ("inference", "training")
    dtypes = ("float32", "float64")
    ragged = False

    def __init__(self):
        self.modules = [importlib.import_module(name) for name in self.packages]

    @property
    def version(self):
        return f"{self.packages[0]} {self.modules[0].__version__.split('-')[0]}"

    def supports(self, problem, mode):
        """Whether this library can do it at all."""
        return (
            mode in self.modes
            and problem.dtype.name in self.dtypes
            and (self.ragged or problem.lengths is None)
        )

    def prepare(self, problem, mode, threads):
        """``(call, arrays)`` for a mode of ``shapes.MODES``."""
        return getattr(self, mode)(problem, threads)


class Fastseq(Peer):
    """This package through its public API; gradients accumulate and are never zeroed.

    Parameters
    ----------
    backend : str, optional
        Force a backend, to compare backends with each other.
    packed : bool
        Whether the weights are packed once, ahead of all calls.
    """

    name = "fastseq"
    packages = ("fastseq",)
    ragged = True

    def __init__(self, backend=None, *, packed=False):
        super().__init__()
        self.backend, self.packed = backend, packed
        if backend is not None:
            self.name = backend

    @staticmethod
    def layer(problem, threads):
        """A layer with the problem's weights; the package is set to this many threads."""
        import fastseq

        fastseq.set_num_threads(threads)
        cell = getattr(fastseq, CLASS_NAMES[problem.cell])
        layer = cell(problem.x.shape[2], problem.hidden, dtype=problem.dtype)
        layer.load_state_dict(problem.weights)
        return layer

    def _on_backend(self, call):
        if self.backend is None:
            return call
        import fastseq

        def switched():
            before = fastseq.get_backend()
            fastseq.set_backend(self.backend)
            try:
                return call()
            finally:
                fastseq.set_backend(before)

        return switched

    def inference(self, problem, threads):
        layer, x, state = self.layer(problem, threads), problem.x, problem.layer_state
        lengths = problem.lengths
        if self.packed:
            layer = layer.packed()

        def call():
            return layer(x, state, lengths)

        def arrays(result):
            y, final = result
            return {"y": y, **named(FINAL, as_tuple(final))}

        return self._on_backend(call), arrays

    def training(self, problem, threads):
        layer, x, state = self.layer(problem, threads), problem.x, problem.layer_state
        lengths, dy = problem.lengths, problem.dy

        def call():
            y, final, backprop = layer.forward(x, state, lengths)
            return y, final, *backprop(dy)

        def arrays(result):
            y, final, dx, dstate = result
            return {
                "y": y,
                "dx": dx,
                **named(FINAL, as_tuple(final)),
                **named(INITIAL, as_tuple(dstate)),
                **{name: layer.parameters.grads[name].copy() for name in PARAMETERS},
            }

        return self._on_backend(call), arrays


class Torch(Peer):
    """torch.nn layers; gradients are set to None before each call, as optimizers do."""

    name = "torch"
    packages = ("torch",)
    ragged = True

    def _module(self, problem, threads):
        import torch

        torch.set_num_threads(threads)
        dtype = getattr(torch, problem.dtype.name)
        cell = getattr(torch.nn, CLASS_NAMES[problem.cell])
        module = cell(problem.x.shape[2], problem.hidden, dtype=dtype)
        module.load_state_dict({k: torch.from_numpy(v) for k, v in problem.weights.items()})
        return module

    def _run(self, problem, module):
        """A function (x, state) -> (y, state), packing ragged batches as users must."""
        if problem.lengths is None:
            return module
        import torch
        from torch.nn.utils import rnn

        lengths = torch.from_numpy(problem.lengths)
        steps = len(problem.x)

        def run(x, state):
            packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            y, final = module(packed, state)
            return rnn.pad_packed_sequence(y, total_length=steps)[0], final

        return run

    def inference(self, problem, threads):
        import torch

        run = self._run(problem, self._module(problem, threads))
        x, state = torch.from_numpy(problem.x), self._state(problem)
        layer_state = state if problem.cell == "lstm" else state[0]

        @torch.inference_mode()
        def call():
            return run(x, layer_state)

        def arrays(result):
            y, final = result
            final = [part.numpy() for part in as_tuple(final)]
            return {"y": y.numpy(), **named(FINAL, final)}

        return call, arrays

    @staticmethod
    def _state(problem):
        import torch

        return tuple(torch.from_numpy(part) for part in problem.state)

    def training(self, problem, threads):
        import torch

        module = self._module(problem, threads)
        run = self._run(problem, module)
        dy = torch.from_numpy(problem.dy)
        # Leaves of their own: gradients of other runs must not meet.
        inputs = (torch.from_numpy(problem.x), *self._state(problem))
        x, *state = (part.clone().requires_grad_() for part in inputs)
        layer_state = tuple(state) if problem.cell == "lstm" else state[0]
        leaves = [x, *state, *module.parameters()]

        def call():
            for leaf in leaves:
                leaf.grad = None
            y, final = run(x, layer_state)
            y.backward(dy)
            return y, final

        def arrays(result):
            y, final = result
            final = [part.detach().numpy() for part in as_tuple(final)]
            parameters = {name: p.grad.numpy() for name, p in module.named_parameters()}
            return {
                "y": y.detach().numpy(),
                "dx": x.grad.numpy(),
                **named(FINAL, final),
                **named(INITIAL, [part.grad.numpy() for part in state]),
                **parameters,
            }

        return call, arrays


class OnnxRuntime(Peer):
    """The ONNX operator of the cell, without spinning threads between the calls."""

    name = "onnxruntime"
    packages = ("onnxruntime", "onnx")
    modes = ("inference",)
    dtypes = ("float32",)  # its recurrent operators have no float64 kernels

    @staticmethod
    def session(model, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Within a call threads spin as usual; after it they would disturb whoever comes next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def inference(self, problem, threads):
        session = self.session(layer_model(problem), threads)
        feeds = {"x": problem.x, **named(STATES_IN, problem.state)}

        def call():
            return session.run(None, feeds)

        def arrays(result):
            y, *final = result
            return {"y": y[:, 0], **named(FINAL, final)}

        return call, arrays


class OpenVino(Peer):
    """The same ONNX graph, compiled for latency, with input tensors that share our memory."""

    name = "openvino"
    packages = ("openvino", "onnx")
    modes = ("inference",)
    dtypes = ("float32",)

    def inference(self, problem, threads):
        import openvino

        core = openvino.Core()
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # or it may choose bfloat16 by itself
        }
        model = core.compile_model(core.read_model(layer_model(problem)), "CPU", config)
        request = model.create_infer_request()
        feeds = {"x": problem.x, **named(STATES_IN, problem.state)}
        for name, array in feeds.items():
            request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

        def arrays(_):
            outputs = [request.get_tensor(n).data for n in ("y", *STATES_OUT[: len(problem.state)])]
            y, *final = (output.copy() for output in outputs)
            return {"y": y[:, 0], **named(FINAL, final)}

        return request.infer, arrays


class Jax(Peer):
    """A jitted scan with the input projection outside of it and weights laid out for ``x @ w``.

    Its thread count follows from the process: see ``command.environment``.
    """

    name = "jax"
    packages = ("jax",)

    @staticmethod
    def _scan(problem):
        import jax
        import jax.numpy as jnp

        sigmoid, tanh, split = jax.nn.sigmoid, jnp.tanh, jnp.split

        def rnn(state, zx, w, b):
            return (tanh(zx + state[0] @ w + b),)

        def lstm(state, zx, w, b):
            h, c = state
            i, f, g, o = split(zx + h @ w + b, 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            return sigmoid(o) * tanh(c), c

        def gru(state, zx, w, b):
            (h,) = state
            (xr, xz, xn), (hr, hz, hn) = (split(zx, 3, axis=-1), split(h @ w + b, 3, axis=-1))
            r, z = sigmoid(xr + hr), sigmoid(xz + hz)
            n = tanh(xn + r * hn)
            return ((1 - z) * n + z * h,)

        cell = {"rnn": rnn, "lstm": lstm, "gru": gru}[problem.cell]

        def scan(weights, x, state):
            w_ih, w_hh, b_ih, b_hh = weights

            def step(state, zx):
                state = cell(state, zx, w_hh, b_hh)
                return state, state[0]

            state, y = jax.lax.scan(step, state, x @ w_ih + b_ih)
            return y, state

        return scan

    @staticmethod
    def _arguments(problem):
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", problem.dtype == np.float64)
        weights = [jnp.asarray(problem.weights[name].T.copy()) for name in PARAMETERS]
        state = tuple(jnp.asarray(part[0]) for part in problem.state)
        return weights, jnp.asarray(problem.x), state

    def inference(self, problem, threads):
        import jax

        arguments = self._arguments(problem)
        compiled = jax.jit(self._scan(problem)).lower(*arguments).compile()

        def call():
            return jax.block_until_ready(compiled(*arguments))

        def arrays(result):
            y, final = result
            final = [np.asarray(part)[None] for part in final]
            return {"y": np.asarray(y), **named(FINAL, final)}

        return call, arrays

    def training(self, problem, threads):
        import jax
        import jax.numpy as jnp

        scan, arguments = self._scan(problem), self._arguments(problem)
        dy = jnp.asarray(problem.dy)

        def loss(weights, x, state):
            return jnp.vdot(scan(weights, x, state)[0], dy)

        gradient = jax.value_and_grad(loss, argnums=(0, 1, 2))
        compiled = jax.jit(gradient).lower(*arguments).compile()

        def call():
            return jax.block_until_ready(compiled(*arguments))

        def arrays(result):
            _, (weights, dx, dstate) = result
            dstate = [np.asarray(part)[None] for part in dstate]
            weights = [np.asarray(part).T for part in weights]
            return {"dx": np.asarray(dx), **named(INITIAL, dstate), **named(PARAMETERS, weights)}

        return call, arrays


class Numpy(Peer):
    """The tutorial's loop; its products use as many threads as NumPy's BLAS was started with."""

    name = "numpy"
    packages = ("numpy",)

    @staticmethod
    def _arguments(problem):
        weights = [problem.weights[name] for name in PARAMETERS]
        return (problem.cell, problem.x, tuple(part[0] for part in problem.state), weights)

    def inference(self, problem, threads):
        cell, x, state, weights = self._arguments(problem)

        def call():
            return tutorial.forward(cell, x, state, weights)[:2]

        def arrays(result):
            y, final = result
            return {"y": y, **named(FINAL, [part[None] for part in final])}

        return call, arrays

    def training(self, problem, threads):
        cell, x, state, weights = self._arguments(problem)

        def call():
            y, final, saved = tutorial.forward(cell, x, state, weights)
            return y, final, *tutorial.backward(cell, problem.dy, saved, weights)

        def arrays(result):
            y, final, dx, dstate, grads = result
            return {
                "y": y,
                "dx": dx,
                **named(FINAL, [part[None] for part in final]),
                **named(INITIAL, [part[None] for part in dstate]),
                **named(PARAMETERS, grads),
            }

        return call, arrays


PEERS = {peer.name: peer for peer in (Torch, OnnxRuntime, OpenVino, Jax, Numpy)}


def load_peers(names="auto"):
    """The peers that are installed.

    Parameters
    ----------
    names : "auto" or sequence of str
        "auto" stands for all of ``PEERS``.

    Returns
    -------
    peers : list of Peer
    missing : dict
        Name -> why it was skipped.
    """
    names = list(PEERS) if names == "auto" else list(names)
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise ValueError(
            f"peers: expected 'auto' or names out of {', '.join(PEERS)}, got {', '.join(unknown)}"
        )
    peers, missing = [], {}
    for name in names:
        try:
            peers.append(PEERS[name]())
        except ImportError as error:
            missing[name] = str(error)
    return peers, missing


def check_equal(name, got, expected, dtype):
    """Compare two dicts of arrays under the names they share.

    Differences are measured against the largest expected value of each array: 2e-4 in
    float32, where 1000 steps in another order add up, and 1e-9 in float64.

    Raises
    ------
    DifferentResults
        Naming the peer, the array and the difference.
    """
    tolerance = 2e-4 if np.dtype(dtype) == np.float32 else 1e-9
    shared = [key for key in expected if key in got]
    if not shared:
        raise DifferentResults(f"{name}: no result in common; got {list(got)}")
    for key in shared:
        if got[key].shape != expected[key].shape:
            raise DifferentResults(f"{name}: {key} is {got[key].shape}, not {expected[key].shape}")
        scale = max(np.abs(expected[key]).max(initial=0), np.finfo(dtype).tiny)
        difference = np.abs(got[key] - expected[key]).max(initial=0) / scale
        if not difference <= tolerance:  # also catches NaN
            raise DifferentResults(
                f"{name}: {key} differs by {difference:.1e} of its largest value, "
                f"more than {tolerance:.0e}"
            )


def prepare_all(peers, problem, mode, threads):
    """``{name: call}`` of all peers that can do it, checked against the first one's results."""
    calls, expected = {}, None
    for peer in peers:
        if not peer.supports(problem, mode):
            continue
        call, arrays = peer.prepare(problem, mode, threads)
        results = arrays(call())
        if expected is None:
            expected = results
        check_equal(peer.name, results, expected, problem.dtype)
        calls[peer.name] = call
    return calls
