"""Beam search over a model that costs nothing: what the search itself takes, here and in PyTorch.

B sentences, K hypotheses each, V tokens.
"""

import numpy as np

from fastseq.search import beam_search

END, START = 0, 1
PENALTY = 0.6
STEPS_KNOWN = 4  # scores come again after so many steps


class Scores:
    """Logits that are there already, for each row and step; the end comes late and is rare."""

    weights = None

    def __init__(self, sentences, beams, classes, steps, convert=lambda array: array):
        rng = np.random.default_rng(0)
        tables = 2 * rng.standard_normal((STEPS_KNOWN, sentences * beams, classes))
        tables[:, :, END] = -30
        self._tables = [convert(table.astype(np.float32)) for table in tables]
        last = tables[0].copy()
        last[:, END] = 30
        self._last, self._steps = convert(last.astype(np.float32)), steps
        self.restart()

    def restart(self):
        self._step = -1

    def step(self, ids):
        self._step += 1
        if self._step >= self._steps:
            return self._last[: len(ids)]
        return self._tables[self._step % STEPS_KNOWN][: len(ids)]

    def select(self, rows):
        pass


def fastseq_search(sentences, beams, classes, steps):
    """A call that returns the best sequence of each sentence, with its score."""
    scores, start = Scores(sentences, beams, classes, steps), np.full(sentences, START)

    def call():
        scores.restart()
        found = beam_search(
            scores,
            start,
            end_id=END,
            max_length=2 * steps,
            beam_size=beams,
            length_penalty=PENALTY,
        )
        return [(best.tokens.tolist(), best.score) for (best,) in found]

    return call


def torch_search(sentences, beams, classes, steps):
    """The same search by PyTorch's operations on all sentences at once."""
    import torch

    torch.set_num_threads(1)
    scores = Scores(sentences, beams, classes, steps, torch.from_numpy)
    first = beams * torch.arange(sentences)[:, None]
    ranks = torch.arange(beams)
    nowhere = -torch.inf

    def penalty(n):
        return ((5 + n) / 6) ** PENALTY

    @torch.inference_mode()
    def call():
        scores.restart()
        ids = torch.full((sentences,), START)
        log_probs = torch.zeros(sentences, 1)
        rows, slots = torch.arange(sentences)[:, None], torch.full((sentences,), beams)
        best = torch.full((sentences,), nowhere)
        ends = torch.zeros(sentences, 2, dtype=torch.int64)  # step and row of the best
        trail = []
        for step in range(2 * steps + 1):
            gains = scores.step(ids.view(-1)).log_softmax(dim=1)
            grid = (log_probs.view(-1, 1) + gains).view(sentences, -1)
            log_probs, places = grid.topk(beams, dim=1)
            parents = places // classes
            ids = places - parents * classes
            rows = parents + (first if step else first // beams)
            ended = ids == END
            if ended.any():
                log_probs.masked_fill_(ranks >= slots[:, None], nowhere)
                slots -= ended.sum(dim=1)
                values, at = (log_probs / penalty(step + 1)).where(ended, nowhere).max(dim=1)
                better = values > best
                best = torch.where(better, values, best)
                row = rows.gather(1, at[:, None])
                new = torch.cat([torch.full_like(row, step), row], dim=1)
                ends = torch.where(better[:, None], new, ends)
                log_probs = log_probs.masked_fill(ended, nowhere)
                if (log_probs.amax(dim=1) / penalty(2 * steps + 1) <= best).all():
                    break
            scores.select(rows.view(-1))
            trail.append((rows.view(-1), ids.view(-1)))
        return [
            (_read_back(trail, int(step), int(row)), float(score))
            for (step, row), score in zip(ends, best, strict=True)
        ]

    return call


def _read_back(trail, step, row):
    tokens = []
    for rows, ids in reversed(trail[:step]):
        tokens.append(int(ids[row]))
        row = int(rows[row])
    return tokens[::-1]


SEARCHES = {"fastseq": fastseq_search, "torch": torch_search}


def check_searches(results):
    """Raise AssertionError unless all have found equally good sequences of equal lengths.

    Scores come again, so sums of the same numbers in another order may tie.
    """
    expected = results["fastseq"]
    for name, found in results.items():
        for (tokens, score), (our_tokens, our_score) in zip(found, expected, strict=True):
            assert len(tokens) == len(our_tokens), name
            assert abs(score - our_score) < 1e-4 * abs(our_score), (name, score, our_score)
