"""Language models train as their twins in PyTorch do."""

import numpy as np
import pytest

import fastseq as fs
from fastseq.models.language_network import LanguageNetwork

torch = pytest.importorskip("torch")
functional = torch.nn.functional

CASES = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "deep": {"num_layers": 2},
    "tied": {"tie_weights": True},
    "adaptive": {"softmax": "adaptive", "cutoffs": [5, 20]},
}
SIZE, TOKENS = 16, 40


class Twin(torch.nn.Module):
    def __init__(self, network, cell="lstm", num_layers=1, tie_weights=False, softmax="full", **_):
        super().__init__()
        self.embedding = torch.nn.Embedding(TOKENS, SIZE)
        self.layers = getattr(torch.nn, cell.upper())(SIZE, SIZE, num_layers)
        if softmax == "adaptive":
            self.softmax = torch.nn.AdaptiveLogSoftmaxWithLoss(SIZE, TOKENS, [5, 20])
        else:
            self.linear = torch.nn.Linear(SIZE, TOKENS)
        values = {name: torch.from_numpy(a) for name, a in network.state_dict().items()}
        if tie_weights:
            self.linear.weight = self.embedding.weight
            values["linear.weight"] = values["embedding.weight"]
        self.load_state_dict(values)

    def forward(self, batch, state):
        y, state = self.layers(self.embedding(torch.from_numpy(batch.x)), state)
        targets = torch.from_numpy(batch.targets).flatten()
        if hasattr(self, "softmax"):
            return self.softmax(y.flatten(0, 1), targets).loss, state
        return functional.cross_entropy(self.linear(y).flatten(0, 1), targets), state


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", CASES)
def test_losses_of_many_updates(name, optimizer):
    network = LanguageNetwork(TOKENS, SIZE, SIZE, dtype=np.float64, seed=0, **CASES[name])
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        twin = Twin(network, **CASES[name])
    finally:
        torch.set_default_dtype(before)
    if optimizer == "adam":
        ours = fs.Adam(network.parameters, 0.01)
        theirs = torch.optim.Adam(twin.parameters(), 0.01)
    else:
        ours = fs.SGD(network.parameters, 0.5, momentum=0.5)
        theirs = torch.optim.SGD(twin.parameters(), 0.5, momentum=0.5)
    stream = np.random.default_rng(0).integers(TOKENS, size=1601)  # windows are whole
    state = None
    for batch in fs.BPTTWindows(stream, 4, 10):
        ours.zero_grad()
        loss = network.loss_and_grad(batch)
        norm = ours.step(max_norm=0.3)

        expected, state = twin(batch, state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        theirs.zero_grad()
        expected.backward()
        expected_norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
        theirs.step()
        assert loss == pytest.approx(expected.item(), rel=1e-10)
        assert norm == pytest.approx(expected_norm.item(), rel=1e-8)
    for parameter, array in zip(twin.parameters(), network.parameters.values(), strict=True):
        np.testing.assert_allclose(array, parameter.detach().numpy(), rtol=1e-7, atol=1e-9)
