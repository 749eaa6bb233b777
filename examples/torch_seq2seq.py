"""The sequence-to-sequence network in PyTorch: the same parts, trained the same way.

One layer each, LSTM; Luong's general attention without input feeding, or none: then the decoder
needs no loop over steps in Python, and PyTorch is as fast as it can be.
"""

import copy
import time

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fastseq as fs

# what the parameters are called here
NAMES = {
    "decoder.bottom.weight_key": "key.weight",
    "decoder.bottom.weight_output": "combine.weight",
    "decoder.bottom.bias_output": "combine.bias",
    "decoder.bottom.": "cell.{}_l0",
    "decoder.layers.": "cell.{}",
}


def their_name(name):
    """PyTorch's name of one of our parameters."""
    if name in NAMES:
        return NAMES[name]
    for prefix in ("decoder.bottom.", "decoder.layers."):
        if name.startswith(prefix):
            return NAMES[prefix].format(name.removeprefix(prefix))
    return name


class SameDropout(nn.Module):
    """Dropout that draws the random numbers that a layer of ours will draw."""

    def __init__(self, ours):
        super().__init__()
        self._ours = copy.deepcopy(ours)

    def forward(self, x):
        if not self.training:
            return x
        factors, _ = self._ours.forward(np.ones_like(x.detach().numpy()))
        return x * torch.from_numpy(factors)


class TorchSeq2Seq(nn.Module):
    """What ``Seq2SeqNetwork`` is, with its initial weights and its dropout.

    Parameters
    ----------
    network : Seq2SeqNetwork
    settings : dict
        Those of the estimator.
    """

    def __init__(self, network, settings):
        super().__init__()
        size, hidden = settings["embedding_dim"], settings["hidden_size"]
        self.settings, self.has_attention = settings, settings["attention"] is not None
        self.source = nn.Embedding(network.source.num_embeddings, size)
        self.target = nn.Embedding(network.target.num_embeddings, size)
        self.encoder = nn.LSTM(size, hidden, bidirectional=True)
        self.bridge = nn.ModuleDict({k: nn.Linear(2 * hidden, hidden) for k in ("h_l0", "c_l0")})
        self.cell = nn.LSTM(size, hidden)
        if self.has_attention:
            self.key = nn.Linear(2 * hidden, hidden, bias=False)
            self.combine = nn.Linear(3 * hidden, hidden)
        self.linear = nn.Linear(hidden, network.n_target)
        self.dropout = SameDropout(network.dropout)
        self.dropout_out = SameDropout(network.dropout_out)
        self.to(torch.float64 if network.dtype == np.float64 else torch.float32)
        values = network.state_dict().items()
        self.load_state_dict({their_name(name): torch.from_numpy(a) for name, a in values})

    def forward(self, batch):
        """Logits (N, V) of the targets that count, and those targets (N,)."""
        x = torch.from_numpy(batch.x)
        lengths = torch.from_numpy(batch.lengths)
        targets = torch.from_numpy(batch.targets)
        packed = pack_padded_sequence(self.dropout(self.source(x)), lengths, enforce_sorted=False)
        memory, (h, c) = self.encoder(packed)
        memory, _ = pad_packed_sequence(memory)
        h = torch.tanh(self.bridge["h_l0"](torch.cat([h[0], h[1]], dim=1)))
        c = self.bridge["c_l0"](torch.cat([c[0], c[1]], dim=1))
        y, _ = self.cell(self.dropout(self.target(targets[:-1])), (h[None], c[None]))
        if self.has_attention:
            y = self.attend(y, memory, torch.arange(len(memory)) >= lengths[:, None])
        y, targets = self.dropout_out(y), targets[1:]
        if batch.mask is not None:
            mask = torch.from_numpy(batch.mask[1:])
            y, targets = y[mask], targets[mask]
        return self.linear(y.reshape(-1, y.shape[-1])), targets.reshape(-1)

    def attend(self, h, memory, padding):
        keys, values = self.key(memory).transpose(0, 1), memory.transpose(0, 1)
        scores = h.transpose(0, 1) @ keys.transpose(1, 2)
        weights = torch.softmax(scores.masked_fill(padding[:, None], -torch.inf), dim=2)
        context = (weights @ values).transpose(0, 1)
        return torch.tanh(self.combine(torch.cat([context, h], dim=2)))

    def state_for(self, network):
        """The parameters by the names that they have in our network."""
        theirs = self.state_dict()
        return {name: theirs[their_name(name)].numpy() for name in network.parameters}


def train(twin, batches, lrs, validation=None):
    """Train with these learning rates, one for each update; keep the epoch that validates best.

    Returns the losses, the best loss of the validation or None, and seconds.
    """
    settings, losses, best = twin.settings, [], (np.inf, None)
    adam = torch.optim.Adam(twin.parameters())
    begin = time.perf_counter()
    while len(losses) < len(lrs):
        twin.train()
        for batch in batches:
            if len(losses) == len(lrs):
                break
            adam.param_groups[0]["lr"] = lrs[len(losses)]
            loss = cross_entropy(*twin(batch), label_smoothing=settings["label_smoothing"])
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(twin.parameters(), settings["max_norm"])
            adam.step()
            losses.append(loss.item())
        if validation is not None:
            value = validate(twin, validation)
            if value < best[0]:
                best = value, {name: p.clone() for name, p in twin.state_dict().items()}
    if best[1] is not None:
        twin.load_state_dict(best[1])
    return losses, best[0], time.perf_counter() - begin


def validate(twin, batches):
    """The mean loss of a token."""
    twin.eval()
    total = count = 0
    with torch.no_grad():
        for batch in batches:
            logits, targets = twin(batch)
            total += cross_entropy(logits, targets, reduction="sum").item()
            count += len(targets)
    return total / count


def use_threads_of_fastseq():
    torch.set_num_threads(fs.get_num_threads())
