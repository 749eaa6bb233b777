"""Pictures of vectors: D numbers become two, and keys stand beside their points."""

import numpy as np

from fastseq import checks

METHODS = ("pca", "umap", "tsne")


def project(vectors, method, seed):
    """Points (n, 2) for vectors (n, D)."""
    checks.choice("method", method, METHODS)
    vectors = np.asarray(vectors, np.float64)
    if len(vectors) < 2:
        raise ValueError(f"keys must be at least two to be drawn, got {len(vectors)}")
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if wrong.size:
        raise ValueError(
            f"keys must have vectors of finite numbers to be drawn, got others for {len(wrong)} of "
            f"them, first for keys[{wrong[0]}]: leave these out"
        )
    if method == "umap":
        return _umap(vectors, seed)
    return _tsne(vectors, seed) if method == "tsne" else principal_components(vectors)


def principal_components(vectors):
    """The coordinates (n, 2) along the two directions of the largest variance."""
    centred = vectors - vectors.mean(axis=0)
    u, s, directions = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2))
    used = min(2, len(s))
    points[:, :used] = u[:, :used] * s[:used]
    # a singular vector's sign is arbitrary: the largest part of each direction is positive
    for i, direction in enumerate(directions[:used]):
        points[:, i] *= np.sign(direction[np.argmax(abs(direction))])
    return points


def _umap(vectors, seed):
    try:
        import umap
    except ImportError as error:
        raise ImportError("method='umap' needs UMAP: pip install umap-learn") from error
    neighbours = min(15, len(vectors) - 1)
    return umap.UMAP(n_neighbors=neighbours, random_state=seed).fit_transform(vectors)


def _tsne(vectors, seed):
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError(
            "method='tsne' needs scikit-learn: pip install 'fastseq[sklearn]'"
        ) from error
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    return TSNE(perplexity=perplexity, random_state=seed).fit_transform(vectors)


def draw(keys, points):
    """A figure of points (n, 2) with their keys."""
    try:
        from matplotlib.figure import Figure  # pyplot would look for a display
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'fastseq[plot]'") from error
    axes = (figure := Figure(figsize=(8, 8), layout="tight")).add_subplot()
    axes.scatter(*points.T, s=4)
    for key, point in zip(keys, points, strict=True):
        # a dollar sign would begin a formula
        axes.annotate(key, point, size=8, parse_math=False)
    return figure
