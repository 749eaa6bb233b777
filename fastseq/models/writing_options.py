"""How texts are written: what users may ask for, checked before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastseq import checks
from fastseq.sampling import Sampler
from fastseq.search.hypotheses import Penalties
from fastseq.search.searches import beam_search, sample_sequences

if TYPE_CHECKING:
    import numpy as np

    from fastseq.data.vocabulary import Vocabulary
    from fastseq.search.hypotheses import Hypothesis

UNKNOWNS = ("exclude", "keep")
LONGER = 10  # tokens more than the longest text of fit end a text


class WritingOptions:
    """Whether texts are searched for or drawn, and how; all of it is checked when it is made.

    Parameters
    ----------
    vocabulary : Vocabulary
    longest : int
        The most tokens that a text of ``fit`` had.
    beam_size, length_penalty
        What a search takes where the user gives nothing.
    given : dict
        What the user gives, by the names of :data:`OPTIONS`.

    Attributes
    ----------
    rng : Generator
        For all that is drawn.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        longest: int,
        *,
        beam_size: int,
        length_penalty: float | str = 0.0,
        given: dict[str, Any],
    ) -> None:
        checks.options(given, OPTIONS)
        given = OPTIONS | given
        self.rng = checks.generator(given["seed"])
        self._common = _read_common(vocabulary, longest, given)
        self._is_drawn = checks.flag("sample", given["sample"])
        others, needed = (SEARCHED, "searching") if self._is_drawn else (DRAWN, "drawing")
        for name in others:
            if given[name] is not None:
                hint = "" if self._is_drawn else ": give sample=True"
                raise ValueError(
                    f"{name} is for {needed}{hint}, got {given[name]!r} with "
                    f"sample={self._is_drawn}"
                )
        usual = {"beam_size": beam_size, "length_penalty": length_penalty, "temperature": 1.0}
        names = DRAWN if self._is_drawn else SEARCHED
        self._own = {n: usual.get(n) if given[n] is None else given[n] for n in names}
        if self._is_drawn:
            Sampler(1, **self._own)
        else:
            checks.positive_int("beam_size", self._own["beam_size"])
            Penalties(self._own["length_penalty"], 0.0)

    def write(self, decoding: Any, begins: np.ndarray, n: int = 1) -> list[list[Hypothesis]]:
        """n texts for each row of a decoding, which begins with these tokens."""
        options = self._common | self._own
        if self._is_drawn:
            return sample_sequences(decoding, begins, n_samples=n, seed=self.rng, **options)
        return beam_search(decoding, begins, n_best=n, **options)


SEARCHED = ("beam_size", "length_penalty")
DRAWN = ("temperature", "top_k", "top_p")
OPTIONS = {
    **dict.fromkeys(SEARCHED),
    "sample": False,
    **dict.fromkeys(DRAWN),
    "min_length": 0,
    "max_length": None,
    "no_repeat_ngram": 0,
    "unknown": "exclude",
    "seed": None,
}


def _read_common(vocabulary, longest, given):
    """What searching and drawing have in common."""
    least = checks.not_negative_int("min_length", given["min_length"])
    most = max(longest + LONGER, least)
    if given["max_length"] is not None:
        most = checks.not_negative_int("max_length", given["max_length"])
    if least > most:
        raise ValueError(f"min_length must be at most max_length = {most}, got {least}")
    excluded = [vocabulary.begin_id]
    if checks.choice("unknown", given["unknown"], UNKNOWNS) == "exclude":
        excluded.append(vocabulary.unknown_id)
    return {
        "end_id": vocabulary.end_id,
        "min_length": least,
        "max_length": most,
        "no_repeat_ngram": checks.not_negative_int("no_repeat_ngram", given["no_repeat_ngram"]),
        "excluded": excluded,
    }
