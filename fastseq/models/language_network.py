"""The network of a language model: what comes next, after all that came before.

T steps, B rows, E the size of tokens' vectors, H hidden size, V different tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.elementwise import log_probs
from fastseq.layers import Dropout, Embedding, Linear
from fastseq.losses.adaptive_softmax import AdaptiveLogSoftmaxWithLoss
from fastseq.losses.linear_cross_entropy import LinearCrossEntropyLoss
from fastseq.losses.sampled_softmax import SampledSoftmaxLoss
from fastseq.models.networks import prepare_to_tie, recurrent_layers, run_over_tokens
from fastseq.module import Module

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from fastseq.data.batching import Batch

SOFTMAXES = ("full", "adaptive", "sampled")
NARROWER = 4  # each cluster of an adaptive softmax has features by this factor less


class LanguageNetwork(Module):
    r"""Recurrent layers over tokens' vectors, and a softmax over the next token.

    .. math::

        h_t = \mathrm{layers}(\mathrm{table}[x_t], h_{t-1}), \qquad
        p(x_{t+1} = v) = \mathrm{softmax}(W h_t + b)_v

    It is trained on windows of a stream (:class:`BPTTWindows`): the state is carried from batch
    to batch, gradients end at a window's beginning.  Without dropout the layers' products with
    the tokens' vectors are looked up, and logits exist only in blocks that stay in cache.

    Parameters
    ----------
    n_tokens : int
        V
    embedding_dim, hidden_size, num_layers : int
    cell : {"lstm", "gru", "rnn"}
    dropout : float
        For tokens' vectors, between layers, and for the outputs (Zaremba et al., 2014).
    tie_weights : bool
        Whether W is the table of the tokens' vectors; then E must be H, and the softmax can't be
        adaptive.
    softmax : {"full", "adaptive", "sampled"}
        How training goes about many tokens; see :class:`AdaptiveLogSoftmaxWithLoss` and
        :class:`SampledSoftmaxLoss`, for which ids must be sorted by falling frequency.
    cutoffs : sequence of int, optional
        Of the adaptive softmax; by default up to 2000, 10000 and 50000 tokens.
    num_sampled : int
        Of the sampled softmax.
    dtype : {float32, float64}
    seed : int, Generator or None

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> from fastseq.models.language_network import LanguageNetwork
    >>> network = LanguageNetwork(5, 8, 16, seed=0)
    >>> adam = fs.Adam(network.parameters, lr=0.02)
    >>> for epoch in range(20):
    ...     for batch in fs.BPTTWindows(np.arange(200) % 5, batch_size=4, steps=10):
    ...         adam.zero_grad()
    ...         loss = network.loss_and_grad(batch)
    ...         norm = adam.step(max_norm=1.0)
    >>> loss < 0.1
    True
    """

    def __init__(
        self,
        n_tokens: int,
        embedding_dim: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        cell: str = "lstm",
        dropout: float = 0.0,
        tie_weights: bool = False,
        softmax: str = "full",
        cutoffs: ArrayLike | None = None,
        num_sampled: int = 1000,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        names = "embedding layers dropout dropout_out output sampled"
        seeds = self.named_seeds(seed, *names.split())
        seeds.tied = seeds.embedding  # the table is drawn anew where it serves for outputs, too
        embedding = Embedding(n_tokens, embedding_dim, dtype=dtype, seed=seeds.embedding)
        sizes = embedding_dim, hidden_size, num_layers
        layers = recurrent_layers(
            *sizes, cell=cell, dropout=dropout, dtype=dtype, seed=seeds.layers
        )
        if checks.flag("tie_weights", tie_weights):
            check_softmax_to_tie(softmax)
            prepare_to_tie(embedding, hidden_size, seeds.tied)
        children = {
            "embedding": embedding,
            "dropout": Dropout(dropout, seed=seeds.dropout),
            "layers": layers,
            "dropout_out": Dropout(dropout, seed=seeds.dropout_out),
        }
        if checks.choice("softmax", softmax, SOFTMAXES) == "adaptive":
            cutoffs = _usual_cutoffs(n_tokens, hidden_size) if cutoffs is None else cutoffs
            _check_clusters(n_tokens, hidden_size, cutoffs)
            self._loss = children["softmax"] = AdaptiveLogSoftmaxWithLoss(
                hidden_size, n_tokens, cutoffs, div_value=NARROWER, dtype=dtype, seed=seeds.output
            )
        else:
            tied = embedding if tie_weights else None
            linear = Linear(hidden_size, n_tokens, dtype=dtype, seed=seeds.output, tied=tied)
            linear.parameters["bias"][...] = 0
            self._loss, children["linear"] = LinearCrossEntropyLoss(linear), linear
        if softmax == "sampled":
            count = min(checks.positive_int("num_sampled", num_sampled), n_tokens)
            self._loss = children["softmax"] = SampledSoftmaxLoss(linear, count, seed=seeds.sampled)
        super().__init__(**children)
        self._state = self._measured = None
        self.settings = {"network": repr(self)}  # which a checkpoint compares

    @property
    def n_tokens(self) -> int:
        """V"""
        return self.embedding.num_embeddings

    # --- training -------------------------------------------------------------------------------

    def loss_and_grad(self, batch: Batch) -> float:
        """The mean loss of a window in nats; its gradients are added to ``parameters.grads``."""
        state = self._state if batch.carried else None
        y, state, back = run_over_tokens(
            self.layers, self.embedding, self.dropout, batch.x, batch.lengths, state
        )
        y, into_outputs = self.dropout_out.forward(y)
        loss, backprop = self._loss.forward(y, batch.targets, batch.mask)
        back(into_outputs(backprop()))
        self._state = state
        return loss

    def loss(self, batch: Batch) -> float:
        """The mean loss of a window over all tokens, without dropout.

        Carries a state of its own on, so that it can be asked for in the middle of a training.
        """
        state = self._measured if batch.carried else None
        y, self._measured = self.layers(batch.x, state, batch.lengths, embedding=self.embedding)
        return self._loss(y, batch.targets, batch.mask)

    def training_state(self) -> dict[str, Any]:
        """What is carried from batch to batch, for checkpoints."""
        return {"state": self._state}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`training_state` gave."""
        self._state = state["state"]

    # --- use ------------------------------------------------------------------------------------

    def scores(self, h: np.ndarray) -> np.ndarray:
        """Logits of the next token, or their logarithmic softmax: (..., H) to (..., V)."""
        if isinstance(self._loss, AdaptiveLogSoftmaxWithLoss):
            return self._loss.log_prob(h)
        return self.linear(h)

    def row_scores(self) -> Callable[[np.ndarray], np.ndarray]:
        """:meth:`scores` of a row (1, H), for many calls.

        A linear layer's weights are those of this moment, and its scores lie in one array, which
        the next call overwrites.
        """
        if isinstance(self._loss, AdaptiveLogSoftmaxWithLoss):
            return self._loss.log_prob
        multiply = kernels().RowMultiplier(self.linear.weight, self.linear.parameters["bias"])
        scores = np.empty((1, self.n_tokens), self.dtype)

        def score(h):
            multiply(h, scores)
            return scores

        return score

    def log_prob(self, ids: np.ndarray, state: Any = None) -> tuple[np.ndarray, Any]:
        """The logarithms of the probabilities of ids[1:], and the state before the last one.

        Parameters
        ----------
        ids : ndarray of int64, (T + 1,)
        state : state of the layers, optional
            For one row.

        Returns
        -------
        log_prob : ndarray of float64, (T,)
        state
        """
        h, state = self.layers(ids[:-1, None], state, embedding=self.embedding)
        scores, targets = self.scores(h[:, 0]), np.ascontiguousarray(ids[1:])
        return log_probs(scores, targets), state

    def stream(self) -> TokenStream:
        """The network one token at a time; see :class:`TokenStream`."""
        return TokenStream(self)

    def release(self) -> None:
        """Let go of the memory that is kept from call to call, and of carried states."""
        super().release()
        self._loss.release()
        self._state = self._measured = None


class TokenStream:
    """A network that reads token by token and says what may come next.

    It keeps the weights of the moment it was made, but for the embedding's and those of an
    adaptive softmax; with a full softmax nothing is allocated on the way.
    """

    def __init__(self, network):
        self._network, self._stream = network, network.layers.stream()
        self._score = network.row_scores()
        self._x = np.empty((1, network.embedding.embedding_dim), network.dtype)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Read several tokens (N,) at once; the scores (1, V) of the one after them."""
        network = self._network
        h, self._stream.state = network.layers(
            ids[:, None], self._stream.state, embedding=network.embedding
        )
        return self._score(h[-1])

    def step(self, token: int) -> np.ndarray:
        """Read a token; the scores (1, V) of the next one, which the next step overwrites."""
        np.copyto(self._x[0], self._network.embedding.parameters["weight"][token])
        return self._score(self._stream.step(self._x))


def check_softmax_to_tie(softmax: str) -> None:
    """Raise unless a softmax can have the table of vectors as its weights."""
    if softmax == "adaptive":
        raise ValueError(
            "tie_weights=True needs softmax='full' or 'sampled', since an adaptive one has several "
            "weights, got 'adaptive'"
        )


def _usual_cutoffs(n_tokens, hidden_size):
    cutoffs = [cutoff for cutoff in (2000, 10000, 50000) if cutoff < n_tokens]
    while len(cutoffs) > 1 and hidden_size < NARROWER ** len(cutoffs):
        cutoffs.pop()
    return cutoffs or [max(1, n_tokens // 4)]


def _check_clusters(n_tokens, hidden_size, cutoffs):
    """Raise unless there is something to cut, and features for each cluster."""
    if n_tokens < 2:
        raise ValueError(f"softmax='adaptive' needs at least 2 different tokens, got {n_tokens}")
    least = NARROWER ** np.size(cutoffs)
    if hidden_size < least:
        raise ValueError(
            f"hidden_size must be at least {least} for an adaptive softmax with {np.size(cutoffs)} "
            f"cutoffs, got {hidden_size}: use a larger one, or fewer cutoffs"
        )
