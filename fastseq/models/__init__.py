"""Models with ``fit``, ``predict``, ``score``, ``save`` and ``load``, as scikit-learn has them."""

from fastseq.models.estimator import Estimator, NotFittedError
from fastseq.models.estimator_files import load

__all__ = ["Estimator", "NotFittedError", "load"]
