"""Single steps from Python: batch 1, state carried from call to call, weights bound once.

Each function takes a problem with T = 1 and a number of threads, and returns ``(call, state)``:
``call()`` makes one step on ``problem.x[0]``, ``state()`` gives the hidden state (B, H) after
the last one.
"""

import numpy as np

from fastseq.bench.onnx_models import STATES_IN, STATES_OUT, layer_model
from fastseq.bench.peers import CLASS_NAMES, PARAMETERS, Fastseq, OnnxRuntime


def fastseq_stream(problem, threads):
    """``layer.stream().step(x)``."""
    stream = Fastseq.layer(problem, threads).stream(batch_size=problem.x.shape[1])
    step, x, last = stream.step, problem.x[0], {}

    def call():
        last["h"] = step(x)

    return call, lambda: last["h"].copy()


def torch_cell(problem, threads):
    """``torch.nn.LSTMCell`` and its like in inference mode."""
    import torch

    torch.set_num_threads(threads)
    cell = getattr(torch.nn, CLASS_NAMES[problem.cell] + "Cell")
    module = cell(problem.x.shape[2], problem.hidden)
    names = (name.removesuffix("_l0") for name in PARAMETERS)
    values = (torch.from_numpy(problem.weights[name]) for name in PARAMETERS)
    module.load_state_dict(dict(zip(names, values, strict=True)))
    x, last = torch.from_numpy(problem.x[0]), {"state": None}

    @torch.inference_mode()
    def call():
        last["state"] = module(x, last["state"])

    def state():
        h = last["state"][0] if problem.cell == "lstm" else last["state"]
        return h.numpy().copy()

    return call, state


def onnxruntime_bound(problem, threads):
    """ONNX Runtime with all buffers bound; two bindings swap the states, so nothing is copied.

    The input stays in the bound buffer: a real stream would also have to copy it there.
    """
    session = OnnxRuntime.session(layer_model(problem, steps=1), threads)
    x = problem.x
    buffers = [[np.zeros_like(part) for part in problem.state] for _ in range(2)]

    def pointer(name, array):
        return name, "cpu", 0, np.float32, array.shape, array.ctypes.data

    def bind(source, target):
        binding = session.io_binding()
        binding.bind_input(*pointer("x", x))
        for name_in, name_out, old, new in zip(STATES_IN, STATES_OUT, source, target, strict=False):
            binding.bind_input(*pointer(name_in, old))
            binding.bind_output(*pointer(name_out, new))
        return binding

    bindings = bind(*buffers), bind(*reversed(buffers))
    turn = 0

    def call(_alive=(x, buffers)):  # the bindings know addresses only
        nonlocal turn
        session.run_with_iobinding(bindings[turn])
        turn ^= 1

    return call, lambda: buffers[turn][0][0].copy()


STREAMS = {"fastseq": fastseq_stream, "torch": torch_cell, "onnxruntime": onnxruntime_bound}
