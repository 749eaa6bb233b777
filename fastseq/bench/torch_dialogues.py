"""HRED in PyTorch, plain and flat; see ``dialogues.py``.

One layer of everything, the encoder in both directions.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LAYERS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
IGNORED = -1


def their_name(name):
    """PyTorch's name of one of our parameters."""
    return name.replace("decoder.layers.", "decoder.").replace("bridge.linear.", "bridge.")


class TorchHRED(nn.Module):
    """What the twins share: the parts of a network of ours, with its weights."""

    def __init__(self, network, cell, threads):
        super().__init__()
        torch.set_num_threads(threads)
        layer = LAYERS[cell]
        words, size = network.n_target, network.embedding.embedding_dim
        hidden, context = network.encoder.hidden_size, network.context.hidden_size
        self.embedding = nn.Embedding(words, size)
        self.encoder = layer(size, hidden, bidirectional=True)
        self.context = layer(2 * hidden, context)
        self.bridge = nn.Linear(context, hidden * (2 if cell == "lstm" else 1))
        self.decoder = layer(size + context, hidden)
        self.linear = nn.Linear(hidden, words)
        self.to(torch.float64 if network.dtype == np.float64 else torch.float32)
        self.names = {name: their_name(name) for name in network.parameters}
        values = network.state_dict()
        self.load_state_dict({self.names[n]: torch.from_numpy(a) for n, a in values.items()})

    def update_with(self, batch, lr, max_norm):
        """A function that takes an update with the batch, whose tensors are made ready here."""
        ready, adam = self.make_ready(batch), torch.optim.Adam(self.parameters(), lr=lr)

        def update():
            loss = self(ready)
            adam.zero_grad()
            loss.backward()
            clip_grad_norm_(self.parameters(), max_norm)
            adam.step()
            return loss.item()

        return update

    def loss_and_grads(self, batch):
        """The loss and all gradients, by our names."""
        self.zero_grad()
        loss = self(self.make_ready(batch))
        loss.backward()
        theirs = {name: parameter.grad.numpy() for name, parameter in self.named_parameters()}
        return {"loss": loss.detach().numpy()} | {n: theirs[self.names[n]] for n in self.names}

    def first_state(self, context):
        """The decoder's first state by the context's (B, C)."""
        h = self.bridge(context)
        if isinstance(self.decoder, nn.LSTM):
            h, c = h.chunk(2, dim=1)
            return torch.tanh(h)[None], c[None].contiguous()
        return torch.tanh(h)[None]

    def read(self, ids, lengths):
        """What the encoder has come to, (B, 2 H)."""
        packed = pack_padded_sequence(self.embedding(ids), lengths, enforce_sorted=False)
        _, state = self.encoder(packed)
        h = state[0] if isinstance(state, tuple) else state
        return torch.cat([h[0], h[1]], dim=1)

    def write(self, inputs, targets, context):
        """The summed loss of answers (T, B) to contexts (B, C)."""
        beside = context.expand(len(inputs), -1, -1)
        x = torch.cat([self.embedding(inputs), beside], dim=2)
        y, _ = self.decoder(x, self.first_state(context))
        real = targets != IGNORED  # logits of padding would be a third of them
        return cross_entropy(self.linear(y[real]), targets[real], reduction="sum")


class PlainHRED(TorchHRED):
    """A turn at a time."""

    @staticmethod
    def make_ready(batch):
        """For each turn what is heard, its lengths, what the decoder reads, what it writes."""
        inputs, targets = _answers(batch)
        running = (batch.turn_lengths > np.arange(len(batch.turns))[:, None]).sum(axis=1)
        turns, done = [], 0
        for heard, rows in zip(batch.turns, running, strict=True):
            heard, own = heard[:rows], slice(done, done + rows)
            lengths = torch.from_numpy(batch.lengths[heard])
            words = torch.from_numpy(batch.utterances[: lengths.max(), heard])
            steps = int((targets[:, own] != IGNORED).sum(axis=0).max())
            answers = inputs[:steps, own], targets[:steps, own]
            turns.append((words, lengths, *map(torch.from_numpy, map(np.copy, answers))))
            done += rows
        return turns

    def forward(self, turns):
        loss = count = 0
        state = None
        for words, lengths, inputs, targets in turns:
            utterance = self.read(words, lengths)
            state = _first_rows(state, len(utterance))
            context, state = self.context(utterance[None], state)
            loss = loss + self.write(inputs, targets, context[0])
            count += int((targets != IGNORED).sum())
        return loss / count


class FlatHRED(TorchHRED):
    """All turns at once."""

    @staticmethod
    def make_ready(batch):
        """Everything that there is, as tensors."""
        inputs, targets = _answers(batch)
        arrays = (batch.utterances, batch.lengths, batch.turns, batch.turn_lengths, batch.places)
        return [torch.from_numpy(np.copy(array)) for array in (*arrays, inputs, targets)]

    def forward(self, ready):
        words, lengths, turns, turn_lengths, places, inputs, targets = ready
        utterances = self.read(words, lengths)
        contexts, _ = self.context(pack_padded_sequence(utterances[turns], turn_lengths))
        contexts, _ = pad_packed_sequence(contexts)
        loss = self.write(inputs, targets, contexts.flatten(0, 1)[places])
        return loss / int((targets != IGNORED).sum())


def _answers(batch):
    """What the decoder reads (T, A), and what it is to write, padding to be ignored."""
    targets = batch.targets[1:]
    if batch.mask is not None:
        targets = np.where(batch.mask[1:], targets, IGNORED)
    return batch.targets[:-1], targets


def _first_rows(state, rows):
    """The state of the dialogues that go on, which come first."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(part[:, :rows].contiguous() for part in state)
    return state[:, :rows].contiguous()
