"""Word vectors: words are similar if similar words stand around them.

Skip-gram with negative sampling (Mikolov et al., 2013) on Shakespeare's plays, which are a small
text for it: 200,000 words.
"""

import re

import fastseq as fs
from fastseq.demo.character_model import load_text

ASKED = ("king", "love", "father", "sword", "night", "rome")
WORDS_TO_DRAW = """
king queen prince duke lord lady sir madam father mother son daughter brother sister
husband wife man woman boy girl sword blood war death grave love heart eyes tears
night day sun moon morning england france rome heaven hell god
"""


def make_sentences(text):
    """The words of each speech, in lower case."""
    speeches = re.split(r"\n\s*\n", text.lower())
    return [re.findall(r"[a-z]+(?:'[a-z]+)?", speech) for speech in speeches]


def run(*, seed=0, epochs=40):
    """Train, print some words' neighbours, and return the vectors."""
    sentences = make_sentences(load_text())
    count = sum(map(len, sentences))
    print(f"Training on {count:,} words, {epochs} times")
    model = fs.Word2Vec(
        sentences, vector_size=64, sg=1, window=5, min_count=5, epochs=epochs, seed=seed
    )
    wv = model.wv
    print(f"{len(wv):,} words have vectors\n")
    asked = [word for word in ASKED if word in wv]
    for word, similar in zip(asked, wv.most_similar_batch(asked, topn=6), strict=True):
        print(f"{word:8} {', '.join(other for other, _ in similar)}")
    print()
    return wv
