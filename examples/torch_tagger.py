"""The tagger's network in PyTorch: the same parts under the same names, trained the same way."""

import time

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fastseq as fs


class TorchTagger(nn.Module):
    """What ``TaggerNetwork`` is, with its initial weights."""

    def __init__(self, network, settings):
        super().__init__()
        self.settings, sizes = settings, {k: v.shape for k, v in network.parameters.items()}
        self.embedding = nn.Embedding(*sizes["embedding.weight"])
        self.characters = nn.Embedding(*sizes["characters.weight"])
        width = settings["char_hidden_size"]
        self.speller = nn.LSTM(settings["char_embedding_dim"], width, bidirectional=True)
        width = settings["embedding_dim"] + 2 * width
        self.layers = nn.LSTM(width, settings["hidden_size"], bidirectional=True)
        self.linear = nn.Linear(*reversed(sizes["linear.weight"]))
        self.dropout = nn.Dropout(settings["dropout"])
        self.load_state_dict({k: torch.from_numpy(v) for k, v in network.state_dict().items()})

    def forward(self, batch, unknown_id):
        words, places = torch.from_numpy(batch.words), torch.from_numpy(batch.places)
        if self.training:
            unknown = torch.rand(words.shape) < self.settings["word_dropout"]
            words = words.masked_fill(unknown, unknown_id)
        x = torch.cat([self.embedding(words), self.spell(batch)[places]], dim=2)
        y, _ = self.run(self.layers, self.dropout(x), batch.lengths)
        return self.linear(self.dropout(y))

    def spell(self, batch):
        """The final states of each different word's characters."""
        # packed sequences can't be empty, but only what fills batches up has no characters
        lengths = np.maximum(batch.character_lengths, 1)
        vectors = self.characters(torch.from_numpy(batch.characters))
        _, (h, _) = self.run(self.speller, vectors, lengths)
        spelled = h.transpose(0, 1).reshape(len(lengths), -1)
        return spelled * torch.from_numpy(batch.character_lengths > 0)[:, None]

    def run(self, layer, x, lengths):
        packed = pack_padded_sequence(x, torch.from_numpy(lengths), enforce_sorted=False)
        y, state = layer(packed)
        return pad_packed_sequence(y, total_length=len(x))[0], state


def train(model, batches, epochs, lr, max_norm, unknown_id):
    """Train as the estimator does; the loss of each update, and the seconds it took."""
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    losses, begin = [], time.perf_counter()
    model.train()
    for _ in range(epochs):
        for batch in batches:
            loss = loss_of(model, batch, unknown_id)
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            adam.step()
            losses.append(loss.item())
    return losses, time.perf_counter() - begin


def loss_of(model, batch, unknown_id):
    targets = torch.from_numpy(batch.targets)
    if batch.mask is not None:
        targets = targets.masked_fill(~torch.from_numpy(batch.mask), -100)
    return nn.functional.cross_entropy(model(batch, unknown_id).flatten(0, 1), targets.flatten())


@torch.no_grad()
def accuracy(model, batches, unknown_id):
    """The part of the words whose tag is right."""
    model.eval()
    right = total = 0
    for batch in batches:
        tags = model(batch, unknown_id).argmax(dim=2).numpy()
        inside = np.arange(len(tags))[:, None] < batch.lengths
        right += np.count_nonzero((tags == batch.targets) & inside)
        total += batch.tokens
    return right / total


def use_threads_of_fastseq():
    torch.set_num_threads(fs.get_num_threads())
