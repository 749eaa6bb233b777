"""Beam search over scores that cost nothing, where the search remains, and over a decoder."""

from fastseq.bench import beams
from fastseq.bench.problems import spread_lengths

from .common import require

VOCABULARIES = [50, 1000, 10_000]
LENGTHS = ["equal", "ragged"]


class BeamSearch:
    """32 sentences of up to 30 tokens, 5 hypotheses each."""

    params = (VOCABULARIES, LENGTHS, list(beams.SEARCHES))
    param_names = ("tokens", "lengths", "competitor")

    def setup(self, tokens, lengths, competitor):
        if competitor != "fastseq":
            require(competitor)
        lengths = spread_lengths(32, 30 if lengths == "equal" else 10, 30).tolist()
        sizes = lengths, 5, tokens
        model = beams.MODELS["scores"][competitor](*sizes)
        self.call = beams.SEARCHES[competitor](model, *sizes, threads=1)
        self.call()

    def time_search(self, tokens, lengths, competitor):
        self.call()


class Translate:
    """A decoder with attention, sentences of 30 tokens, 5 hypotheses each: with few rows the output
    layer's weights decide, which are packed once a search."""

    params = ([1, 32], VOCABULARIES, list(beams.SEARCHES))
    param_names = ("sentences", "tokens", "competitor")

    def setup(self, sentences, tokens, competitor):
        if competitor != "fastseq":
            require(competitor)
        sizes = [30] * sentences, 5, tokens
        model = beams.MODELS["decoder"][competitor](*sizes)
        self.call = beams.SEARCHES[competitor](model, *sizes, threads=1)
        self.call()

    def time_search(self, sentences, tokens, competitor):
        self.call()
