"""Searches: against all sequences there are, against plain loops, and against each other."""

import collections
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import raises
from search_cases import (
    END,
    START,
    Table,
    all_sequences,
    coverage,
    length_penalty,
    log_softmax,
    naive_greedy,
)

import fastseq as fs
from fastseq.search import constraints
from fastseq.search.searches import beam_search, greedy_search, sample_sequences

PENALTIES = [0.0, 0.6, 1.0, 2.0, -0.5, "average"]
ids = "-".join


def search(model, sentences=(0,), max_length=4, **options):
    start = np.full(len(sentences), START)
    return beam_search(model, start, end_id=END, max_length=max_length, **options)


def test_a_decoders_state_is_no_model_yet():
    state = fs.AttentionGRU(3, 4, 5).start(np.ones((2, 1, 5), np.float32))
    for states in (state, [state]):
        with raises(TypeError, "got a DecoderState", "linear(decoder_state.step(embedding(ids)))"):
            beam_search(states, [START], end_id=END, max_length=3)


def found_tokens(hypotheses):
    return [tuple(found.tolist()) for found in (h.tokens for h in hypotheses)]


def assert_same(actual, expected):
    """The same hypotheses, bit for bit."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert found_tokens(a) == found_tokens(e)
        for one, other in zip(a, e, strict=True):
            assert (one.score, one.log_prob, one.cut) == (other.score, other.log_prob, other.cut)
            assert (one.attention is None) == (other.attention is None)
            if one.attention is not None:
                np.testing.assert_array_equal(one.attention, other.attention)


def exhaustive(model, sentence, most, *, penalty=0.0, beta=0.0, source_length=None, keep=None):
    """All sequences with their scores, the best first."""
    scored = []
    for tokens in all_sequences(model.classes, most):
        if keep is not None and not keep(tokens):
            continue
        score = model.log_prob(sentence, tokens) / length_penalty(penalty, len(tokens) + 1)
        if beta:
            score += beta * coverage(model.attentions(sentence, tokens), source_length)
        scored.append((score, tokens))
    return sorted(scored, key=lambda pair: -pair[0])


# --- everything there is ----------------------------------------------------------------------


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_the_best_of_all(penalty, beta, seed):
    model = Table(4, source=3, end=0.5, seed=seed)
    expected = exhaustive(model, 0, 4, penalty=penalty, beta=beta)
    (found,) = search(
        model, beam_size=200, n_best=12, length_penalty=penalty, coverage_penalty=beta
    )
    assert found_tokens(found) == [tokens for _, tokens in expected[:12]]
    np.testing.assert_allclose([h.score for h in found], [s for s, _ in expected[:12]], rtol=1e-12)
    for h in found:
        assert h.log_prob == pytest.approx(model.log_prob(0, h.tokens.tolist()), rel=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_a_wide_beam_finds_all_there_are(penalty):
    expected = exhaustive(Table(3, seed=5), 0, 3, penalty=penalty)
    (found,) = search(
        Table(3, seed=5), max_length=3, beam_size=50, n_best=50, length_penalty=penalty
    )
    assert found_tokens(found) == [tokens for _, tokens in expected]
    assert len(found) == 1 + 2 + 4 + 8


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
@pytest.mark.parametrize("beam_size, n_best", [(1, 1), (2, 1), (3, 3), (5, 2)])
def test_ending_early_changes_nothing(penalty, beam_size, n_best):
    """As a plain beam search that goes on until nothing runs any more."""
    for seed in range(20):
        model = Table(5, seed=seed, end=1.0)
        (found,) = search(
            model, max_length=7, beam_size=beam_size, n_best=n_best, length_penalty=penalty
        )
        expected = plain_beam(Table(5, seed=seed, end=1.0), 7, beam_size, penalty)[:n_best]
        assert found_tokens(found) == [tokens for _, tokens in expected]
        np.testing.assert_allclose([h.score for h in found], [s for s, _ in expected], rtol=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_sentences_may_end_and_leave_in_any_order(penalty):
    for seed in range(5):
        model = Table(5, range(9), seed=seed, end=1.0)
        options = {"beam_size": 4, "n_best": 2, "length_penalty": penalty}
        together = search(model, range(9), [7, 3, 7, 1, 6, 7, 5, 2, 7], **options)
        for sentence, most in enumerate([7, 3, 7, 1, 6, 7, 5, 2, 7]):
            expected = plain_beam(Table(5, seed=seed, end=1.0), most, 4, penalty, sentence)[:2]
            assert found_tokens(together[sentence]) == [tokens for _, tokens in expected]


def test_the_longest_there_may_be_counts_with_its_end():
    class Late(Table):
        """The end at once, or much later: -0.69 / 1 is more than -0.98 / lp(3), not / lp(4)."""

        def logits(self, history):
            if len(history) == 2:
                return np.log([0.5, 0.125 / 2, np.exp(-0.98), 0.125 / 2])
            sure = END if len(history) == 5 else 2
            return np.where(np.arange(4) == sure, 0.0, -20.0)

    (found,) = search(Late(4), max_length=3, beam_size=2, length_penalty=1.0)
    assert found_tokens(found) == [(2, 2, 2)]


def test_the_shortest_there_may_be_has_one_token_more_and_the_end():
    class Early(Table):
        """The end at once with 0.46, or 2 with 0.5 and then the end.

        With (5 + n) / 6 to the power of -0.5, 2 and the end have log 0.5 * 1.08 = -0.75, the end
        alone -0.78; if there had to be one token more, it would be log 0.5 * 1.15 = -0.80.
        """

        def logits(self, history):
            if len(history) == 2:
                return np.log([0.46, 0.02, 0.5, 0.02])
            return np.where(np.arange(4) == END, 0.0, -50.0)

    expected = exhaustive(Early(4), 0, 4, penalty=-0.5)[:2]
    assert [tokens for _, tokens in expected] == [(2,), ()]
    (found,) = search(Early(4), beam_size=2, length_penalty=-0.5)
    assert found_tokens(found) == [(2,)]
    assert found[0].score == pytest.approx(expected[0][0], rel=1e-12)


def plain_beam(model, most, size, penalty, sentence=0):
    running, ended = [(0.0, ())], []
    while running:
        candidates = []
        for log_prob, tokens in running:
            gains = log_softmax(model.logits((sentence, START, *tokens)))
            may_come = range(model.classes) if len(tokens) < most else [END]
            candidates += [(log_prob + gains[token], (*tokens, token)) for token in may_come]
        candidates.sort(key=lambda pair: -pair[0])
        candidates, running = candidates[: size - len(ended)], []
        for log_prob, tokens in candidates:
            if tokens[-1] == END:
                ended.append((log_prob / length_penalty(penalty, len(tokens)), tokens[:-1]))
            else:
                running.append((log_prob, tokens))
    return sorted(ended, key=lambda pair: -pair[0])


def test_a_search_ends_as_soon_as_nothing_can_beat_what_it_has():
    class Sure(Table):
        """Writes 2, 3, and the end; everything else is hopeless."""

        def logits(self, history):
            logits = np.full(self.classes, -8.0)
            logits[{2: 2, 3: 3}.get(len(history), END)] = 8.0
            return logits

    model = Sure(5)
    (found,) = search(model, max_length=1000, beam_size=5)
    assert found_tokens(found) == [(2, 3)]
    assert model.rows == [1, 4, 3]  # what has ended keeps its place
    model = Sure(5)  # the best average might be at any length; but finally five have ended
    (found,) = search(model, max_length=1000, beam_size=5, length_penalty="average")
    assert found_tokens(found) == [(2, 3)]
    assert len(model.rows) < 12


# --- scores by hand -----------------------------------------------------------------------------


class Script:
    """A model that knows two sequences: [2] with 0.4, and [3, 3] with 0.6 in two steps."""

    def __init__(self, weights=None):
        self.ids, self.t, self.all_weights, self.weights = None, -1, weights, None

    def step(self, ids):
        self.ids, self.t = ids, self.t + 1
        p = {
            (0, START): [0, 0, 0.4, 0.6],
            (1, 2): [1, 0, 0, 0],
            (1, 3): [0, 0, 0, 1],
            (2, 3): [0.5, 0, 0, 0.5],
            (3, 3): [1, 0, 0, 0],
        }
        if self.all_weights is not None:
            self.weights = np.array([self.all_weights[self.t, i] for i in ids])
        with np.errstate(divide="ignore"):
            return np.log([p[self.t, i] for i in ids.tolist()])

    def select(self, rows):
        pass


@pytest.mark.parametrize(
    "penalty, expected",
    [
        (0.0, {(2,): np.log(0.4), (3, 3): np.log(0.3), (3, 3, 3): np.log(0.3)}),
        # n counts the end
        ("average", {(2,): np.log(0.4) / 2, (3, 3): np.log(0.3) / 3, (3, 3, 3): np.log(0.3) / 4}),
        (
            1.0,
            {
                (2,): np.log(0.4) / (7 / 6),
                (3, 3): np.log(0.3) / (8 / 6),
                (3, 3, 3): np.log(0.3) / (9 / 6),
            },
        ),
    ],
    ids=str,
)
def test_length_penalties(penalty, expected):
    (found,) = search(Script(), max_length=3, beam_size=4, n_best=4, length_penalty=penalty)
    order = sorted(expected, key=expected.get, reverse=True)
    assert found_tokens(found) == order
    np.testing.assert_allclose([h.score for h in found], [expected[t] for t in order], rtol=1e-12)


def test_coverage_penalty_and_attention():
    weights = {
        (0, START): [0.5, 0.5, 0.0],
        (1, 2): [0.25, 0.75, 0.0],
        (1, 3): [1.0, 0.0, 0.0],
        (2, 3): [1.0, 0.0, 0.0],
        (3, 3): [1.0, 0.0, 0.0],
    }
    options = {"max_length": 3, "beam_size": 4, "n_best": 4, "coverage_penalty": 0.2}
    (found,) = search(Script(weights), source_lengths=[2], attention=True, **options)
    expected = {
        (2,): np.log(0.4) + 0.2 * np.log(0.75),
        (3, 3): np.log(0.3) + 0.2 * np.log(0.5),
        (3, 3, 3): np.log(0.3) + 0.2 * np.log(0.5),
    }
    assert found_tokens(found) == list(expected)
    np.testing.assert_allclose([h.score for h in found], list(expected.values()), rtol=1e-12)
    assert found[0].attention.tolist() == [[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]]
    assert found[0].alignment().tolist() == [0]
    assert [h.attention.shape for h in found] == [(2, 3), (3, 3), (4, 3)]
    # without lengths the third position counts, too, and nobody has looked there
    (found,) = search(Script(weights), **options)
    assert all(-1000 < h.score < -100 for h in found)


def test_sources_may_become_shorter_as_sentences_leave():
    class Shrinking(Table):
        """Weights as wide as the longest source that is left: twice a sentence's number."""

        def attention(self, history):
            weights = super().attention(history)
            weights[2 * history[0] :] = 0
            return weights

        def step(self, ids):
            logits = super().step(ids)
            if self.shrinks:
                self.weights = self.weights[:, : max(2 * h[0] for h in self.histories)]
            return logits

    def run(shrinks):
        model = Shrinking(4, (1, 3, 2), source=6, end=1.0)
        model.shrinks = shrinks
        options = {"coverage_penalty": 0.4, "source_lengths": [2, 6, 4], "attention": True}
        found = search(model, range(3), [5, 1, 5], beam_size=2, n_best=2, **options)
        return found, model.weights.shape[1]

    (found, width), (expected, widest) = run(True), run(False)
    assert width < widest == 6
    assert_same(found, expected)


# --- equivalences -------------------------------------------------------------------------------

RULES = {
    "none": {},
    "penalties": {"length_penalty": 0.8, "coverage_penalty": 0.3},
    "average": {"length_penalty": "average"},
    "repetition": {"no_repeat_ngram": 2},
    "lengths": {"min_length": [2, 0, 3, 5, 1, 4], "max_length": [3, 9, 6, 7, 1, 4]},
    "excluded": {"excluded": [3, 1]},
    "prefixes": {"prefixes": [[2, 2, 2], [], [4], [3, 4, 3], [], [5]]},
    "constraints": {"constraints": [[[2, 3]], [], [[4], [5]], [], [[3, 3, 4]], []]},
    "all": {
        "length_penalty": 1.0,
        "no_repeat_ngram": 3,
        "min_length": 3,
        "max_length": [7, 7, 8, 9, 7, 8],
        "excluded": [1],
        "prefixes": [[2], [], [4], [], [], [5]],
        "constraints": [[[2, 3]], [], [[4], [5]], [], [], [[2]]],
    },
}


def one_row(options, row):
    """The options of one of several sentences."""
    return {
        name: [value[row]] if isinstance(value, list) and name != "excluded" else value
        for name, value in options.items()
    }


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("beam_size", [1, 3, 8])
def test_a_batch_is_as_one_by_one(rules, beam_size):
    sentences = range(6)
    options = {"max_length": 7, "source_lengths": [4, 3, 2, 1, 4, 4], **RULES[rules]}
    options |= {"beam_size": beam_size, "n_best": min(beam_size, 3), "attention": True}

    def make(sentences):
        return Table(6, sentences, source=4, end=0.5, dtype=np.float32, seed=3)

    together = search(make(sentences), sentences, **options)
    alone = [search(make([i]), [i], **one_row(options, i))[0] for i in sentences]
    assert_same(together, alone)
    assert all(together)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_a_beam_of_1_is_greedy(penalty):
    sentences = range(10)
    found = search(Table(5, sentences), sentences, 6, beam_size=1, length_penalty=penalty)
    start = np.full(10, START)
    greedy = greedy_search(Table(5, sentences), start, end_id=END, max_length=6)
    for sentence, (h,), other in zip(sentences, found, greedy, strict=True):
        tokens, cut = naive_greedy(Table(5), sentence, 6)
        assert (h.tokens.tolist(), h.cut) == (tokens, cut)
        assert (other.tokens.tolist(), other.cut) == (tokens, cut)
        assert h.log_prob == other.log_prob == pytest.approx(Table(5).log_prob(sentence, tokens))
    assert {h.cut for h in greedy} == {True, False}


def test_a_narrow_beam_does_not_see_everything():
    """So that the equality with all sequences says something."""
    missed = 0
    for seed in range(10):
        (narrow,) = search(Table(4, seed=seed), beam_size=1)
        missed += narrow[0].tokens.tolist() != list(exhaustive(Table(4, seed=seed), 0, 4)[0][1])
    assert missed


@pytest.mark.parametrize("beam_size", [1, 2, 5, 30])
def test_n_best_are_sorted_and_differ(beam_size):
    for found in search(Table(5, range(8)), range(8), 5, beam_size=beam_size, n_best=beam_size):
        scores = [h.score for h in found]
        assert scores == sorted(scores, reverse=True)
        assert len(set(found_tokens(found))) == len(found) == beam_size


def test_more_wanted_changes_nothing_of_the_best():
    few, many = (search(Table(5, range(8)), range(8), 5, beam_size=6, n_best=n) for n in (2, 6))
    assert_same(few, [found[:2] for found in many])


def test_a_beam_wider_than_the_vocabulary():
    (found,) = search(Table(2), max_length=3, beam_size=7, n_best=7)
    assert sorted(found_tokens(found)) == [(), (1,), (1, 1), (1, 1, 1)]


def test_finished_sentences_leave_the_batch():
    model = Table(5, range(6), end=1.0)
    search(model, range(6), [0, 1, 2, 3, 9, 9], beam_size=4)
    rows = np.array(model.rows)
    assert rows[0] == 6 and rows.max() <= 24
    assert (rows[5:] <= 8).all()


def test_what_has_ended_keeps_its_place_when_other_sentences_leave():
    class Early(Table):
        """The end is second at first, and hopeless afterwards."""

        def logits(self, history):
            return np.array([1.0 if len(history) == 2 else -50.0, 2.0, 0.5, 0.2])

    model = Early(4, range(2))
    search(model, range(2), [0, 4], beam_size=2, n_best=2)
    assert model.rows == [2, 1, 1, 1, 1]


def test_nothing_to_search():
    assert search(Table(4, []), []) == []
    assert greedy_search(Table(4, []), [], end_id=END, max_length=3) == []
    assert sample_sequences(Table(4, []), [], end_id=END, max_length=3) == []


def test_equal_scores_are_decided_by_rank_and_token():
    class Flat(Table):
        def logits(self, history):
            return np.zeros(self.classes)

    found = search(Flat(4, range(3)), range(3), 2, beam_size=4, n_best=4)
    # the end comes first; the beam then has 1, 2, 3, and goes on with the first of these
    expected = [(), (1,), (1, 1), (1, 2)]
    assert [found_tokens(f) for f in found] == [expected] * 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_dtypes(dtype):
    (found,) = search(Table(6, dtype=dtype), beam_size=4, n_best=4)
    for h in found:
        assert h.log_prob == pytest.approx(Table(6).log_prob(0, h.tokens.tolist()), rel=1e-6)


# --- rules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("prefix", [(), (2, 2, 2)])
def test_no_ngram_comes_twice(n, prefix):
    """And nothing else is forbidden."""
    sentences = range(6)

    def make():
        return Table(4, sentences, end=-2.0, seed=n)

    prefixes = [prefix] * 6
    options = {"no_repeat_ngram": n, "prefixes": prefixes}
    found = greedy_search(make(), np.full(6, START), end_id=END, max_length=9, **options)
    for sentence, h in zip(sentences, found, strict=True):
        tokens, cut = naive_greedy(make(), sentence, 9, ngram=n, prefix=prefix)
        assert (h.tokens.tolist(), h.cut) == (tokens, cut)

    def repeats(tokens):
        grams = list(zip(*(tokens[i:] for i in range(n)), strict=False))
        return len(set(grams)) < len(grams)

    (wide,) = search(Table(4, seed=n), beam_size=200, n_best=10, no_repeat_ngram=n)
    expected = exhaustive(Table(4, seed=n), 0, 4, keep=lambda tokens: not repeats(tokens))[:10]
    assert found_tokens(wide) == [tokens for _, tokens in expected]


def test_lengths_are_kept():
    (found,) = search(Table(4, end=2.0), beam_size=100, n_best=8, min_length=2, max_length=3)
    expected = exhaustive(Table(4, end=2.0), 0, 3, keep=lambda tokens: len(tokens) >= 2)[:8]
    assert found_tokens(found) == [tokens for _, tokens in expected]


def test_each_row_has_a_maximum_of_its_own():
    found = search(Table(4, range(4), end=-9.0), range(4), [0, 1, 5, 3], beam_size=3)
    assert [len(f[0].tokens) for f in found] == [0, 1, 5, 3]
    assert all(f[0].cut for f in found)


@pytest.mark.parametrize("end, cut", [(9.0, False), (-9.0, True)])
def test_what_would_have_ended_anyway_is_not_cut(end, cut):
    (found,) = search(Table(4, end=end), max_length=0)
    assert (found_tokens(found), found[0].cut) == ([()], cut)
    (drawn,) = sample_sequences(Table(4, end=end), [START], end_id=END, max_length=0)[0]
    assert (drawn.tokens.tolist(), drawn.cut) == ([], cut)


def test_excluded_never_come():
    (found,) = search(Table(5), beam_size=300, n_best=9, excluded=[1, 3])
    keep = {2, 4}
    expected = exhaustive(Table(5), 0, 4, keep=lambda tokens: keep.issuperset(tokens))[:9]
    assert found_tokens(found) == [tokens for _, tokens in expected]


def test_prefixes_come_first():
    (found,) = search(Table(4), beam_size=100, n_best=7, prefixes=[[3, 1]], excluded=[1])
    expected = exhaustive(Table(4), 0, 4, keep=lambda t: t[:2] == (3, 1) and set(t[2:]) <= {2, 3})[
        :7
    ]
    assert found_tokens(found) == [tokens for _, tokens in expected]
    np.testing.assert_allclose([h.score for h in found], [s for s, _ in expected], rtol=1e-12)


def test_steep_penalties_decide_by_length():
    for penalty, length in ((10, 4), (-10, 0)):
        (found,) = search(Table(3), max_length=4, beam_size=60, n_best=60, length_penalty=penalty)
        scores = [h.score for h in found]
        assert np.isfinite(scores).all() and scores == sorted(scores, reverse=True)
        assert len(found[0].tokens) == length


@pytest.mark.parametrize("penalty", [0.0, 1.0, "average"])
def test_what_is_impossible_but_has_to_come_has_the_probability_0(penalty):
    class Endless(Table):
        def logits(self, history):
            logits = super().logits(history)
            logits[END] = -np.inf
            return logits

    for rules in ({}, {"prefixes": [[2]]}, {"no_repeat_ngram": 1}):
        (found,) = search(Endless(4), max_length=3, beam_size=2, length_penalty=penalty, **rules)
        assert {h.log_prob for h in found} == {h.score for h in found} == {-np.inf}
        assert {len(h.tokens) for h in found} == {3}
    (drawn,) = sample_sequences(Endless(4), [START], end_id=END, max_length=3, n_samples=2)
    assert {h.log_prob for h in drawn} == {-np.inf}


def test_a_prefix_that_the_model_holds_for_impossible_comes_all_the_same():
    (found,) = search(Script(), max_length=3, beam_size=3, n_best=1, prefixes=[[2]])
    assert found_tokens(found) == [(2,)]

    class Never(Table):
        def logits(self, history):
            logits = super().logits(history)
            logits[2] = -np.inf
            return logits

    (found,) = search(Never(4), max_length=3, beam_size=3, n_best=3, prefixes=[[2, 3]])
    assert len(found) == 3
    assert all(h.tokens[:2].tolist() == [2, 3] for h in found)


@pytest.mark.parametrize("options", [{}, {"constraints": [[[3]]]}], ids=["free", "phrases"])
def test_nothing_is_more_than_certain(options):
    """Not even what has to come where the model's own scores are lower than impossible ones."""

    class Low(Table):
        def logits(self, history):
            logits = np.full(self.classes, -1e39)
            logits[2] = -np.inf
            return logits

    options = {"end_id": END, "max_length": 2, "prefixes": [[2]]} | options
    for run in (beam_search,) if "constraints" in options else (beam_search, sample_sequences):
        ((found, *_),) = run(Low(4), [START], **options)
        assert -np.inf < found.log_prob <= 0


def test_where_everything_is_ruled_out_it_ends():
    options = {"min_length": 5, "max_length": 9, "no_repeat_ngram": 1, "excluded": [1]}
    (found,) = search(Table(4), beam_size=6, n_best=6, **options)
    assert sorted(found_tokens(found)) == [(2, 3), (3, 2)]
    for h in found:
        assert h.log_prob == pytest.approx(Table(4).log_prob(0, h.tokens.tolist()))
    drawn = sample_sequences(Table(4), [START], end_id=END, seed=0, **options)
    assert sorted(drawn[0][0].tokens.tolist()) == [2, 3]


# --- phrases that must occur ----------------------------------------------------------------------


def occurs(phrases, tokens):
    """Whether all phrases occur, none over another: tried in all orders of places."""
    if not phrases:
        return True
    first, *rest = phrases
    for i in range(len(tokens) - len(first) + 1):
        if tuple(tokens[i : i + len(first)]) == tuple(first):
            without = [*tokens[:i], *[-1] * len(first), *tokens[i + len(first) :]]
            if occurs(rest, without):
                return True
    return False


PHRASES = [
    [[2]],
    [[2, 3]],
    [[2], [3]],
    [[1, 1, 2]],
    [[2, 3], [2, 1]],
    [[3], [3]],
    [[1, 2], [2, 3]],
    [[2], [3, 1], [1]],
    [[2, 3], [2]],
    [[2, 3, 1], [3]],
    [[1], [1, 1]],
    [[1, 2, 1], [2], [1, 2]],
]


@pytest.mark.parametrize("phrases", PHRASES, ids=str)
@pytest.mark.parametrize("beam_size", [1, 2, 5, 20])
def test_phrases_always_occur(phrases, beam_size):
    for seed in range(4):
        for max_length in (sum(map(len, phrases)), 8):
            (found,) = search(
                Table(5, seed=seed),
                max_length=max_length,
                beam_size=beam_size,
                n_best=beam_size,
                constraints=[phrases],
            )
            assert found
            for h in found:
                tokens = h.tokens.tolist()
                assert occurs(phrases, tokens)
                assert h.log_prob == pytest.approx(Table(5, seed=seed).log_prob(0, tokens))


@pytest.mark.parametrize("phrases", [p for p in PHRASES if sum(map(len, p)) <= 4], ids=str)
def test_a_wide_beam_finds_the_best_with_the_phrases(phrases):
    (found,) = search(Table(4), beam_size=400, n_best=9, constraints=[phrases])
    expected = exhaustive(Table(4), 0, 4, keep=lambda tokens: occurs(phrases, list(tokens)))[:9]
    assert found_tokens(found) == [tokens for _, tokens in expected]


def test_phrases_and_prefixes():
    (found,) = search(
        Table(6), max_length=5, beam_size=3, prefixes=[[2, 3]], constraints=[[[3, 4], [5]]]
    )
    tokens = found[0].tokens.tolist()
    assert tokens[:2] == [2, 3] and occurs([[3, 4], [5]], tokens)


def test_a_prefix_may_have_phrases_of_which_one_begins_the_other():
    options = {"prefixes": [[2, 3, 2]], "constraints": [[[2, 3], [2]]]}
    (found,) = search(Table(5, end=3.0), max_length=3, beam_size=3, **options)
    assert found_tokens(found) == [(2, 3, 2)]


@pytest.mark.parametrize("phrases", PHRASES, ids=str)
def test_progress_is_the_best_of_all_readings(phrases):
    phrases_of = constraints.Phrases([tuple(phrase) for phrase in phrases])
    for tokens in itertools.product(range(1, 4), repeat=5):
        whole = not phrases_of.left(phrases_of.after(tokens))
        assert whole == occurs(phrases, list(tokens)), tokens


def test_what_leaves_no_room_for_phrases_takes_no_place():
    model = Table(5)
    search(model, max_length=2, beam_size=5, constraints=[[[2, 3]]])
    assert model.rows == [1, 1, 1]


def test_banks_share_the_beam():
    def bank(count, log_probs):
        return [(count, p, count, i) for i, p in enumerate(log_probs)]

    full = bank(0, [-1, -2, -3, -4]) + bank(1, [-5, -6, -7]) + bank(2, [-8, -9, -10])
    assert [c[1] for c in constraints.allocate(full, 2, 6)] == [-1, -2, -5, -6, -8, -9]
    assert [c[1] for c in constraints.allocate(full, 2, 4)] == [
        -1,
        -5,
        -8,
        -9,
    ]  # the rest to the highest
    assert [c[1] for c in constraints.allocate(full, 2, 1)] == [-8]
    few = bank(0, [-1, -2, -3, -4]) + bank(2, [-8])
    assert [c[1] for c in constraints.allocate(few, 2, 3)] == [-1, -2, -8]
    assert [c[1] for c in constraints.allocate(few[:4], 2, 9)] == [-1, -2, -3, -4]
    # what banks 1 and 3 can't fill goes to 2: the nearest, and of two as near the higher
    apart = bank(0, [-1, -2, -3, -4]) + bank(2, [-5, -6, -7, -8])
    assert [c[1] for c in constraints.allocate(apart, 3, 4)] == [-1, -5, -6, -7]


# --- ensembles ------------------------------------------------------------------------------------


def test_an_ensemble_of_one_is_the_model():
    options = {"beam_size": 4, "n_best": 4}
    assert_same(
        search([Table(5, range(3))], range(3), **options),
        search(Table(5, range(3)), range(3), **options),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_ensemble_has_the_mean_of_probabilities(dtype):
    class Mean(Table):
        def logits(self, history):
            p = [np.exp(log_softmax(Table(5, seed=seed).logits(history))) for seed in (1, 2, 3)]
            return np.log(np.mean(p, axis=0))

        def attention(self, history):
            made = [Table(5, source=3, seed=seed).attention(history) for seed in (1, 2, 3)]
            return np.mean(made, axis=0)

    options = {"beam_size": 4, "n_best": 4, "attention": True}
    models = [Table(5, range(3), source=3, dtype=dtype, seed=seed) for seed in (1, 2, 3)]
    found = search(models, range(3), **options)
    expected = search(Mean(5, range(3), source=3), range(3), **options)
    for f, e in zip(found, expected, strict=True):
        assert found_tokens(f) == found_tokens(e)
        np.testing.assert_allclose([h.score for h in f], [h.score for h in e], rtol=1e-5)
        for one, other in zip(f, e, strict=True):
            np.testing.assert_allclose(one.attention, other.attention, rtol=1e-12)


def test_what_all_models_hold_for_impossible_stays_so():
    (found,) = search([Script(), Script()], max_length=3, beam_size=4, n_best=4)
    assert found_tokens(found) == [(2,), (3, 3), (3, 3, 3)]


# --- sampling -------------------------------------------------------------------------------------


def draw(model, n_samples=1, **options):
    options = {"max_length": 3, "seed": 0} | options
    return sample_sequences(model, [START], end_id=END, n_samples=n_samples, **options)[0]


def test_sequences_come_as_often_as_they_are_probable():
    cache = {}

    class Small(Table):
        def logits(self, history):
            if history not in cache:
                cache[history] = super().logits(history)
            return cache[history]

    model, count = Small(3, scale=1.0), 4000
    drawn = draw(model, count, max_length=2)
    frequencies = collections.Counter(found_tokens(drawn))
    total = 0.0
    for tokens in all_sequences(3, 2):
        p = np.exp(model.log_prob(0, tokens))
        if len(tokens) == 2:  # its end is not drawn, it has to be
            p /= np.exp(log_softmax(model.logits((0, START, *tokens)))[END])
        total += p
        assert abs(frequencies[tokens] / count - p) < 4 * np.sqrt(p * (1 - p) / count)
    assert total == pytest.approx(1)
    for h in drawn[:20]:
        assert h.score == h.log_prob == pytest.approx(model.log_prob(0, h.tokens.tolist()))


def test_temperature_0_is_greedy():
    sentences, start = range(6), np.full(6, START)
    options = {"end_id": END, "max_length": 6, "no_repeat_ngram": 2, "min_length": 2}
    greedy = greedy_search(Table(5, sentences), start, **options)
    drawn = sample_sequences(Table(5, sentences), start, temperature=0, seed=0, **options)
    assert_same(drawn, [[h] for h in greedy])


def test_top_k_and_top_p_cut():
    drawn = draw(Table(6, seed=4), 50, top_k=1)
    assert len(set(found_tokens(drawn))) == 1
    likely = {tuple(naive_greedy(Table(6, seed=4), 0, 3)[0])}
    assert (
        set(found_tokens(drawn)) == likely == set(found_tokens(draw(Table(6, seed=4), top_p=0.01)))
    )
    assert len(set(found_tokens(draw(Table(6, seed=4), 50, top_k=3)))) > 1


def test_draws_do_not_depend_on_the_other_sentences():
    options = {"end_id": END, "max_length": 8, "n_samples": 3, "seed": 7, "attention": True}

    def make(sentences):
        return Table(5, sentences, source=2)

    few = sample_sequences(make([4, 5]), [START] * 2, **options)
    many = sample_sequences(make([4, 5, 1, 2]), [START] * 4, **options)
    other = sample_sequences(make([4, 3]), [START] * 2, **options)
    assert_same(few, many[:2])
    assert_same(few[:1], other[:1])
    for found, sentence in zip(many, [4, 5, 1, 2], strict=True):
        for h in found:
            expected = make([0]).attentions(sentence, h.tokens.tolist())
            np.testing.assert_array_equal(h.attention, expected)


def test_a_seed_decides():
    options = {"n_samples": 20, "max_length": 6}
    one, same, other = (draw(Table(5), seed=seed, **options) for seed in (3, 3, 4))
    assert_same([one], [same])
    assert found_tokens(one) != found_tokens(other)


def test_samples_keep_the_rules():
    drawn = draw(
        Table(5), 40, max_length=5, min_length=3, no_repeat_ngram=1, excluded=[1], prefixes=[[3]]
    )
    for h in drawn:
        assert h.tokens[0] == 3 and h.tokens.tolist().count(1) == 0
        assert len(h.tokens) == len(set(h.tokens.tolist())) == 3


# --- README ---------------------------------------------------------------------------------------


def test_the_readme_does_what_it_says():
    readme = Path(__file__).parents[1] / "README.md"
    section = readme.read_text("utf-8").partition("\n## Search\n")[2].partition("\n## ")[0]
    names = {"fs": fs, "np": np}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(block, str(readme), "exec"), names)
    assert [len(found) for found in names["found"]] == [2, 2, 2]
    assert occurs([[7, 8]], names["best"].tokens.tolist())
    for (best,), length in zip(names["looked"], [7, 4, 5], strict=True):
        assert len(best.alignment()) == len(best.tokens) and best.alignment().max() < length


# --- copying --------------------------------------------------------------------------------------


def test_unknown_words_are_copied():
    weights = np.array([[0.1, 0.2, 0.7], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]])
    words, source = ["<unk>", "b", "<unk>"], ["x", "y", "z"]
    assert fs.copy_unknown(words, source, weights) == ["z", "b", "z"]
    assert words == ["<unk>", "b", "<unk>"]
    assert fs.copy_unknown(words, source[:2], weights) == ["y", "b", "x"]
    assert fs.copy_unknown(words, source, weights, lexicon={"z": "Z"}) == ["Z", "b", "Z"]
    assert fs.copy_unknown(["b"], source, weights[:2], unknown="b") == ["z"]
    assert fs.copy_unknown(words, [], weights) == words
    assert fs.copy_unknown([], source, weights[:1]) == []


def test_copying_refuses_other_shapes():
    with raises(ValueError, "attention", "n = 3 tokens", "(1, 2)"):
        fs.copy_unknown(["a", "b", "c"], ["x"], [[0.5, 0.5]])
    with raises(ValueError, "attention", "each of 3 source tokens", "2"):
        fs.copy_unknown(["a"], ["x", "y", "z"], [[0.5, 0.5]])


def test_alignment_needs_attention():
    (found,) = search(Table(4))
    with raises(ValueError, "attention=True"):
        found[0].alignment()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error, parts",
    [
        ({"beam_size": 0}, ValueError, ["beam_size", "at least 1", "0"]),
        ({"n_best": 6}, ValueError, ["n_best", "at most beam_size = 5", "6"]),
        ({"length_penalty": "wu"}, ValueError, ["length_penalty", "'average'", "'wu'"]),
        (
            {"length_penalty": 1e6},
            ValueError,
            ["length_penalty", "between -10 and 10", "1000000.0"],
        ),
        ({"length_penalty": -10.1}, ValueError, ["length_penalty", "between -10 and 10", "-10.1"]),
        ({"length_penalty": np.nan}, ValueError, ["length_penalty", "finite", "nan"]),
        ({"coverage_penalty": -1}, ValueError, ["coverage_penalty", "at least 0", "-1"]),
        ({"max_length": -1}, ValueError, ["max_length", "at least 0", "-1"]),
        ({"max_length": [3]}, ValueError, ["max_length", "(B,) = (2,)", "(1,)"]),
        ({"max_length": [3, -3]}, ValueError, ["max_length", "at least 0", "-3"]),
        ({"max_length": None}, TypeError, ["max_length", "integer", "None"]),
        ({"min_length": [1, 9]}, ValueError, ["min_length", "max_length", "9 and 4 for row 1"]),
        ({"no_repeat_ngram": -1}, ValueError, ["no_repeat_ngram", "at least 0"]),
        ({"excluded": [0]}, ValueError, ["excluded", "end_id"]),
        ({"excluded": 3}, TypeError, ["excluded must be a list", "got 3; put a single one in a"]),
        ({"excluded": None}, TypeError, ["excluded must be a list", "got None; give () for none"]),
        ({"excluded": [9]}, ValueError, ["excluded", "between 0 and 3", "9"]),
        ({"excluded": [-2]}, ValueError, ["excluded", "between 0 and 3", "-2"]),
        ({"end_id": 4}, ValueError, ["end_id", "between 0 and 3", "4"]),
        ({"end_id": -1}, ValueError, ["end_id", "at least 0", "-1"]),
        ({"prefixes": [[1]]}, ValueError, ["prefixes", "2 rows", "1"]),
        ({"prefixes": [[1], [0]]}, ValueError, ["prefixes[1]", "end_id = 0"]),
        ({"prefixes": [[1], [4]]}, ValueError, ["prefixes", "between 0 and 3", "4"]),
        ({"prefixes": [[1], [-1]]}, ValueError, ["prefixes[1]", "at least 0", "-1"]),
        ({"prefixes": [[1] * 5, []]}, ValueError, ["prefixes[0]", "at most max_length = 4", "5"]),
        ({"prefixes": [[1.5], []]}, TypeError, ["prefixes[0]", "integers"]),
        ({"constraints": [[2], []]}, TypeError, ["constraints[0][0]", "list of tokens", "2"]),
        ({"constraints": [[[]], []]}, ValueError, ["constraints[0][0]", "at least one token"]),
        ({"constraints": [[[0]], []]}, ValueError, ["constraints[0][0]", "end_id"]),
        ({"constraints": [[[1, 2, 3], [1, 1]], []]}, ValueError, ["max_length = 4", "5"]),
        (
            {"constraints": [[], [[2], [1, 7]]]},
            ValueError,
            ["constraints[1][1] must lie between 0 and 3", "got 7 at constraints[1][1][1]"],
        ),
        ({"constraints": [[], [[-1]]]}, ValueError, ["constraints[1]", "between 0 and 3", "-1"]),
        ({"source_lengths": [1]}, ValueError, ["source_lengths", "(2,)"]),
        ({"attention": 1}, TypeError, ["attention", "True or False"]),
        ({"attention": True}, ValueError, ["attention", "state.weights is None"]),
        ({"coverage_penalty": 1}, ValueError, ["coverage_penalty", "state.weights is None"]),
    ],
    ids=str,
)
def test_wrong_arguments(options, error, parts):
    model = Table(4, range(2))
    with raises(error, *parts):
        options = {"end_id": END, "max_length": 4} | options
        beam_search(model, [START, START], **options)
    assert len(model.rows) <= 1


def test_wrong_states():
    options = {"end_id": END, "max_length": 4}
    with raises(TypeError, "step(ids)", "select(rows)", "NoneType"):
        beam_search(None, [1], **options)
    with raises(ValueError, "state", "at least one", "none"):
        beam_search([], [1], **options)
    model = Table(3)
    with raises(ValueError, "state", "twice"):
        beam_search([model, model], [1], **options)
    with raises(ValueError, "start_ids", "at least 0", "-1"):
        beam_search(Table(3), [-1], **options)
    with raises(ValueError, "start_ids", "list of integers", "()"):
        beam_search(Table(3), 1, **options)
    for n_samples, error in ((0, ValueError), (1.5, TypeError)):
        with raises(error, "n_samples"):
            sample_sequences(Table(3), [1], n_samples=n_samples, **options)
    for wrong in ({"temperature": -1.0}, {"top_k": 0}, {"top_p": 0}):
        model = Table(3)
        with raises(ValueError, *wrong):
            sample_sequences(model, [1], **wrong, **options)
        assert not model.rows  # it has not begun


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("run", [beam_search, greedy_search, sample_sequences])
def test_scores_that_are_no_numbers_are_refused(value, run):
    class Broken(Table):
        def logits(self, history):
            broken = np.full(self.classes, value)
            return broken if len(history) == 4 else np.arange(float(self.classes)) * 50

    with raises(FloatingPointError, "logits", "finite", "parameters"):
        run(Broken(4), [START], end_id=END, max_length=9)


def test_scores_of_another_shape_are_refused():
    class Wrong(Table):
        def step(self, ids):
            return super().step(ids)[:, : 7 - len(self.rows)]

    with raises(ValueError, "logits of state.step", "(R, V)"):
        search(Wrong(6, end=-9.0), max_length=5, beam_size=3)


def test_scores_that_are_integers_are_refused():
    class Wrong(Table):
        def step(self, ids):
            return super().step(ids).astype(int)

    way_out = "convert it first, as with np.asarray(state.step(ids), np.float64)"
    with raises(TypeError, "state.step(ids) must hold floating-point numbers, got", way_out):
        search(Wrong(6), max_length=5)


@pytest.mark.parametrize("shape", [(2, 3), (1,), (1, 1, 3)])
def test_attention_of_another_shape_is_refused(shape):
    class Wrong(Table):
        def step(self, ids):
            logits = super().step(ids)
            self.weights = np.ones(shape)
            return logits

    for run in (beam_search, sample_sequences):
        with raises(ValueError, "state.weights", "R = 1", str(shape)):
            run(Wrong(4), [START], end_id=END, max_length=3, attention=True)
    with raises(ValueError, "state.weights", "same S", "(1, 3)"):
        models = [Table(4, source=2), Table(4, source=3)]
        beam_search(models, [START], end_id=END, max_length=3, coverage_penalty=1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("options", [{"attention": True}, {"coverage_penalty": 0.1}])
def test_attention_that_is_no_number_is_refused(value, options):
    class Broken(Table):
        def attention(self, history):
            weights = super().attention(history)
            weights[1] = value if len(history) == 4 else weights[1]
            return weights

    with raises(FloatingPointError, "state.weights must be finite"):
        search(Broken(4, source=3, end=-9.0), **options)


def test_sources_are_no_longer_than_attention():
    options = {"sentences": (0, 1), "coverage_penalty": 0.1}
    assert search(Table(4, (0, 1), source=3), source_lengths=[3, 1], **options)
    with raises(ValueError, "source_lengths must be at most S = 3", "got 4"):
        search(Table(4, (0, 1), source=3), source_lengths=[1, 4], **options)


def test_scores_that_must_not_be_written_are_copied():
    class Constant(Table):
        table = np.log([[0.1, 0.2, 0.3, 0.4]])
        table.flags.writeable = False

        def step(self, ids):
            super().step(ids)
            return np.broadcast_to(self.table, (len(ids), 4))

    (found,) = search(Constant(4), max_length=3, beam_size=2, excluded=[3], min_length=3)
    assert found_tokens(found) == [(2, 2, 2)]
    assert Constant.table.tolist() == np.log([[0.1, 0.2, 0.3, 0.4]]).tolist()


@pytest.mark.parametrize("find", [fs.beam_search, fs.greedy_search, fs.sample_sequences])
def test_a_minimum_that_would_run_for_hours_is_refused(find):
    for least in (10**7, [3, 65_537]):
        with raises(ValueError, "min_length must be at most 65,536, got"):
            find(None, [1, 1], end_id=0, max_length=10**9, min_length=least)


def test_a_beam_that_would_take_all_memory_is_refused():
    with raises(ValueError, "beam_size must be at most 65,536", "1,000,000,000"):
        fs.beam_search(None, [1], end_id=0, max_length=3, beam_size=10**9)
