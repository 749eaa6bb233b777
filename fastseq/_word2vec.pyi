"""The compiled part of word vectors; see ``reference_corpus.py`` and ``reference_word2vec.py``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastseq.reference_word2vec import Settings

# end, n_items, n_words, wrong
_Read = tuple[int, int, int, bool]

class WordTable:
    @property
    def piece(self) -> int: ...
    def __init__(self, limit: int | None = None, longest_piece: int | None = None) -> None: ...
    def __len__(self) -> int: ...
    def freeze(self) -> None: ...
    def add_words(self, words: Sequence[str]) -> int | None: ...
    def add_text(
        self, text: bytes, begin: int, base: int, items: NDArray[np.int32] | None
    ) -> _Read: ...
    def add_sentences(
        self,
        sentences: list[Sequence[str]],
        begin: int,
        base: int,
        items: NDArray[np.int32] | None,
    ) -> _Read: ...
    def merge(self, other: WordTable) -> NDArray[np.int32]: ...
    def counts(self) -> NDArray[np.int64]: ...
    def firsts(self) -> NDArray[np.int64]: ...
    def words(self, numbers: NDArray[np.int64]) -> list[str]: ...
    def packed(self, numbers: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]: ...
    def prune(self, numbers: NDArray[np.int64]) -> None: ...

def count_items(items: NDArray[np.int32], counts: NDArray[np.int64]) -> None: ...
def renumber(
    items: NDArray[np.int32],
    numbers: NDArray[np.int32],
    ids: NDArray[np.int32],
    ends: NDArray[np.int64],
    n_ids: int,
    last_end: int,
    open_words: int,
) -> tuple[int, int, int, int]: ...
def available_isas() -> tuple[str, ...]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...
def give_memory_back() -> None: ...
def train_words(
    syn0: NDArray[Any],
    syn1neg: NDArray[Any] | None,
    syn1: NDArray[Any] | None,
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    keep: NDArray[np.uint32],
    alias: tuple[NDArray[np.uint32], NDArray[np.int32]] | None,
    tree: tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8]] | None,
    settings: Settings,
    streams: tuple[int, int],
    first_chunk: int,
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    workers: int,
) -> None: ...
