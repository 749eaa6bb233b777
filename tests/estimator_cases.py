"""What the tests of estimators share: tiny data, and estimators that learn them in no time."""

import json

import numpy as np

import fastseq as fs
from fastseq import tensor_files
from fastseq.models.autoencoder import Autoencoder

SMALL = {"hidden_size": 6, "epochs": 3, "batch_size": 4, "random_state": 0}


def sentences(count=20, seed=0):
    """Words and tags; a tag depends on the word and on what comes after it."""
    rng = np.random.default_rng(seed)
    words = [list(rng.choice(["ab", "ba", "cab", "b"], rng.integers(1, 6))) for _ in range(count)]
    words = [[str(word) for word in sentence] for sentence in words]
    tags = []
    for sentence in words:
        pairs = zip(sentence, [*sentence[1:], ""], strict=True)
        tags.append(["A" if w[0] == "a" or w == after else "B" for w, after in pairs])
    return words, tags


def series(count=20, seed=0, features=2):
    """Time series of different lengths."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, features)) for n in rng.integers(1, 9, count)]


def labelled(count=20, seed=0):
    X = series(count, seed)
    return X, np.array(["up" if x[:, 0].sum() > 0 else "down" for x in X])


def valued(count=20, seed=0):
    X = series(count, seed)
    return X, np.array([10 + 3 * x[:, 0].sum() for x in X])


def spelled(count=20, seed=0):
    """Words, and the same backwards."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abc"), rng.integers(0, 5))) for _ in range(count)]
    return words, [word[::-1] for word in words]


def alone(data):
    """Data without targets; the others are ignored."""
    X, _ = data()
    return X, X


def vectors(count=20, seed=0):
    """Three features that a number is behind."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((count, 1)) * [1, 2, -1] + 0.3 * rng.standard_normal((count, 3))
    return X, np.zeros(count)


def make_tagger(**settings):
    sizes = {"embedding_dim": 5, "char_embedding_dim": 4, "char_hidden_size": 3}
    return fs.SequenceTagger(**(SMALL | sizes | settings))


def make_classifier(**settings):
    return fs.SequenceClassifier(**(SMALL | {"embedding_dim": 5} | settings))


def make_regressor(**settings):
    return fs.SequenceRegressor(**(SMALL | {"embedding_dim": 5} | settings))


def make_seq2seq(**settings):
    units = {"source_unit": "character", "target_unit": "character"}
    return fs.Seq2Seq(**(SMALL | units | {"embedding_dim": 5} | settings))


def make_vae(**settings):
    return fs.VAE(**(SMALL | {"latent_size": 2, "kl_updates": 4} | settings))


def make_sequence_vae(**settings):
    sizes = {"unit": "character", "embedding_dim": 5, "latent_size": 2}
    return fs.SequenceVAE(**(SMALL | sizes | {"dropout": 0.0, "kl_updates": 4} | settings))


# name: a constructor and data
CASES = {
    "tagger": (make_tagger, sentences),
    "classifier": (make_classifier, labelled),
    "regressor": (make_regressor, valued),
    "seq2seq": (make_seq2seq, spelled),
    "vae": (make_vae, lambda: alone(vectors)),
    "sequence vae": (make_sequence_vae, lambda: alone(spelled)),
}


def same(a, b):
    """Whether two predictions are equal bit for bit, be they arrays or lists."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return len(a) == len(b) and all(
        same(x, y) if isinstance(x, (list, np.ndarray)) else x == y
        for x, y in zip(a, b, strict=True)
    )


def soft(estimator, X):
    """What an estimator predicts, as numbers that the least change of a parameter shows in."""
    if isinstance(estimator, fs.Seq2Seq):
        return estimator.log_prob(X, X)
    if isinstance(estimator, Autoencoder):
        return judged(estimator, X)
    return getattr(estimator, "predict_proba", estimator.predict)(X)


def judged(estimator, X):
    """The codes of data, and how probable they are if these codes stand for them."""
    results = np.empty((len(X), estimator.latent_size + 1))
    results[:, :-1] = estimator.encode(X)
    for batch in estimator._data_batches(estimator._read(X), None):
        noise = np.zeros((1, len(batch.rows), estimator.latent_size))
        results[batch.rows, -1] = estimator.network_.judge(batch, noise)[0][0]
    return results


def change_file(path, edit):
    """Write an estimator's file anew, with other metadata or arrays."""
    file = tensor_files.read(path)
    metadata, arrays = json.loads(json.dumps(file.metadata)), dict(file.arrays)
    edit(metadata, arrays)
    tensor_files.write(path, file.kind, arrays, metadata)
