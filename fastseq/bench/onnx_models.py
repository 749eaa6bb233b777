"""One recurrent layer as an ONNX graph, with the problem's weights inside.

ONNX orders gates differently from PyTorch: LSTM i, o, f, c; GRU z, r, h.
"""

import numpy as np

_GATE_ORDER = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
_OPERATOR = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
STATES_IN = ("initial_h", "initial_c")
STATES_OUT = ("y_h", "y_c")


def _reordered(cell, weight):
    gates = np.split(weight, len(_GATE_ORDER[cell]))
    return np.concatenate([gates[i] for i in _GATE_ORDER[cell]])[None]


def layer_model(problem, steps=None):
    """Serialized model with inputs x and initial states, outputs y (T, 1, B, H) and states.

    Parameters
    ----------
    problem : Problem
        Float32 and dense.
    steps : int, optional
        Another T than the problem's: 1 for a stream.
    """
    from onnx import TensorProto, helper, numpy_helper

    cell, weights = problem.cell, problem.weights
    batch, inputs = problem.x.shape[1:]
    steps = steps or len(problem.x)
    bias = [_reordered(cell, weights[f"bias_{side}_l0"]) for side in ("ih", "hh")]
    constants = {
        "w": _reordered(cell, weights["weight_ih_l0"]),
        "r": _reordered(cell, weights["weight_hh_l0"]),
        "b": np.concatenate(bias, axis=1),
    }
    states = len(problem.state)
    options = {"linear_before_reset": 1} if cell == "gru" else {}
    node = helper.make_node(
        _OPERATOR[cell],
        ["x", "w", "r", "b", "", *STATES_IN[:states]],
        ["y", *STATES_OUT[:states]],
        hidden_size=problem.hidden,
        **options,
    )

    def value(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    state_shape = (1, batch, problem.hidden)
    graph = helper.make_graph(
        [node],
        f"{cell}_layer",
        [value("x", steps, batch, inputs)] + [value(n, *state_shape) for n in STATES_IN[:states]],
        [value("y", steps, 1, batch, problem.hidden)]
        + [value(n, *state_shape) for n in STATES_OUT[:states]],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    # Opset 14 and IR 8 are old enough for every runtime of the last years.
    opset = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
