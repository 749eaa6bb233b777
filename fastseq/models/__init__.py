"""Models with ``fit``, ``predict``, ``score``, ``save`` and ``load``, as scikit-learn has them."""

from fastseq.models.classifier import SequenceClassifier
from fastseq.models.conversation import Conversation
from fastseq.models.dialogue import HRED, DialoguePerplexity
from fastseq.models.estimator import Estimator, NotFittedError
from fastseq.models.estimator_files import load
from fastseq.models.language_model import LanguageModel
from fastseq.models.latent_dialogue import VHRED
from fastseq.models.regressor import SequenceRegressor
from fastseq.models.seq2seq import Seq2Seq
from fastseq.models.seq2seq_writing import Candidate
from fastseq.models.sequence_vae import SequenceVAE
from fastseq.models.tagger import SequenceTagger
from fastseq.models.vae import VAE

__all__ = [
    "HRED",
    "VAE",
    "VHRED",
    "Candidate",
    "Conversation",
    "DialoguePerplexity",
    "Estimator",
    "LanguageModel",
    "NotFittedError",
    "Seq2Seq",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "SequenceVAE",
    "load",
]
