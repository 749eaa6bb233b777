"""A dialogue that goes on turn by turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastseq import checks
from fastseq.models.dialogue_batches import one_turn
from fastseq.models.networks import check_outputs

if TYPE_CHECKING:
    from fastseq.models.dialogue import HRED


class Conversation:
    """A dialogue that goes on, at the cost of one utterance a turn.

    It keeps what the context has come to, so that nothing is read twice; answers are those that
    ``respond`` of the model gives for its history.  Made by ``model.conversation()``; where the
    model is fitted anew, or further, a conversation has to be reset.

    Parameters
    ----------
    model : HRED or VHRED

    Attributes
    ----------
    history : list
        All utterances so far, those of both sides; a copy.

    Examples
    --------
    >>> import fastseq as fs
    >>> model = fs.HRED(hidden_size=16, context_size=16, epochs=30, lr=0.02, random_state=0)
    >>> model = model.fit([["hello", "hello to you", "bye", "see you"]] * 16)
    >>> talk = model.conversation()
    >>> talk.hear("hello")
    >>> talk.respond()
    'hello to you'
    >>> talk.hear("bye")
    >>> talk.respond()
    'see you'
    >>> talk.history
    ['hello', 'hello to you', 'bye', 'see you']
    """

    def __init__(self, model: HRED) -> None:
        self._model = model
        self.reset()

    def __repr__(self):
        return (
            f"<Conversation of {len(self._history)} utterances with {type(self._model).__name__}>"
        )

    def __copy__(self):
        """A conversation that goes on from here by itself."""
        other = type(self)(self._model)
        other.__dict__.update(self.__dict__, _history=list(self._history))
        return other

    def reset(self) -> None:
        """Begin anew, with what the model knows now."""
        self._model._check_fitted()
        self._network, self._fit = self._model.network_, self._model.history_
        self._history: list = []
        self._carried = self._heard = None

    @property
    def history(self) -> list:
        """All utterances so far, those of both sides; a copy."""
        return [_copy(utterance) for utterance in self._history]

    def hear(self, utterance: Any) -> None:
        """Take in what was said.

        Parameters
        ----------
        utterance : str or list of tokens

        Raises
        ------
        TypeError, ValueError
            If it is something else, or the model was fitted anew; nothing has changed then.
        FloatingPointError
            If the model's parameters are not finite; nothing has changed then, either.
        """
        self._take_in(self._read(utterance), utterance)

    def respond(self, **options: Any) -> Any:
        """An answer, which the conversation then has heard as well.

        Parameters
        ----------
        **options
            As for :meth:`HRED.predict`.  An unknown token, if one may be written, is heard as
            that one token, whatever its text is split into.

        Returns
        -------
        answer : str or list of tokens

        Raises
        ------
        TypeError, ValueError
            If an option is out of its range, or the model was fitted anew.
        FloatingPointError
            If the model's parameters are not finite.
        """
        if "n" in options:
            raise TypeError("respond gives one answer, got n; suggest(n) gives several")
        (found,) = self._find(1, options)
        answer, vocabulary = self._model._text(found.tokens), self._model.vocabulary_
        self._take_in([vocabulary.begin_id, *found.tokens, vocabulary.end_id], answer)
        return answer

    def suggest(self, n: int = 1, **options: Any) -> list:
        """Answers that might be given; none of them is heard.

        Parameters
        ----------
        n : int
        **options
            As for :meth:`HRED.predict`.

        Returns
        -------
        answers : list
            The best one first, or as they were drawn.

        Raises
        ------
        TypeError, ValueError
            If an option is out of its range, n is no positive integer, or the model was fitted
            anew.
        FloatingPointError
            If the model's parameters are not finite.
        """
        return [self._model._text(one.tokens) for one in self._find(n, options)]

    def _find(self, n, options):
        """n answers to what was heard, as ids."""
        model, n = self._check_model(), checks.positive_int("n", n)
        how = model._read_options(n, options)
        heard = self._listen(self._read([]))[0] if self._heard is None else self._heard
        (found,) = model._answer(heard, n, how)
        return found

    def _read(self, utterance):
        """An utterance as ids."""
        model = self._check_model()
        ((ids,),) = model._encode([[model._read_utterance("utterance", utterance)]])
        return ids

    def _take_in(self, ids, utterance):
        self._heard, self._carried = self._listen(ids)
        self._history.append(_copy(utterance))

    def _listen(self, ids):
        """What there is to answer to after an utterance, and what is carried on."""
        heard, carried = self._network.hear(one_turn(ids, len(self._history)), self._carried)
        for array in (*(heard.last or ()), heard.states):  # or the dialogue would never recover
            if array is not None:
                check_outputs(array, self._network)
        return heard, carried

    def _check_model(self):
        """The model, if it still knows what it did when the conversation began."""
        model = self._model
        model._check_fitted()
        # each fit makes a history; one that goes on keeps the network
        if model.network_ is not self._network or model.history_ is not self._fit:
            raise ValueError(
                "the model was fitted anew, and does not know what was said: reset() the "
                "conversation, or begin another one"
            )
        return model


def _copy(utterance):
    return utterance if isinstance(utterance, str) else list(utterance)
