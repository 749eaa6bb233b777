"""The network of the tagger: words with their spelling, recurrent layers, tags.

T steps, B rows (sentences), U different words in a batch, C characters of the longest word, K
tags.  A word is spelled once in a batch, however often it comes.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.data.batching import Batch, pad
from fastseq.layers import Dropout, Embedding, Linear
from fastseq.losses.basic import CrossEntropyLoss
from fastseq.losses.crf import CRF
from fastseq.models import pooling
from fastseq.models.networks import check_outputs, make_layers, softmax
from fastseq.module import Module
from fastseq.parameters import Parameters


class TaggerBatch(NamedTuple):
    """What the network takes at a time."""

    words: np.ndarray  # (T, B), ids in the vocabulary of words
    places: np.ndarray  # (T, B), of each word among the different ones
    characters: np.ndarray | None  # (C, U), ids of the different words' characters
    character_lengths: np.ndarray | None  # (U,)
    lengths: np.ndarray  # (B,)
    targets: np.ndarray | None  # (T, B), numbers of tags
    mask: np.ndarray | None  # (T, B), where there is a word; None if everywhere
    rows: np.ndarray  # (B,), which sentences these are

    @property
    def tokens(self):
        """The number of words."""
        return int(self.lengths.sum())


class Spelling:
    """The different words of some sentences: their ids, and their characters.

    Parameters
    ----------
    sentences : list of lists of str
    words, characters : Vocabulary
        ``characters`` may be None.
    """

    def __init__(self, sentences, words, characters):
        different = list(dict.fromkeys(word for sentence in sentences for word in sentence))
        # number 0 is what fills batches up
        self._numbers = {word: number for number, word in enumerate(different, 1)}
        self._ids = np.append(words.padding_id, words.encode(different)).astype(np.int64)
        self._characters = None
        if characters is not None:
            self._characters = [np.empty(0, np.int64), *characters.encode_all(different)]

    @property
    def checksum(self):
        """A number that tells other words, or another order of them, from these."""
        return zlib.crc32("\0".join(self._numbers).encode("utf-8", "surrogatepass"))

    def encode(self, sentence):
        """The numbers of a sentence's words."""
        return np.fromiter(map(self._numbers.__getitem__, sentence), np.int64, len(sentence))

    def spell(self, batch: Batch) -> TaggerBatch:
        """A batch of such numbers as the network takes it."""
        words = self._ids[batch.x]
        # with what fills batches up, so that there is always something to spell
        different, places = np.unique(np.append(batch.x, 0), return_inverse=True)
        characters = lengths = None
        if self._characters is not None:
            characters, lengths = pad([self._characters[number] for number in different])
        places = places[:-1].reshape(batch.x.shape)
        rest = batch.lengths, batch.targets, batch.mask, batch.rows
        return TaggerBatch(words, places, characters, lengths, *rest)


class SpelledBatches:
    """Batches whose words are spelled when they are taken."""

    def __init__(self, batches, spelling):
        self._batches, self._spelling = batches, spelling

    def __len__(self):
        return len(self._batches)

    def __iter__(self):
        return map(self._spelling.spell, self._batches)

    def state_dict(self):
        # the batches have numbers alone, which are the same for other words
        return self._batches.state_dict() | {"words_checksum": self._spelling.checksum}

    def load_state_dict(self, state_dict):
        theirs, ours = state_dict.get("words_checksum"), self._spelling.checksum
        if theirs != ours:
            raise ValueError(
                f"the state was saved with words_checksum = {theirs!r}, but here it is {ours!r}: "
                "go on with the same data, or start anew"
            )
        state = {name: state_dict[name] for name in state_dict if name != "words_checksum"}
        self._batches.load_state_dict(state)


class UnknownWords(Module):
    """Let some words pass for unknown ones while training, so that these are learned too."""

    def __init__(self, p, unknown_id, *, seed):
        self._p, self._unknown_id = p, unknown_id
        self._rng = checks.generator(seed)
        self._parameters = Parameters({}, np.float32)

    def forward(self, words):
        if not self._p:
            return words
        return np.where(self._rng.random(words.shape) < self._p, self._unknown_id, words)

    def __repr__(self):
        return f"UnknownWords({self._p})"


class TaggerNetwork(Module):
    """Vectors of words and of their spelling, recurrent layers, and a score for each tag.

    Parameters
    ----------
    words, characters, tags : int
        How many there are; without characters words have no spelling.
    unknown_id : int
    crf : bool
        Whether tags depend on each other.
    **others
        As of the tagger.
    """

    def __init__(
        self,
        words,
        characters,
        tags,
        *,
        unknown_id,
        cell,
        hidden_size,
        num_layers,
        bidirectional,
        embedding_dim,
        char_embedding_dim,
        char_hidden_size,
        dropout,
        word_dropout,
        memory,
        crf,
        dtype,
        seed,
    ):
        names = "unknown embedding characters speller input_dropout layers dropout output"
        seeds = self.named_seeds(seed, *names.split())
        own = {"cell": cell, "dtype": dtype}
        parts = {
            "unknown": UnknownWords(word_dropout, unknown_id, seed=seeds.unknown),
            "embedding": Embedding(words, embedding_dim, dtype=dtype, seed=seeds.embedding),
        }
        width = embedding_dim
        if characters:
            size = char_embedding_dim
            parts["characters"] = Embedding(characters, size, dtype=dtype, seed=seeds.characters)
            options = {"bidirectional": True, "dropout": 0.0, "memory": None, "seed": seeds.speller}
            parts["speller"] = make_layers(size, char_hidden_size, 1, **options, **own)
            width += 2 * char_hidden_size
        parts["input_dropout"] = Dropout(dropout, seed=seeds.input_dropout)
        own |= {"bidirectional": bidirectional, "dropout": dropout, "memory": memory}
        parts["layers"] = make_layers(width, hidden_size, num_layers, seed=seeds.layers, **own)
        parts["dropout"] = Dropout(dropout, seed=seeds.dropout)
        scores_seed, crf_seed = self.split_seed(seeds.output, 2)
        width = hidden_size * (2 if bidirectional else 1)
        parts["linear"] = Linear(width, tags, dtype=dtype, seed=scores_seed)
        if crf:
            parts["crf"] = CRF(tags, dtype=dtype, seed=crf_seed)
        super().__init__(**parts)
        self._loss = CrossEntropyLoss()
        self._has_characters, self._has_crf = bool(characters), crf
        self.settings = {"network": repr(self)}  # which a checkpoint compares

    # --- use ------------------------------------------------------------------------------------

    def __call__(self, batch):
        """The score of each tag for each word, (T, B, K)."""
        x = self.embedding(batch.words)
        if self._has_characters:
            y, state = self.speller(
                batch.characters, None, batch.character_lengths, embedding=self.characters
            )
            spelled, _ = pooling.last(y, state, batch.character_lengths)
            x = np.concatenate([x, spelled[batch.places]], axis=2)
        y, _ = self.layers(x, None, batch.lengths)
        return self.linear(y)

    def best_tags(self, batch):
        """The numbers of the most probable tags, (T, B)."""
        scores = self._scores(batch)
        return self.crf.decode(scores, batch.lengths) if self._has_crf else scores.argmax(axis=2)

    def probabilities(self, batch):
        """Those of each tag for each word, (T, B, K)."""
        scores = self._scores(batch)
        return self.crf.marginals(scores, batch.lengths) if self._has_crf else softmax(scores)

    def _scores(self, batch):
        scores = self(batch)
        check_outputs(scores, self)
        return scores

    def loss(self, batch):
        """The mean loss of a word's tag, for validation."""
        if self._has_crf:
            return self.crf(self(batch), batch.targets, batch.lengths)
        return self._loss(self(batch), batch.targets, batch.mask)

    # --- training -------------------------------------------------------------------------------

    def loss_and_grad(self, batch):
        """The mean loss of a word's tag; its gradients are added to ``parameters.grads``."""
        x, into_words = self._forward_words(batch)
        x, into_input_dropout = self.input_dropout.forward(x)
        y, _, through_layers = self.layers.forward(x, None, batch.lengths)
        y, into_dropout = self.dropout.forward(y)
        scores, into_linear = self.linear.forward(y)
        if self._has_crf:
            loss, backprop = self.crf.forward(scores, batch.targets, batch.lengths)
        else:
            loss, backprop = self._loss.forward(scores, batch.targets, batch.mask)
        dx, _ = through_layers(into_dropout(into_linear(backprop())))
        into_words(into_input_dropout(dx))
        return loss

    def _forward_words(self, batch):
        """The words' vectors (T, B, F), and a function of their gradient."""
        vectors, into_table = self.embedding.forward(self.unknown.forward(batch.words))
        if not self._has_characters:
            return vectors, into_table
        y, state, through_speller = self.speller.forward(
            batch.characters, None, batch.character_lengths, embedding=self.characters
        )
        spelled, into_speller = pooling.last(y, state, batch.character_lengths)
        width = vectors.shape[2]

        def back(d_words):
            into_table(np.ascontiguousarray(d_words[..., :width]))
            d_rows = np.ascontiguousarray(d_words[..., width:]).reshape(-1, spelled.shape[1])
            d_spelled = np.zeros_like(spelled)
            kernels().add_rows(d_rows, batch.places.reshape(-1), d_spelled)
            through_speller(*into_speller(d_spelled))

        return np.concatenate([vectors, spelled[batch.places]], axis=2), back
