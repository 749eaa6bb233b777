"""What the tests of models' networks share: gradients in the parameters, checked."""

import numpy as np
import pytest
from layer_cases import check_gradients


def same_noise(network, batch):
    """A function that trains on a batch, each time with the same numbers dropped and drawn."""
    state = network.random_state

    def value():
        network.random_state = state
        return network.loss_and_grad(batch)

    return value


def read_gradients(network, value):
    """The gradients that a value leaves in the network's parameters."""
    network.parameters.zero_grad()
    value()
    return network.parameters.flat_grad.copy()


def check_network(backend, network, value):
    """Compare the gradients of a value with central differences; most of them must not be 0."""
    flat, grads = network.parameters.flat, read_gradients(network, value)
    assert np.count_nonzero(grads) > grads.size / 2
    if backend == "cython":
        check_gradients(value, [flat], [grads])
        return
    rng, start = np.random.default_rng(0), flat.copy()
    for _ in range(5):  # all at once, in some directions: the others are slow
        direction = rng.standard_normal(flat.size)
        losses = []
        for step in (1e-5, -1e-5):
            flat[:] = start + step * direction
            losses.append(value())
        slope = (losses[0] - losses[1]) / 2e-5
        assert slope == pytest.approx(grads @ direction, rel=1e-6, abs=1e-7)
