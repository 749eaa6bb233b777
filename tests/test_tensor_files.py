"""Files of arrays: what is written is what is read, or an error in one line says why not."""

import errno
import json
import math
import os
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest
import safetensors.numpy
from helpers import raises

import fastseq as fs
from fastseq import files, tensor_files

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "strided": np.arange(10, dtype=np.int16)[::3],
    "number": np.array(2.5),
    "empty": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False, True]),
    "swapped": np.array([1, 2, 70000], ">i4"),
    "half": np.array([0.5, 65504], np.float16),
    "bits": np.array([2**64 - 1], np.uint64),
    "special": np.array([np.nan, -np.inf, -0.0]),
    "größe/ä b": np.array([], np.uint8),
}
METADATA = {
    "words": ["to", "be", "ß", "\ud800", ""],
    "nested": {"a": [1, [2.5, None, {}]], "": True},
    "numbers": [0.1, 1e-300, -0.0, math.inf, 2**128 - 1],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.safetensors"


@pytest.fixture
def small(path):
    """A small file that was written well."""
    fs.save_tensors(path, {"a": np.arange(3.0), "b": np.array([[1, 2]])}, {"k": [1.5, "v"]})
    return path


def fails(path, *parts):
    """Expect an error of one line that begins with the path."""
    return raises(ValueError, f"{path}: ", *parts)


def test_what_is_written_is_read(path):
    fs.save_tensors(path, ARRAYS, METADATA)
    arrays, metadata = fs.load_tensors(str(path))
    assert metadata == METADATA
    assert arrays.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        got = arrays[name]
        assert (got.dtype, got.shape) == (expected.dtype.newbyteorder("="), expected.shape), name
        assert got.tobytes() == expected.astype(got.dtype).tobytes(), name
        assert got.flags.writeable and got.flags.aligned, name


def test_metadata_become_what_json_has(path):
    fs.save_tensors(path, {}, {"tuple": (1, 2), "numpy": np.int8(3), "float": np.float32(0.5)})
    arrays, metadata = fs.load_tensors(path)
    assert (arrays, metadata) == ({}, {"tuple": [1, 2], "numpy": 3, "float": 0.5})
    assert type(metadata["numpy"]) is int and type(metadata["float"]) is float
    fs.save_tensors(path, {}, {"nan": math.nan})
    assert math.isnan(fs.load_tensors(path)[1]["nan"])


def test_other_programs_can_read_it(small):
    assert safetensors.numpy.load_file(small)["a"].tolist() == [0, 1, 2]
    with safetensors.safe_open(small, "np") as file:
        content = json.loads(file.metadata()["fastseq"])
    assert content["metadata"] == {"k": [1.5, "v"]}
    assert (content["format"], content["kind"]) == (1, "tensors")
    assert content["version"] == fs.__version__


def test_equal_content_gives_equal_files(path):
    first = []
    for _ in range(3):
        fs.save_tensors(path, ARRAYS, METADATA)
        first.append(path.read_bytes())
    assert first[0] == first[1] == first[2]


# --- damaged files --------------------------------------------------------------------------


def test_every_flipped_bit_is_noticed(small):
    """Unless it leaves everything as it was, as another kind of blank in the header does."""
    good = small.read_bytes()
    expected = fs.load_tensors(small)
    harmless = 0
    for i in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[i] ^= 1 << bit
            small.write_bytes(bad)
            try:
                arrays, metadata = fs.load_tensors(small)
            except ValueError as error:
                assert str(error).startswith(f"{small}: ") and "\n" not in str(error)
                continue
            harmless += 1
            assert metadata == expected[1] and arrays.keys() == expected[0].keys()
            for name, array in arrays.items():
                assert array.dtype == expected[0][name].dtype
                np.testing.assert_array_equal(array, expected[0][name], strict=True)
    assert harmless < 30


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"F64"', b'"I64"'), (b"[1,2]", b"[2,1]"), (b'"a":', b'"c":'), (b"1.5", b"2.5")],
    ids=["dtype", "shape", "name", "metadata"],
)
def test_a_header_that_was_changed(small, old, new):
    """The file is whole and can be read; it is not what was written."""
    good = small.read_bytes()
    assert good.count(old) == 1
    small.write_bytes(good.replace(old, new))
    assert len(safetensors.numpy.load_file(small)) == 2
    with fails(small, "corrupted: its checksum doesn't fit"):
        fs.load_tensors(small)


def test_every_truncation_is_noticed(small):
    good = small.read_bytes()
    for size in range(len(good)):
        small.write_bytes(good[:size])
        with fails(small, "truncated: ", f"{size} ", "bytes are there"):
            fs.load_tensors(small)


def test_bytes_too_many(small):
    small.write_bytes(small.read_bytes() + b"\0")
    with fails(small, "corrupted"):
        fs.load_tensors(small)


@pytest.mark.parametrize(
    "data",
    [b"PK\x03\x04 a zip file", b"\x89HDF\r\n\x1a\n{}", b'{"json": "text"}', b"some words {"],
    ids=["zip", "hdf5", "json", "text"],
)
def test_other_kinds_of_files(path, data):
    path.write_bytes(data)
    parts = ["torch.save", "load_state_dict"] if data[:2] == b"PK" else []
    with fails(path, "not a safetensors file", *parts):
        fs.load_tensors(path)


def test_files_of_other_programs(path):
    for metadata in (None, {"format": "pt"}, {"fastseq": "[]"}):
        safetensors.numpy.save_file({"a": np.zeros(3)}, path, metadata)
        with fails(path, "not written by fastseq", "safetensors.numpy.load_file"):
            fs.load_tensors(path)
    safetensors.numpy.save_file({"a": np.zeros(3)}, path, {"fastseq": "{"})
    with fails(path, "corrupted"):
        fs.load_tensors(path)


def test_newer_formats_are_refused(path, monkeypatch):
    monkeypatch.setattr(tensor_files, "FORMAT", 2)
    monkeypatch.setattr(tensor_files, "__version__", "7.8.9")
    fs.save_tensors(path, {})
    monkeypatch.undo()
    with fails(path, "fastseq 7.8.9 in format 2", "reads format 1 only: upgrade"):
        fs.load_tensors(path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        fs.load_tensors(tmp_path / "missing.safetensors")
    with pytest.raises(IsADirectoryError):
        fs.load_tensors(tmp_path)
    with raises(FileNotFoundError, "can't be written", "nothing was replaced", "missing"):
        fs.save_tensors(tmp_path / "missing" / "a.safetensors", {})


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "error", "parts"),
    [
        ([1, 2], TypeError, ["arrays must be a mapping", "list"]),
        ({1: np.zeros(2)}, TypeError, ["keys of arrays must be strings", "1"]),
        ({"a": np.zeros(2, np.complex64)}, TypeError, ["a must hold", "complex64"]),
        ({"a": np.array(["text"])}, TypeError, ["a must hold", "<U4"]),
        ({"a": np.array([None])}, TypeError, ["a must hold", "object"]),
        ({"a": np.zeros(2, np.longdouble)}, TypeError, ["a must hold", "longdouble"]),
        ({"__metadata__": np.zeros(2)}, ValueError, ["__metadata__"]),
    ],
)
def test_arrays_that_have_no_place_in_a_file(path, arrays, error, parts):
    if np.dtype(np.longdouble).itemsize == 8 and "longdouble" in parts[-1]:
        pytest.skip("long doubles are doubles here")
    with raises(error, *[str(np.dtype(np.longdouble)) if p == "longdouble" else p for p in parts]):
        fs.save_tensors(path, arrays)
    assert not path.exists()


@pytest.mark.parametrize(
    ("metadata", "parts"),
    [
        ([], ["metadata must be a mapping", "list"]),
        ({"a": {1: 2}}, ["keys of metadata['a'] must be strings", "1"]),
        ({"a": [0, {"b": np.zeros(1)}]}, ["metadata['a'][1]['b'] must be", "ndarray"]),
        ({"a": {1.5}}, ["metadata['a'] must be", "set"]),
        ({"a": b"bytes"}, ["metadata['a'] must be", "bytes"]),
        ({"a": 1j}, ["metadata['a'] must be", "complex"]),
    ],
)
def test_metadata_that_json_lacks(path, metadata, parts):
    with raises(TypeError, *parts):
        fs.save_tensors(path, {}, metadata)
    assert not path.exists()


def test_missing_library(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (lambda: fs.save_tensors(path, {}), lambda: fs.load_tensors(path)):
        with raises(ImportError, "safetensors", "pip install 'fastseq[train]'"):
            call()


# --- disks that are full, and worse ---------------------------------------------------------


def listing(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_an_error_leaves_the_old_file(small, monkeypatch, function):
    """The disk may say that it is full as late as when it is asked to write for good."""
    before = small.read_bytes()

    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, fail)
    with raises(OSError, "can't be written: No space left", "nothing was replaced", str(small)):
        fs.save_tensors(small, {"a": np.zeros(1000)})
    monkeypatch.undo()
    assert small.read_bytes() == before
    assert listing(small.parent) == [small.name]


def test_a_file_that_may_not_grow(small):
    """A limit of the process, which writes half of the file and then fails."""
    before = small.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with raises(OSError, "can't be written", str(small)) as caught:
            fs.save_tensors(small, {"a": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert small.read_bytes() == before
    assert listing(small.parent) == [small.name]


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 64 KB, where one may make such a thing."""
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        pytest.skip(f"can't mount a small disk: {error}")
    if done.returncode:
        pytest.skip(f"can't mount a small disk: {done.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk(full_disk):
    path = full_disk / "some.safetensors"
    fs.save_tensors(path, {"a": np.ones(1000)})
    with raises(OSError, "can't be written: No space left", "nothing was replaced"):
        fs.save_tensors(path, {"a": np.zeros(100_000)})
    assert listing(full_disk) == [path.name]
    assert (fs.load_tensors(path)[0]["a"] == 1).all()
    fs.save_tensors(path, {"a": np.full(5000, 2.0)})
    with raises(OSError, "No space left"):  # there is no room for the old and the new one
        fs.save_tensors(path, {"a": np.full(5000, 3.0)})
    assert (fs.load_tensors(path)[0]["a"] == 2).all()


def test_threads_that_write_one_file_hand_over_whole_ones(tmp_path):
    path, wrong = tmp_path / "file", []
    contents = [bytes([65 + i]) * 100_000 for i in range(4)]
    files.write_atomically(path, contents[0])

    def work(content):
        try:
            for _ in range(20):
                files.write_atomically(path, content)
                if path.read_bytes() not in contents:
                    wrong.append("a part of a file")
        except OSError as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_buffer_that_cannot_be_emptied_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    code = f"""if True:
        import resource, signal
        from fastseq import files

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        files.write_atomically({str(path)!r}, bytes(100))
    """
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert "can't be written" in done.stderr and str(path) in done.stderr
    assert not os.listdir(tmp_path)


def test_an_error_of_writing_names_the_users_file(tmp_path):
    path = tmp_path / "nowhere" / "words.json"
    with raises(FileNotFoundError, "can't be written", "nothing was replaced", repr(str(path))):
        fs.Vocabulary(["a"]).save(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_written_into_and_stays_one(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    files.write_atomically(path, b"content")
    reader.join()
    assert got == [b"content"] and path.is_fifo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
