"""From a model's steps to texts.

searches.py         beam search, greedy search, sampling
steps.py            what they do in a step
decoding_models.py  models as a search sees them
rules.py            what may come next, and what it costs
constraints.py      phrases that must occur
hypotheses.py       what was found, and how good it is
"""
