"""A dialogue that goes on turn by turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastseq import checks
from fastseq.models.dialogue_batches import one_turn

if TYPE_CHECKING:
    from fastseq.models.dialogue import HRED


class Conversation:
    """A dialogue that goes on, at the cost of one utterance a turn.

    It keeps what the context has come to, so that nothing is read twice; answers are those that
    ``respond`` of the model gives for its history.  Made by ``model.conversation()``; what the
    model learns later it does not notice.

    Parameters
    ----------
    model : HRED or VHRED

    Attributes
    ----------
    history : list
        All utterances so far, those of both sides.

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
        self._model, self._network = model, model.network_
        self.reset()

    def __repr__(self):
        return f"<Conversation of {len(self.history)} utterances with {type(self._model).__name__}>"

    def __copy__(self):
        """A conversation that goes on from here by itself."""
        other = type(self)(self._model)
        other.__dict__.update(self.__dict__, history=list(self.history))
        return other

    def reset(self) -> None:
        """Begin anew."""
        self.history: list = []
        self._carried = self._heard = None

    def hear(self, utterance: Any) -> None:
        """Take in what was said.

        Parameters
        ----------
        utterance : str or list of tokens

        Raises
        ------
        TypeError, ValueError
            If it is something else; nothing has changed then.
        """
        self._heard, self._carried = self._listen(utterance)
        self.history.append(utterance)

    def respond(self, **options: Any) -> Any:
        """An answer, which the conversation then has heard as well.

        Parameters
        ----------
        **options
            As for :meth:`HRED.predict`.

        Returns
        -------
        answer : str or list of tokens
        """
        (answer,) = self.suggest(1, **options)
        self.hear(answer)
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
        """
        model, n = self._model, checks.positive_int("n", n)
        how = model._read_options(n, options)
        heard = self._listen([])[0] if self._heard is None else self._heard
        (found,) = model._answer(heard, n, how)
        return [model._text(one.tokens) for one in found]

    def _listen(self, utterance):
        """What there is to answer to after an utterance, and what is carried on."""
        model = self._model
        model._check_fitted()
        ((ids,),) = model._encode([model._read_dialogue("utterance", [utterance])])
        return self._network.hear(one_turn(ids, len(self.history)), self._carried)
