"""Word2Vec: vectors of words from the words around them, with gensim's interface."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import backend, checks, files
from fastseq.checkpoint import load_checkpoint, save_checkpoint
from fastseq.module import Explained
from fastseq.words import word2vec_states
from fastseq.words.corpus import Corpus
from fastseq.words.keyed_vectors import KeyedVectors
from fastseq.words.vector_search import best
from fastseq.words.vector_table import extended, is_key, is_single, no_key
from fastseq.words.word2vec_training import CALLS, Training, new_rows, placed

if TYPE_CHECKING:
    Sentences = Iterable[Sequence[str]] | Corpus

MAX_WINDOW = 10_000
AT_ONCE = 256  # first vectors that are drawn


class Word2Vec(Explained):
    r"""Vectors of words, learned from the words around them (Mikolov et al., 2013).

    With sentences the vocabulary is built and the vectors are trained at once; without, call
    :meth:`build_vocab` and :meth:`train`.  Names and meanings are gensim's; README says what of
    gensim's there is not.

    Parameters
    ----------
    sentences : iterable of lists of str, or Corpus, optional
        Sentences of any length are used whole.  They are read once and kept as numbers.
    corpus_file : str or path, optional
        A text with a sentence on each line instead; see :meth:`Corpus.from_file`.
    vector_size : int
        D, the numbers in a vector.
    alpha, min_alpha : float
        The learning rate at first and in the end; it falls linearly with the words done.
    window : int
        The most words before and after a word that count; at most 10,000.
    min_count, max_vocab_size, max_final_vocab, trim_rule
        Which words get vectors; see :meth:`Corpus.from_file`.
    sample : float
        Frequent words are passed over the more often the further their share of all words is
        above this; 0 passes over none.
    seed : int
        Of the first vectors, and of all that is drawn.
    workers : int, optional
        Threads; by default ``get_num_threads()``.
    sg : {0, 1}
        1 is skip-gram, 0 a continuous bag of words.
    hs : {0, 1}
        1 is hierarchical softmax.
    negative : int
        Words that are drawn for each pair to tell the right one from; 0 is no negative sampling.
        With ``hs=1`` both objectives are trained, unless it is 0.
    ns_exponent : float
        These are drawn with probabilities in proportion to count ** ns_exponent.
    cbow_mean : {0, 1}
        Whether a bag of words is the mean of its vectors, or their sum.
    epochs : int
        Passes over the corpus.
    shrink_windows : bool
        Whether each word's window is drawn from 1 to ``window``, or always ``window``.
    callbacks : sequence
        Objects with any of the methods ``on_train_begin``, ``on_epoch_begin``, ``on_epoch_end``
        and ``on_train_end``, which are called with the model.
    compute_loss : bool
        Whether to compute the loss, see ``losses``.
    deterministic : bool
        Whether the same seed gives the same vectors, bit for bit, on any number of threads.  If
        not, several threads change the same vectors at the same time (Recht et al., 2011), and
        two runs differ a little; one thread always gives the same.
    checkpoint : str or path, optional
        A file for the state of the training.  If it is there the run goes on from it.  Where it
        can't be written (a full disk) there is a warning, and the training goes on.
    checkpoint_every : float
        Seconds from one checkpoint to the next; one is also written at the end.
    memory_limit, folder
        Where the encoded corpus lies; see :meth:`Corpus.from_file`.
    progress : bool, optional
        Whether to show a progress bar; by default if standard error is a terminal.

    Attributes
    ----------
    wv : KeyedVectors
        The vectors, by words; ``wv.expandos["count"]`` has their counts.
    syn1neg : ndarray, (V, D), or None
        Vectors of the words as what is predicted, with negative sampling.
    syn1 : ndarray, (V - 1, D), or None
        Vectors of a Huffman tree's inner nodes, with hierarchical softmax.
    losses : list of float
        Mean loss of a pair in each epoch (of a window, for a bag of words), taken before the
        vectors change; NaN where it wasn't computed, or there were no pairs.
    corpus_count, corpus_total_words : int
        Sentences and words of the latest corpus, rare words included.
    stopped : str or None
        "interrupted" if Ctrl-C ended the latest training: what was learned is kept.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; if the text has no words that stay; if a checkpoint belongs to
        another corpus or other settings.
    FloatingPointError
        If the vectors become infinite or NaN, since ``alpha`` is too high.
    OSError
        If a file can't be read or written.

    Notes
    -----
    For an input :math:`x` and an output :math:`y`, with :math:`\sigma(s) = 1 / (1 + e^{-s})`,
    negative sampling minimises
    :math:`-\log \sigma(x \cdot y) - \sum_k \log \sigma(-x \cdot n_k)` with ``negative`` words
    :math:`n_k` drawn by chance; hierarchical softmax :math:`-\sum_l \log \sigma(\pm x \cdot
    v_l)` over the nodes on the word's way through a Huffman tree.

    Negatives are drawn for 16 words in a row (32 of them for skip-gram, 16 for bags, and more where
    ``negative`` is large), not for each pair: every input meets all of them, with the weight of
    the draws that they stand for.  The expected gradient is the same, and most of the work
    becomes dense products, which is what makes this fast.

    References
    ----------
    Mikolov, Chen, Corrado and Dean (2013), "Efficient estimation of word representations in
    vector space"; Mikolov, Sutskever, Chen, Corrado and Dean (2013), "Distributed representations
    of words and phrases and their compositionality".

    Examples
    --------
    >>> import fastseq as fs
    >>> sentences = [f"{who} eats {what}".split() for who in ("ann", "bob", "cid")
    ...              for what in ("bread", "cake")] * 50
    >>> model = fs.Word2Vec(sentences, vector_size=8, sample=0, sg=1, workers=1)
    >>> model.wv
    <KeyedVectors: 6 keys, vectors of 8 numbers, float32>
    >>> model.wv.doesnt_match(["ann", "bob", "cid", "bread"])
    'bread'
    """

    # arguments of gensim before 4.0
    _not_here = Explained._not_here | {"size": "it is vector_size", "iter": "it is epochs"}

    def __init__(
        self,
        sentences: Sentences | None = None,
        corpus_file: str | os.PathLike | None = None,
        *,
        vector_size: int = 100,
        alpha: float = 0.025,
        window: int = 5,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        sample: float = 1e-3,
        seed: int = 1,
        workers: int | None = None,
        min_alpha: float = 0.0001,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        epochs: int = 5,
        trim_rule: Callable[[str, int, int], int] | None = None,
        max_final_vocab: int | None = None,
        shrink_windows: bool = True,
        callbacks: Sequence[Any] = (),
        compute_loss: bool = False,
        deterministic: bool = False,
        checkpoint: str | os.PathLike | None = None,
        checkpoint_every: float = 60.0,
        memory_limit: int | None = None,
        folder: str | os.PathLike | None = None,
        progress: bool | None = None,
    ) -> None:
        self.vector_size, self.window, self.shrink_windows = vector_size, window, shrink_windows
        self.alpha, self.min_alpha, self.epochs = alpha, min_alpha, epochs
        self.sg, self.hs, self.cbow_mean = sg, hs, cbow_mean
        self.negative, self.ns_exponent, self.sample, self.seed = (
            negative,
            ns_exponent,
            sample,
            seed,
        )
        self.workers, self.deterministic, self.compute_loss = workers, deterministic, compute_loss
        self._check_settings()
        self.callbacks = _callbacks(callbacks)
        self.checkpoint = None if checkpoint is None else checks.path("checkpoint", checkpoint)
        if checkpoint is not None:
            files.check_writable(self.checkpoint)
        self.checkpoint_every = checks.not_negative("checkpoint_every", checkpoint_every)
        self.progress = progress
        self._choice = {
            "min_count": min_count,
            "max_vocab_size": max_vocab_size,
            "max_final_vocab": max_final_vocab,
            "trim_rule": trim_rule,
        }
        self._store = {"memory_limit": memory_limit, "folder": folder, "progress": progress}
        self._know_nothing()
        if sentences is not None or corpus_file is not None:
            self.build_vocab(sentences, corpus_file)
            self.train()
            self._corpus = None  # the text is no part of the model

    def _check_settings(self):
        """Raise unless the kernels can use the settings, which may have been assigned since."""
        for name, check in CHECKS.items():
            setattr(self, name, check(name, getattr(self, name)))
        if self.window > MAX_WINDOW:
            raise ValueError(f"window must be at most {MAX_WINDOW:,}, got {self.window:,}")
        if not self.hs and not self.negative:
            raise ValueError(
                "negative=0 with hs=0 leaves nothing to learn from: give negative=5 for negative "
                "sampling, or hs=1 for hierarchical softmax"
            )

    def _know_nothing(self):
        """Set all that is learned from corpora."""
        self.wv = KeyedVectors(self.vector_size)
        self.syn1neg = self.syn1 = self._syn0 = self._counts = self._corpus = None
        self._tables = None  # what follows from the counts, once it is needed
        self._runs = {}  # calls of train by the epoch they begin with: what tells them apart
        self.losses: list[float] = []
        self.corpus_count = self.corpus_total_words = self.epochs_trained = 0
        self.stopped: str | None = None

    if not TYPE_CHECKING:  # where it would mean that any name is right

        def __getattr__(self, name):
            hint = "; the words' vectors have it: model.wv" if hasattr(KeyedVectors, name) else ""
            raise AttributeError(f"'Word2Vec' object has no attribute {name!r}{hint}")

    def __repr__(self):
        return f"<Word2Vec: {len(self.wv):,} words, vectors of {self.vector_size} numbers>"

    # --- vocabulary -------------------------------------------------------------------------

    @checks.explained(
        progress_per="progress= of the class shows a bar",
        keep_raw_vocab="the words that don't stay are not kept",
    )
    def build_vocab(
        self,
        corpus_iterable: Sentences | None = None,
        corpus_file: str | os.PathLike | None = None,
        *,
        update: bool = False,
        trim_rule: Callable[[str, int, int], int] | None = None,
    ) -> None:
        """Choose the words from a corpus, and give them their first vectors.

        The corpus is kept for :meth:`train`.

        Parameters
        ----------
        corpus_iterable, corpus_file
            As ``sentences`` and ``corpus_file`` of the class.
        update : bool
            Add the words of a further corpus that are new and come often enough.  The vectors
            that are there stay, counts are added up.  A Huffman tree is made anew, and its nodes
            begin at zero again.
        trim_rule : callable, optional
            Instead of the class's.

        Raises
        ------
        TypeError, ValueError
            If there is no corpus or no word in it stays, or nothing to update.

        Examples
        --------
        >>> import fastseq as fs
        >>> model = fs.Word2Vec(vector_size=4, min_count=1)
        >>> model.build_vocab([["a", "b"], ["a"]])
        >>> model.build_vocab([["c", "a"]], update=True)
        >>> model.wv.index_to_key, model.wv.expandos["count"].tolist()
        (['a', 'b', 'c'], [3, 1, 1])
        """
        keys = None
        if checks.flag("update", update):
            if self._syn0 is None:
                raise ValueError("update=True needs a vocabulary that is there: build one first")
            self._check_vectors()
            keys = self.wv.index_to_key
        options = {**self._choice, "keys": keys, "update": update}
        if trim_rule is not None:
            options["trim_rule"] = trim_rule
        corpus = self._read(corpus_iterable, corpus_file, options)
        counts = corpus.counts.copy()
        if update:
            if corpus.index_to_key[: len(keys)] != keys:
                raise ValueError("the corpus must be read with the words of this model, keys=...")
            counts[: len(keys)] += self._counts
        if counts.min() < 1:
            word = corpus.index_to_key[int(np.argmin(counts))]
            raise ValueError(
                f"the corpus must have each of its words, got {word!r}, which doesn't come in it: "
                "read it without keys=..."
            )
        self._set_vocabulary(corpus._keys, counts, len(keys or ()))
        self._set_corpus(corpus)

    def _read(self, sentences, corpus_file, options):
        if (sentences is None) == (corpus_file is None):
            both = "both" if sentences is not None else "neither"
            raise ValueError(f"give one of sentences and corpus_file, got {both}")
        if isinstance(sentences, Corpus):
            return sentences
        if corpus_file is not None:
            checks.path("corpus_file", corpus_file, hint="; lists of words are for sentences")
            return Corpus.from_file(corpus_file, workers=self.workers, **options, **self._store)
        if isinstance(sentences, (str, bytes)):
            raise TypeError(
                "sentences must be an iterable of lists of words, got a string; corpus_file= takes "
                "the name of a file"
            )
        return Corpus.from_sentences(sentences, **options, **self._store)

    def _set_corpus(self, corpus):
        self._corpus = corpus
        self.corpus_count, self.corpus_total_words = corpus.raw_sentences, corpus.raw_words

    def _set_vocabulary(self, keys, counts, known):
        """Matrices for these words; the first of them are ``known``, and keep their vectors."""
        size, shape = len(keys), (len(keys), self.vector_size)
        rng = np.random.default_rng((self.seed, known))
        syn0 = new_rows(*shape)
        for begin in range(known, size, AT_ONCE):  # a second matrix would double the memory
            rows = syn0[begin : begin + AT_ONCE]
            rows[:] = (2 * rng.random(rows.shape, np.float32) - 1) / self.vector_size
        syn1neg = new_rows(*shape) if self.negative else None
        if known:
            syn0[:known] = self.wv.vectors
            if syn1neg is not None:
                syn1neg[:known] = self.syn1neg
        self._syn0, self.syn1neg = syn0, syn1neg
        self.syn1 = new_rows(size - 1, self.vector_size) if self.hs else None
        self._counts, self._tables = counts, None
        attributes = self.wv.expandos if known else {}
        self.wv = KeyedVectors.from_arrays(keys, syn0, counts=counts)
        held = {name: extended(values, size) for name, values in attributes.items()}
        self.wv.expandos = held | self.wv.expandos

    # --- training ---------------------------------------------------------------------------

    @checks.explained(
        report_delay="progress= of the class shows a bar",
        queue_factor="threads wait for nothing",
        word_count="a run that was stopped goes on from its checkpoint",
    )
    def train(
        self,
        corpus_iterable: Sentences | None = None,
        corpus_file: str | os.PathLike | None = None,
        *,
        epochs: int | None = None,
        start_alpha: float | None = None,
        end_alpha: float | None = None,
        compute_loss: bool | None = None,
        callbacks: Sequence[Any] | None = None,
        total_examples: int | None = None,
        total_words: int | None = None,
    ) -> None:
        """Train the vectors.

        Ctrl-C ends it within about a second: what was learned is kept, a checkpoint written, and
        ``stopped`` says so.  A second one raises KeyboardInterrupt at once.

        Parameters
        ----------
        corpus_iterable, corpus_file
            A corpus whose words outside of the vocabulary are passed over; by default the one of
            :meth:`build_vocab`.
        epochs, compute_loss, callbacks
            By default as given to the class.
        start_alpha, end_alpha : float, optional
            By default ``alpha`` and ``min_alpha``.
        total_examples, total_words : int, optional
            Not needed, since the corpus is known; there for programs that give them.

        Raises
        ------
        TypeError, ValueError
            If there is no vocabulary or no corpus, or the checkpoint belongs to another training;
            if vectors hold NaN or infinity before it begins; if a callback builds another
            vocabulary before it ends.
        FloatingPointError
            If they become that, since the learning rate is too high.

        Examples
        --------
        >>> import fastseq as fs
        >>> model = fs.Word2Vec(vector_size=4, min_count=1, sample=0, workers=1, compute_loss=True)
        >>> sentences = [["a", "b"], ["b", "c", "a"]]
        >>> model.build_vocab(sentences)
        >>> model.train(epochs=2)
        >>> model.train(sentences, epochs=1)
        >>> model.epochs_trained, len(model.losses)
        (3, 3)
        """
        if self._syn0 is None:
            raise ValueError("there is no vocabulary to train: call build_vocab first")
        self._check_settings()
        epochs = self.epochs if epochs is None else checks.positive_int("epochs", epochs)
        alpha = (
            self.alpha if start_alpha is None else checks.positive_float("start_alpha", start_alpha)
        )
        end = self.min_alpha if end_alpha is None else checks.not_negative("end_alpha", end_alpha)
        loss = self.compute_loss
        if compute_loss is not None:
            loss = checks.flag("compute_loss", compute_loss)
        called = _callbacks(self.callbacks if callbacks is None else callbacks)
        self._check_vectors()
        self._check_finite()
        corpus = self._corpus_to_train(corpus_iterable, corpus_file)
        self._take_vectors()
        Training(self, corpus, epochs, (alpha, end), loss, called).run()

    def get_latest_training_loss(self) -> float:
        """The mean loss of a pair in the latest epoch.

        Raises
        ------
        ValueError
            If it wasn't computed.

        Examples
        --------
        >>> import fastseq as fs
        >>> model = fs.Word2Vec([["a", "b"]], min_count=1, sample=0, compute_loss=True, workers=1)
        >>> model.get_latest_training_loss() == model.losses[-1]
        True
        """
        if not self.losses or np.isnan(self.losses[-1]):
            raise ValueError("no loss was computed: train with compute_loss=True")
        return self.losses[-1]

    def predict_output_word(
        self, context_words_list: Sequence[str | int], topn: int | None = 10
    ) -> list[tuple[str, float]] | np.ndarray:
        """The words that are most probable in the middle of others, as negative sampling has it.

        Of the context's vectors the mean (with ``cbow_mean=0`` the sum) x, and of each word the
        vector y in ``syn1neg``: softmax(x · y).  Words that the model doesn't know are left out.

        Parameters
        ----------
        context_words_list : list of str or int
            Words around the one that is looked for, or their places in the vocabulary.
        topn : int or None
            How many words; None gives the probabilities of all.

        Returns
        -------
        words : list of (str, float), or ndarray (V,)
            The most probable first.

        Raises
        ------
        KeyError
            If the model knows none of the words.
        TypeError, ValueError
            If there are no words, one is neither a string nor a place, or the model was trained
            without negative sampling.

        Examples
        --------
        >>> import fastseq as fs
        >>> sentences = [f"{who} eats {what}".split() for who in ("ann", "bob", "cid")
        ...              for what in ("bread", "cake")] * 50
        >>> model = fs.Word2Vec(sentences, vector_size=8, sample=0, workers=1, epochs=20)
        >>> model.predict_output_word(["ann", "bread"], topn=1)[0][0]
        'eats'
        """
        if self.syn1neg is None:
            raise ValueError(
                "predict_output_word needs vectors of negative sampling: train a model with "
                "negative=5"
            )
        topn = topn if topn is None else checks.not_negative_int("topn", topn)
        self._check_vectors()
        context = self._known_vectors("context_words_list", context_words_list)
        x = context.mean(axis=0) if self.cbow_mean else context.sum(axis=0)
        scores = (self.syn1neg @ x).astype(np.float64)
        probabilities = np.exp(scores - scores.max())
        probabilities /= probabilities.sum()
        if topn is None:
            return probabilities
        places = best(probabilities, topn).tolist()
        return [(self.wv.index_to_key[i], float(probabilities[i])) for i in places]

    def _known_vectors(self, name, words):
        """The vectors of those words that have one."""
        if isinstance(words, str) or is_single(words):
            raise TypeError(f"{name} must be a list of words, got {words!r}")
        words = list(words)
        for i, word in enumerate(words):
            if not is_key(word):
                raise no_key(f"{name}[{i}]", word)
        known = [self.wv.get_index(word) for word in words if word in self.wv]
        if not words:
            raise ValueError(f"{name} must hold at least one word, got none")
        if not known:
            raise KeyError(f"there is no vector for any word of {name}, such as {words[0]!r}")
        return self.wv.vectors[known]

    def _corpus_to_train(self, sentences, corpus_file):
        if sentences is None and corpus_file is None:
            if self._corpus is None:
                raise ValueError("the corpus was not kept: give sentences or corpus_file to train")
            return _not_empty(self._corpus)
        corpus = self._read(sentences, corpus_file, {"keys": self.wv.index_to_key})
        _not_empty(corpus)
        if corpus is sentences and (
            corpus.index_to_key != self.wv.index_to_key or len(corpus.counts) != len(self.wv)
        ):
            raise ValueError(
                "the corpus must have the words of this model: read it with keys=model.wv."
                "index_to_key, or build the vocabulary from it"
            )
        self.corpus_count, self.corpus_total_words = corpus.raw_sentences, corpus.raw_words
        return corpus

    def _check_vectors(self):
        """Raise unless there are vectors of the model's words, and of what is predicted."""
        words, size = self._syn0.shape
        if self.vector_size != size:
            raise ValueError(
                f"vector_size must stay {size}, as the vectors are, got {self.vector_size}: make a "
                "new model"
            )
        for name, setting, fewer in (("syn1neg", "negative", 0), ("syn1", "hs", 1)):
            matrix, value = getattr(self, name), getattr(self, setting)
            if (matrix is None) == bool(value):
                raise ValueError(
                    f"{setting} must fit {name}, which build_vocab makes, got {setting}={value} "
                    f"{'without' if matrix is None else 'with'} it: make a new model"
                )
            if matrix is not None:
                if not isinstance(matrix, np.ndarray) or matrix.dtype.kind != "f":
                    raise TypeError(f"{name} must be an array of floats, got {type(matrix)}")
                letters = "(number of words - 1, D)" if fewer else "(number of words, D)"
                checks.shape(name, matrix, (words - fewer, size), letters)
        self._check_words()

    def _check_words(self):
        """Raise unless ``wv`` has a vector for each word of the model, and no others."""
        shape, size = self.wv.vectors.shape, len(self._syn0)
        if len(self.wv) != shape[0]:
            raise ValueError(
                f"wv.index_to_key must have a key for each of the {shape[0]:,} vectors, got "
                f"{len(self.wv):,}: give back the keys, or make a new model"
            )
        if shape == self._syn0.shape:
            return
        if shape[0] > size and shape[1] == self.vector_size:
            raise ValueError(
                f"wv has {shape[0]:,} words now, but the model has {size:,}: take out again what "
                f"was added, with model.wv = model.wv.vectors_for_all(model.wv.index_to_key["
                f":{size}]); new words come with build_vocab(..., update=True), and vectors of "
                "others can be added to a copy of wv"
            )
        raise ValueError(
            f"wv must have the vectors of the model's words, of shape {self._syn0.shape}, got "
            f"{shape}: give it back the one with all of them"
        )

    def _check_finite(self):
        """Raise where there is NaN or infinity already, which alpha would be blamed for later."""
        matrices = {"wv.vectors": self.wv.vectors, "syn1neg": self.syn1neg, "syn1": self.syn1}
        for name, matrix in matrices.items():
            if matrix is None or not matrix.size:
                continue
            ends = matrix.min(), matrix.max()  # NaN if there is one
            if not np.isfinite(ends).all():
                wrong = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
                raise ValueError(
                    f"{name} must hold finite numbers to be trained on, got others in {len(wrong)} "
                    f"rows, first in row {wrong[0]}: assign finite ones, or make a new model"
                )

    def _take_vectors(self):
        """Train what is in ``wv``, where it was given other vectors."""
        self._check_vectors()
        vectors = self.wv.vectors
        if not np.may_share_memory(vectors, self._syn0):
            self._syn0[:] = vectors
        self._syn0 = placed(self._syn0)  # a copy's matrices, and a user's own, lie otherwise
        self.wv.vectors = self._syn0
        for name in ("syn1neg", "syn1"):
            matrix = getattr(self, name)
            if matrix is not None:
                setattr(self, name, placed(matrix))

    # --- files ------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the whole model into a safetensors file, so that training can go on.

        For the vectors alone use ``wv.save``.

        Raises
        ------
        TypeError
            If an attribute of the words is neither a number nor a string, a list or None.
        OSError
            If the file can't be written; an old one is as it was.
        ImportError
            If safetensors is missing.

        Examples
        --------
        >>> import os, tempfile, fastseq as fs
        >>> model = fs.Word2Vec([["a", "b"], ["b", "c"]], vector_size=4, min_count=1, workers=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.safetensors")
        ...     model.save(path)
        ...     copy = fs.Word2Vec.load(path)
        >>> bool((copy.wv.vectors == model.wv.vectors).all()), copy.epochs_trained
        (True, 5)
        """
        if self._syn0 is None:
            raise ValueError("there is nothing to save yet: call build_vocab first")
        self._take_vectors()
        state = word2vec_states.state_of(self) | word2vec_states.attributes_of(self)
        save_checkpoint(path, state, word2vec_states.KIND)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Word2Vec:
        """Read a model that :meth:`save` has written.

        Callbacks, a ``trim_rule`` and a checkpoint's name are not in the file.

        Raises
        ------
        ValueError
            If it is no such file, or damaged.
        OSError
            If it can't be read.
        """
        return cls._from_state(load_checkpoint(path, word2vec_states.KIND))

    @classmethod
    def _from_state(cls, state):
        model = cls(**state["settings"])
        model._set_vocabulary(state["keys"], state["counts"], 0)
        word2vec_states.load_state(model, state)
        word2vec_states.load_attributes(model, state)
        return model


def _zero_or_one(name, value):
    if not isinstance(value, (int, np.integer, np.bool_)) or value not in (0, 1):
        raise ValueError(f"{name} must be 0 or 1, got {value!r}")
    return int(value)


def _not_empty(corpus):
    if not len(corpus):
        raise ValueError("the corpus must have sentences to train on, got none")
    return corpus


def _workers(name, value):
    return None if value is None else backend.thread_count(name, value)


CHECKS = {
    "vector_size": checks.positive_int,
    "window": checks.positive_int,
    "alpha": checks.positive_float,
    "min_alpha": checks.not_negative,
    "sample": checks.not_negative,
    "seed": checks.not_negative_int,
    "sg": _zero_or_one,
    "hs": _zero_or_one,
    "cbow_mean": _zero_or_one,
    "negative": checks.not_negative_int,
    "ns_exponent": checks.finite,
    "epochs": checks.positive_int,
    "workers": _workers,
    "shrink_windows": checks.flag,
    "compute_loss": checks.flag,
    "deterministic": checks.flag,
}


def _callbacks(callbacks):
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks must be a list of objects, got {type(callbacks).__name__}")
    for i, callback in enumerate(callbacks):
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"callbacks[{i}] must be an object, got a class; give {name}()")
        if not any(hasattr(callback, name) for name in CALLS):
            raise TypeError(
                f"callbacks[{i}] must have one of the methods {', '.join(CALLS)}, got {callback!r}"
            )
    return tuple(callbacks)
