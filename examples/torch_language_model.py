"""The language model's network in PyTorch: the same parts and weights, trained the same way."""

import torch
from torch import nn
from torch.nn import functional

import fastseq as fs

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


class TorchLanguageModel(nn.Module):
    """What ``LanguageNetwork`` without dropout is, with its weights."""

    def __init__(self, network, settings):
        super().__init__()
        sizes = settings["embedding_dim"], settings["hidden_size"], settings["num_layers"]
        self.embedding = nn.Embedding(network.n_tokens, settings["embedding_dim"])
        self.layers = LAYERS[settings["cell"]](*sizes)
        self.linear = nn.Linear(settings["hidden_size"], network.n_tokens)
        values = {k: torch.from_numpy(v) for k, v in network.state_dict().items()}
        if settings["tie_weights"]:
            self.linear.weight = self.embedding.weight
            values["linear.weight"] = values["embedding.weight"]
        self.load_state_dict(values)

    def forward(self, x, state):
        y, state = self.layers(self.embedding(x), state)
        return self.linear(y), state


class Run:
    """A training run that can be interrupted after any batch."""

    def __init__(self, network, settings):
        self.model = TorchLanguageModel(network, settings)
        optimizer = OPTIMIZERS[settings["optimizer"]]
        self.optimizer = optimizer(self.model.parameters(), lr=settings["lr"])
        self.max_norm, self.state = settings["max_norm"], None
        self.clip = nn.utils.clip_grad_norm_

    def train(self, batches):
        """The loss of each batch."""
        return [self.update(batch) for batch in batches]

    def update(self, batch):
        state = self.state if batch.carried else None
        if state is not None:
            is_pair = isinstance(state, tuple)
            state = tuple(s.detach() for s in state) if is_pair else state.detach()
        self.optimizer.zero_grad()
        logits, self.state = self.model(torch.from_numpy(batch.x), state)
        targets = torch.from_numpy(batch.targets).flatten()
        loss = functional.cross_entropy(logits.flatten(0, 1), targets)
        loss.backward()
        self.clip(self.model.parameters(), self.max_norm)
        self.optimizer.step()
        return loss.item()


def clip_exactly(parameters, max_norm):
    """Clip the joint norm, summed in float64.

    PyTorch's own function sums squares in float32: with the 6.7 million of a table of words it is
    off by 2e-4, and losses differ in the fourth digit soon.
    """
    grads = [parameter.grad for parameter in parameters]
    norm = sum(grad.double().square().sum().item() for grad in grads) ** 0.5
    for grad in grads:
        grad.mul_(min(1.0, max_norm / (norm + 1e-6)))


def set_threads(count):
    """As many for PyTorch as for fastseq."""
    torch.set_num_threads(count)
    fs.set_num_threads(count)
