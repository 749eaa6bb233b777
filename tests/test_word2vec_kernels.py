"""Training of word vectors in the kernels: right gradients, equal twins, nothing lost."""

import inspect
import itertools

import numpy as np
import pytest
from word2vec_cases import STREAMS, VARIANTS, Case, all_variants, load, make_corpus

from fastseq._reference import word2vec as reference

TOLERANCES = {np.float64: 1e-12, np.float32: 3e-5}
ISAS = ["generic", "avx2", "avx512"]
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCES, ids=["f64", "f32"])


@pytest.fixture(params=["cython", "numba", "numpy"])
def kernels(request):
    return load(request.param)


@pytest.fixture
def cython_kernels():
    module = load("cython")
    isa = module.isa()
    yield module
    module.set_isa(isa)


def assert_equal_results(ours, theirs, tolerance):
    for name, matrix in theirs[0].items():
        assert np.abs(ours[0][name] - matrix).max() <= tolerance * np.abs(matrix).max(), name
        assert np.abs(matrix).max() > 0
    assert (ours[1][:, 1] == theirs[1][:, 1]).all()
    assert np.allclose(ours[1][:, 0], theirs[1][:, 0], rtol=max(tolerance, 1e-13))


# --- gradients ------------------------------------------------------------------------------


def softplus(x):
    return np.logaddexp(0, x)


def objective(case, outputs, first_inputs, inputs):
    """The loss of the only block of a case, pair by pair, from the equations.

    A bag's gradient goes undivided to the words of a mean, and divided to those of a sum: the
    input of an output is what it was, plus what the words have become more.
    """
    settings, ids = case.settings, case.ids
    syn1neg, syn1 = outputs
    negatives = []
    if syn1neg is not None:
        negatives = reference.draw_negatives(case.alias, settings, STREAMS[1], 0, 0)
    loss = 0.0

    def add(x, word):
        nonlocal loss
        if syn1neg is not None:
            loss += softplus(-x @ syn1neg[word])
            for negative in negatives:
                if negative != word:
                    share = settings.negative / settings.draws
                    loss += share * softplus(x @ syn1neg[negative])
        if syn1 is not None:
            for node, code in zip(*case.tree.path(word), strict=True):
                s = x @ syn1[node]
                loss += softplus(-s if code == 0 else s)

    for begin, end in itertools.pairwise(case.offsets):
        for i in range(begin, end):
            places = range(max(begin, i - settings.window), min(end, i + settings.window + 1))
            others = [ids[j] for j in places if j != i]
            if settings.skip_gram:
                for word in others:
                    # either way round: the pairs of a window of one size are the same
                    add(inputs[ids[i]], word)
            elif others:
                before = first_inputs[others].sum(axis=0)
                more = (inputs[others] - first_inputs[others]).sum(axis=0)
                n = len(others)
                add(before / n + more if settings.mean else before + more / n, ids[i])
    return loss


@all_variants
@pytest.mark.parametrize("ends", [(2,), (1, 3), (7, 8, 16)], ids=["pair", "three", "block"])
def test_changes_are_central_differences_of_the_objective(kernels, variant, ends):
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 6, ends[-1]).astype(np.int32)
    ids[:2] = 0, 1
    corpus = ids, np.array([0, *ends], np.int64)
    case = Case(corpus, variant, words=6, size=3, window=3, shrink=False, sample=0,
                virtual_workers=1)  # fmt: skip
    after, losses = case.train(kernels, rates=np.ones(1))
    before = case.matrices()
    outputs = [before.get("syn1neg"), before.get("syn1")]
    inputs = before["syn0"]
    exact = objective(case, outputs, inputs, inputs)
    assert abs(losses[0, 0] - exact) < 1e-12 * exact
    for name, matrix in before.items():
        for at in np.ndindex(matrix.shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = {**before, name: matrix.copy()}
                moved[name][at] += step
                outputs = [moved.get("syn1neg"), moved.get("syn1")]
                values.append(objective(case, outputs, inputs, moved["syn0"]))
            gradient = (values[0] - values[1]) / 2e-5
            # the loss is known to some 1e-15 of its size, the differences to a 1e5th of that
            tolerance = 2e-10 * exact + 1e-8 * abs(gradient)
            assert abs(after[name][at] - matrix[at] + gradient) < tolerance, (name, at)


# --- twins ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def from_numpy():
    """What the NumPy twin makes of a corpus, once for all who compare with it."""
    known = {}

    def result(variant, dtype, virtual_workers):
        key = variant, dtype, virtual_workers
        if key not in known:
            length = 9000 if dtype is np.float64 else 1500  # more than a chunk, or less
            corpus = make_corpus(length=length)
            case = Case(corpus, variant, dtype=dtype, virtual_workers=virtual_workers)
            known[key] = case, case.train(reference)
        return known[key]

    return result


def test_twins_have_equal_signatures(kernels):
    names = list(inspect.signature(kernels.train_words).parameters)
    assert names == list(inspect.signature(reference.train_words).parameters)


@all_variants
@both_dtypes
@pytest.mark.parametrize("virtual_workers", [0, 3])
@pytest.mark.parametrize("backend", ["cython", "numba"])
def test_twins_train_alike(from_numpy, backend, variant, dtype, virtual_workers):
    module = load(backend)
    case, theirs = from_numpy(variant, dtype, virtual_workers)
    assert_equal_results(case.train(module), theirs, TOLERANCES[dtype])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", [1, 16, 17, 65, 130])
@pytest.mark.parametrize("variant", [VARIANTS[2], VARIANTS[7]], ids=["sg-both", "cbow-both"])
@both_dtypes
def test_cython_every_isa_at_awkward_sizes(cython_kernels, isa, size, variant, dtype):
    if isa not in cython_kernels.available_isas():
        pytest.skip(f"this machine or build has no {isa}")
    cython_kernels.set_isa(isa)
    case = Case(make_corpus(length=150), variant, dtype=dtype, size=size, draws=64, window=7)
    after, losses = case.train(cython_kernels)
    assert_equal_results((after, losses), case.train(reference), TOLERANCES[dtype])
    for matrix in after.values():
        whole = matrix.base.reshape(-1)  # what is beside the numbers must stay zero
        assert np.count_nonzero(whole) <= matrix.size
        padded = np.lib.stride_tricks.as_strided(
            matrix, (len(matrix), matrix.strides[0] // matrix.itemsize), matrix.strides
        )
        assert not padded[:, size:].any()


# --- threads --------------------------------------------------------------------------------


@all_variants
def test_deterministic_training_does_not_depend_on_threads(cython_kernels, variant):
    case = Case(make_corpus(length=30_000), variant, dtype=np.float32, virtual_workers=3)
    first = case.train(cython_kernels, workers=1)
    for workers in (2, 3, 7):
        assert_equal_results(case.train(cython_kernels, workers=workers), first, 0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("variant", [VARIANTS[2], VARIANTS[7]], ids=["sg-both", "cbow-both"])
@both_dtypes
def test_threads_share_negatives_on_every_isa(cython_kernels, isa, variant, dtype):
    """One thread changes four negatives at a time, and several change theirs one by one."""
    if isa not in cython_kernels.available_isas():
        pytest.skip(f"this machine or build has no {isa}")
    cython_kernels.set_isa(isa)
    corpus = make_corpus(length=17_000)
    case = Case(corpus, variant, dtype=dtype, size=67, draws=64, virtual_workers=3)
    first = case.train(cython_kernels)
    for workers in (2, 3):
        assert_equal_results(case.train(cython_kernels, workers=workers), first, 0)


@pytest.mark.parametrize("variant", [VARIANTS[i] for i in (0, 1, 5)], ids=["ns", "hs", "cbow-hs"])
def test_threads_that_race_train_everything(cython_kernels, variant):
    case = Case(make_corpus(length=60_000), variant, dtype=np.float32, sample=0)
    after, losses = case.train(cython_kernels, workers=3)
    theirs, exact = case.train(cython_kernels, workers=1)
    assert (losses[:, 1] == exact[:, 1]).all()
    for name in after:
        assert np.isfinite(after[name]).all()
        assert np.corrcoef(after[name].ravel(), theirs[name].ravel())[0, 1] > 0.9


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("variant", [VARIANTS[1], VARIANTS[5]], ids=["sg", "cbow"])
@pytest.mark.parametrize("words", [1, 2, 60, 700])
@pytest.mark.parametrize("workers", [2, 5, 64])
def test_copies_of_the_tree_change_nothing(cython_kernels, isa, variant, words, workers):
    """There is one chunk: a thread works on copies of the tree's top, and nobody else trains."""
    if isa not in cython_kernels.available_isas():
        pytest.skip(f"this machine or build has no {isa}")
    cython_kernels.set_isa(isa)
    corpus = make_corpus(words=words, length=4000)
    case = Case(corpus, variant, words=words, sample=0, block=11)
    alone = case.train(cython_kernels)
    after, losses = case.train(cython_kernels, workers=workers)
    assert np.allclose(losses, alone[1], rtol=1e-12)
    for name, matrix in alone[0].items():
        assert np.abs(after[name] - matrix).max(initial=0) < 1e-12, name
    met = {node for word in set(case.ids) for node in case.tree.path(word)[0]}
    changed = set(np.flatnonzero((after["syn1"] != case.syn1).any(axis=1)))
    assert changed <= met and len(changed) >= 0.95 * len(met)  # a word may be a sentence alone


# --- chunks and chance ----------------------------------------------------------------------


@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[4]], ids=["sg", "cbow"])
@pytest.mark.parametrize("sample", [0, 1e-2])
def test_windows_reach_across_chunks_and_not_across_sentences(kernels, variant, sample):
    ids, offsets = make_corpus(length=9000)
    offsets = offsets[(offsets < 8000) | (offsets > 8400)]  # a sentence across the border
    case = Case((ids, offsets), variant, sample=sample, size=1, block=16)
    bits = reference.random_bits(STREAMS[0], np.arange(len(ids)))
    kept = (bits >> np.uint64(32)) <= case.keep[ids]
    reach = 1 + reference.below(bits, 4)
    pairs = 0
    for begin, end in itertools.pairwise(offsets):
        places = begin + np.flatnonzero(kept[begin:end])
        for at, place in enumerate(places):
            n = min(at, reach[place]) + min(len(places) - 1 - at, reach[place])
            pairs += n if variant[0] else n > 0
    assert case.train(kernels)[1][:, 1].sum() == pairs


def test_random_numbers_are_those_of_splitmix64():
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(x) for x in reference.random_bits(0, np.arange(3))] == expected


def test_negatives_come_as_often_as_they_should():
    case = Case(make_corpus(words=20), VARIANTS[0], words=20)
    drawn = [
        reference.draw_negatives(case.alias, case.settings, 7, 0, block) for block in range(4000)
    ]
    share = np.bincount(np.concatenate(drawn), minlength=20) / (16 * 4000)
    wanted = (np.bincount(case.ids, minlength=20) + 1) ** 0.75
    wanted /= wanted.sum()
    assert np.abs(share - wanted).max() < 5 * np.sqrt(wanted.max() / (16 * 4000))
