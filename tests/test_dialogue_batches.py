"""Batches of dialogues: all that they must hold, once, and nothing else."""

import numpy as np
import pytest
from dialogue_cases import make_batches, make_dialogues
from helpers import raises

from fastseq.models.dialogue_batches import DialogueBatches

TURNS = (1, 4, 9, 2, 0, 7, 7, 3)


def answers_of(dialogues, which):
    """(dialogue, place) of all that is to be answered."""
    step = 2 if which == "second" else 1
    return [(i, k) for i, own in enumerate(dialogues) for k in range(1, len(own), step)]


@pytest.mark.parametrize("which", ["all", "second"])
@pytest.mark.parametrize("max_turns", [None, 2, 3])
@pytest.mark.parametrize("options", [{}, {"shuffle": True, "seed": 0, "batch_size": 3}])
def test_every_answer_comes_once_with_all_before_it(which, max_turns, options):
    dialogues = make_dialogues(turns=TURNS)
    found, heard = [], {}
    for batch in make_batches(dialogues, answers=which, max_turns=max_turns, **options):
        for b, (row, length) in enumerate(zip(batch.rows, batch.turn_lengths, strict=True)):
            assert batch.begin == len(heard.setdefault(row, []))
            for utterance in batch.turns[:length, b]:
                words = batch.utterances[: batch.lengths[utterance], utterance]
                heard[row].append(words.tolist())
        assert batch.tokens == sum(
            len(dialogues[row][batch.begin + k + 1]) - 1
            for k, row in zip(batch.answered[0], batch.rows[batch.answered[1]], strict=True)
        )
        for a, (turn, b) in enumerate(zip(*batch.answered, strict=True)):
            row, place = batch.rows[b], batch.begin + turn + 1
            size = len(batch.targets) if batch.mask is None else batch.mask[:, a].sum()
            assert batch.targets[:size, a].tolist() == dialogues[row][place].tolist()
            assert not batch.targets[size:, a].any()
            found.append((int(row), int(place)))
    assert sorted(found) == answers_of(dialogues, which)
    for row, utterances in heard.items():
        last = max(place for own, place in found if own == row)
        assert utterances == [ids[1:].tolist() for ids in dialogues[row][:last]]


def test_windows_go_on_with_the_first_rows():
    batches = make_batches(make_dialogues(turns=TURNS), max_turns=3, batch_size=4)
    before = None
    for batch in batches:
        assert batch.carried == (batch.begin > 0)
        assert (np.diff(batch.turn_lengths) <= 0).all()
        if batch.carried:
            assert batch.begin == before.begin + 3
            assert batch.rows.tolist() == before.rows[: len(batch.rows)].tolist()
            assert (before.turn_lengths[: len(batch.rows)] == 3).all()
        before = batch


def test_data_differ_where_their_last_utterances_do():
    a, b, c = (np.array([0, word, 1]) for word in (3, 4, 5))
    ones, others = [[a, b], [a, c], [a, b], [a, c]], [[a, b], [a, c], [a, c], [a, b]]
    state = make_batches(ones).state_dict()
    make_batches(ones).load_state_dict(state)
    with raises(ValueError, "data"):
        make_batches(others).load_state_dict(state)


def test_histories_are_answered_at_their_end():
    dialogues = make_dialogues(turns=TURNS)
    rows = []
    for batch in make_batches(dialogues, answers=None, batch_size=3):
        turns, columns = batch.answered
        assert batch.targets is None and not batch.tokens
        assert (turns == batch.turn_lengths[columns] - 1).all()
        rows += batch.rows[columns].tolist()
    assert sorted(rows) == [i for i, count in enumerate(TURNS) if count]


def test_equal_utterances_are_one():
    hello, bye = np.array([0, 5, 1]), np.array([0, 6, 6, 1])
    (batch,) = make_batches([[hello, bye, hello, hello, bye], [bye, hello]], read_answers=False)
    assert batch.lengths.tolist() == [2, 3]
    assert batch.turns.tolist() == [[0, 1], [1, 0], [0, 0], [0, 0]]
    assert batch.turn_lengths.tolist() == [4, 1]


def test_answers_are_among_the_utterances_if_they_are_to_be_read():
    dialogues = make_dialogues(turns=TURNS)
    for batch in make_batches(dialogues, max_turns=2):
        for a, answer in enumerate(batch.answers):
            size = batch.lengths[answer]
            assert (
                batch.utterances[:size, answer].tolist() == batch.targets[1 : size + 1, a].tolist()
            )


def test_words_limit_a_batch():
    dialogues = make_dialogues(turns=TURNS * 3)
    words = [sum(map(len, own)) for own in dialogues]
    batches = list(make_batches(dialogues, batch_size=None, max_tokens=60))
    assert len(batches) > 3
    for batch in batches:
        assert len(batch.rows) * max(words[row] for row in batch.rows) <= 60


def test_a_place_can_be_saved():
    options = {"shuffle": True, "seed": 3, "batch_size": 2, "max_turns": 2}
    batches = make_batches(make_dialogues(turns=TURNS), **options)
    list(batches)
    for _, _batch in zip(range(3), batches, strict=False):
        pass
    state, rest = batches.state_dict(), [batch.rows.tolist() for batch in batches]
    again = make_batches(make_dialogues(turns=TURNS), **options | {"seed": 9})
    again.load_state_dict(state)
    assert [batch.rows.tolist() for batch in again] == rest
    changed = make_dialogues(turns=TURNS)
    for ids in (ids for own in changed for ids in own):  # the same utterances, of other words
        ids[1:-1] = 9 - ids[1:-1]
    for other in (
        make_batches(changed, **options),
        make_batches(make_dialogues(turns=TURNS), **options | {"max_turns": 3}),
        make_batches(make_dialogues(turns=TURNS), **options, answers="second"),
        make_batches(make_dialogues(turns=TURNS), **options, read_answers=False),
    ):
        with raises(ValueError, "the state was saved with"):
            other.load_state_dict(state)


def test_there_must_be_an_answer():
    with raises(ValueError, "dialogues must have an answer", "got 2 without any"):
        DialogueBatches(make_dialogues(turns=(1, 0)))
