"""Beam search, here and in PyTorch: over a model that costs next to nothing, and over a decoder.

B sentences, K hypotheses each, V tokens.  Both searches have the same rules: what has ended keeps
its place on the beam, and a sentence is done when nothing that runs can beat its best.  In
PyTorch all rows go on until all sentences are done, as is usual; fastseq lets them leave.
"""

import numpy as np

import fastseq as fs

END, START = 0, 1
PENALTY = 0.6
STEPS_KNOWN = 4  # logits come again after so many steps


class Scores:
    """Logits that are there already, but for the end's, which comes when a sentence has its length.

    Parameters
    ----------
    lengths : array of int
        Of the sentences.
    beams, classes : int
    convert : callable
        From NumPy's arrays to those of a library.
    """

    weights = None

    def __init__(self, lengths, beams, classes, convert=lambda array: array):
        rng = np.random.default_rng(0)
        shape = (len(lengths) * beams, classes)
        self._tables = [
            convert(2 * rng.standard_normal(shape, dtype=np.float32)) for _ in range(STEPS_KNOWN)
        ]
        self._lengths = convert(np.asarray(lengths, np.float32))
        self.restart()

    def restart(self):
        self._step, self._left = -1, self._lengths

    def step(self, ids):
        self._step += 1
        logits = self._tables[self._step % STEPS_KNOWN][: len(ids)]
        logits[:, END] = 60.0 * (self._left <= self._step) - 30
        return logits

    def select(self, rows):
        self._left = self._left[rows]


class _Decoding:
    """A decoder with additive attention and an LSTM, all sizes H; an end comes as in Scores."""

    def restart(self):
        self._step, self._left = -1, self._lengths
        self._begin()

    def step(self, ids):
        self._step += 1
        logits = self._logits(ids)
        logits[:, END] = 60.0 * (self._left <= self._step) - 30
        return logits


class Decoding(_Decoding):
    """By fastseq."""

    def __init__(self, lengths, beams, classes, size=256, positions=20):
        self.decoder = fs.AttentionLSTM(size, size, size, seed=0)
        self.embedding = fs.Embedding(classes, size, seed=1)
        self.linear = fs.Linear(size, classes, seed=2)
        rng = np.random.default_rng(0)
        self.memory = rng.standard_normal((positions, len(lengths), size), dtype=np.float32)
        self._lengths = np.asarray(lengths, np.float32)
        self.restart()

    @property
    def weights(self):
        return self._state.weights

    def _begin(self):
        self._state, self._scores = self.decoder.start(self.memory), self.linear.packed()

    def _logits(self, ids):
        return self._scores(self._state.step(self.embedding(ids)))

    def select(self, rows):
        self._left = self._left[rows]
        self._state.select(rows)


class TorchDecoding(_Decoding):
    """The same by PyTorch."""

    def __init__(self, *sizes):
        import torch

        ours, self._torch = Decoding(*sizes), torch
        convert = torch.from_numpy
        self._weights = {name: convert(w) for name, w in ours.decoder.parameters.items()}
        self._table, self._w = (
            convert(layer.parameters["weight"]) for layer in (ours.embedding, ours.linear)
        )
        self._b, self._memory = convert(ours.linear.parameters["bias"]), convert(ours.memory)
        self._lengths = convert(ours._lengths)

    def _begin(self):
        linear, p = self._torch.nn.functional.linear, self._weights
        self._values = self._memory.transpose(0, 1).contiguous()
        self._keys = linear(self._values, p["weight_key"], p["bias_key"])
        self._h = self._values.new_zeros(len(self._values), self._values.shape[2])
        self._c = self._torch.zeros_like(self._h)

    def _logits(self, ids):
        torch, p = self._torch, self._weights
        linear = torch.nn.functional.linear
        query = linear(self._h, p["weight_query"])
        alignment = torch.tanh(query[:, None] + self._keys) @ p["weight_score"]
        context = torch.bmm(torch.softmax(alignment, dim=1)[:, None], self._values)[:, 0]
        x = torch.cat([self._table[ids], context], dim=1)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        cell = [p[name] for name in names]
        self._h, self._c = torch.lstm_cell(x, (self._h, self._c), *cell)
        both = torch.cat([context, self._h], dim=1)
        return linear(
            torch.tanh(linear(both, p["weight_output"], p["bias_output"])), self._w, self._b
        )

    def select(self, rows):
        if len(rows) != len(self._h):  # the first step has a row for each sentence, then the beams
            self._keys, self._values = self._keys[rows], self._values[rows]
        self._left, self._h, self._c = self._left[rows], self._h[rows], self._c[rows]


def torch_scores(lengths, beams, classes):
    """:class:`Scores` for PyTorch."""
    import torch

    return Scores(lengths, beams, classes, torch.from_numpy)


MODELS = {  # what is searched: library -> its maker from lengths, beams and classes
    "scores": {"fastseq": Scores, "torch": torch_scores},
    "decoder": {"fastseq": Decoding, "torch": TorchDecoding},
}


def fastseq_search(scores, lengths, beams, classes, threads):
    """A call that returns the best sequence of each sentence, with its score."""
    fs.set_num_threads(threads)
    start = np.full(len(lengths), START)
    options = {"end_id": END, "max_length": 2 * max(lengths), "length_penalty": PENALTY}

    def call():
        scores.restart()
        found = fs.beam_search(scores, start, beam_size=beams, **options)
        return [(best.tokens.tolist(), best.score) for (best,) in found]

    return call


def torch_search(scores, lengths, beams, classes, threads):
    """The same search by PyTorch's operations on all sentences at once."""
    import torch

    torch.set_num_threads(threads)
    longest = 2 * max(lengths)
    ends_of = _TorchEnds(len(lengths), beams, longest)
    first = torch.arange(len(lengths))[:, None]

    @torch.inference_mode()
    def call():
        scores.restart()
        ends_of.restart()
        ids, log_probs = torch.full((len(lengths),), START), torch.zeros(len(lengths), 1)
        trail = []
        for step in range(longest + 1):
            gains = scores.step(ids.view(-1)).log_softmax(dim=1)
            grid = (log_probs.view(-1, 1) + gains).view(len(lengths), -1)
            log_probs, places = grid.topk(beams, dim=1)
            parents = places // classes
            ids = places - parents * classes
            rows = parents + (beams * first if step else first)
            ended = ids == END
            if ended.any():
                log_probs = ends_of.note(step, ended, log_probs, rows)
                if ends_of.are_final(log_probs):
                    break
            scores.select(rows.view(-1))
            trail.append((rows.view(-1), ids.view(-1)))
        return [
            (_read_back(trail, int(step), int(row)), float(score))
            for (step, row), score in zip(ends_of.places, ends_of.best, strict=True)
        ]

    return call


class _TorchEnds:
    """What has ended, in PyTorch: each sentence's best score, and its place in the trail."""

    def __init__(self, sentences, beams, longest):
        import torch

        self._torch, self._nowhere = torch, -torch.inf
        self._sentences, self._beams, self._longest = sentences, beams, longest
        self._ranks = torch.arange(beams)

    def restart(self):
        torch = self._torch
        self._slots = torch.full((self._sentences,), self._beams)
        self.best = torch.full((self._sentences,), self._nowhere)
        self.places = torch.zeros(self._sentences, 2, dtype=torch.int64)  # step and row of the best

    def note(self, step, ended, log_probs, rows):
        """Take over what has ended; the log probabilities of what goes on."""
        torch, nowhere = self._torch, self._nowhere
        log_probs.masked_fill_(self._ranks >= self._slots[:, None], nowhere)
        self._slots -= ended.sum(dim=1)
        values, at = (log_probs / _penalty(step + 1)).where(ended, nowhere).max(dim=1)
        better = values > self.best
        self.best = torch.where(better, values, self.best)
        row = rows.gather(1, at[:, None])
        new = torch.cat([torch.full_like(row, step), row], dim=1)
        self.places = torch.where(better[:, None], new, self.places)
        return log_probs.masked_fill(ended, nowhere)

    def are_final(self, log_probs):
        """Whether nothing that runs can beat them."""
        return (log_probs.amax(dim=1) / _penalty(self._longest + 1) <= self.best).all()


def _penalty(length):
    return ((5 + length) / 6) ** PENALTY


def _read_back(trail, step, row):
    tokens = []
    for rows, ids in reversed(trail[:step]):
        tokens.append(int(ids[row]))
        row = int(rows[row])
    return tokens[::-1]


SEARCHES = {"fastseq": fastseq_search, "torch": torch_search}


def check_searches(results, lengths):
    """Raise AssertionError unless all have found sequences of these lengths, equally good ones.

    Tokens may differ: logits come again, so sums of the same numbers in another order may tie.
    Where lengths differ scores do, too, since rows that have left leave theirs to others.
    """
    for name, found in results.items():
        assert [len(tokens) for tokens, _ in found] == list(lengths), name
        if len(set(lengths)) == 1:
            scores = [score for _, score in found]
            ours = [score for _, score in results["fastseq"]]
            np.testing.assert_allclose(scores, ours, rtol=1e-4, err_msg=name)
