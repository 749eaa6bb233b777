"""What commands write never takes the place of what they read, nor of what else they write."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command_cases import run, write

import fastseq as fs
from fastseq import files, processes

pytest.importorskip("safetensors")

SMALL = "--hidden-size 3 --epochs 1 --quiet"


@pytest.fixture(autouse=True)
def folder_fixture(tmp_path, monkeypatch):
    """Data of all kinds, two models and vectors; commands run in this process."""
    monkeypatch.chdir(tmp_path)
    for name, value in processes.blas_threads(1).items():
        monkeypatch.setenv(name, value)
    write("words.conllu", ["a\tA", "b\tB", ""] * 4)
    write("dev.conllu", ["b\tB", "a\tA", ""] * 2)
    write("pairs.tsv", ["a b\tb a", "b\tb"] * 4)
    for name in ("lines.txt", "same.txt", "talk.txt"):
        write(name, ["a b", "b a", "b"] * 8)
    np.savez("vectors.npz", x=np.eye(4))
    vectors = fs.KeyedVectors.from_arrays(["a", "b"], np.eye(2, 3))
    for name in ("v.bin", "v.npy"):
        vectors.save(name)
    fs.SequenceTagger(hidden_size=3, epochs=1).fit([["a", "b"]], [["A", "B"]]).save("tagger")
    fs.Seq2Seq(hidden_size=3, epochs=1).fit([["a"], ["b"]], [["b"], ["a"]]).save("pairs")


def contents():
    return {path.name: path.read_bytes() for path in Path().iterdir()}


TAGGER = "train tagger words.conllu"
WORD2VEC = "word2vec train lines.txt --min-count 1 --epochs 1 --vector-size 3 --quiet"


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        (f"{TAGGER} --out words.conllu", "words.conllu"),
        (f"{TAGGER} --out ../{{folder}}/words.conllu", "words.conllu"),
        (f"{TAGGER} --out symlink", "symlink"),
        (f"{TAGGER} --out hardlink", "hardlink"),
        (f"{TAGGER} --validation dev.conllu --out dev.conllu", "dev.conllu"),
        (f"{TAGGER} --test dev.conllu --out dev.conllu", "dev.conllu"),
        (f"{TAGGER} --embeddings v.bin --out v.bin", "v.bin"),
        (f"{TAGGER} --embeddings v.npy --out v.npy", "v.npy"),
        (f"{TAGGER} --embeddings v.npy --out v.json", "v.json"),
        (f"{TAGGER} --out m --checkpoint words.conllu", "words.conllu"),
        ("train seq2seq --pairs pairs.tsv --out pairs.tsv", "pairs.tsv"),
        ("train seq2seq --pairs lines.txt same.txt --out same.txt", "same.txt"),
        ("train seq2seq --pairs pairs.tsv --validation lines.txt same.txt --out same.txt", "same"),
        ("train seq2seq --pairs pairs.tsv --target-embeddings v.bin --out v.bin", "v.bin"),
        ("train hred --dialogues talk.txt --out talk.txt", "talk.txt"),
        ("train vae vectors.npz --out vectors.npz", "vectors.npz"),
        ("train sequence-vae lines.txt --out lines.txt", "lines.txt"),
        ("train language lines.txt --validation same.txt --out same.txt", "same.txt"),
        (f"{WORD2VEC} --out lines.txt", "lines.txt"),
        (f"{WORD2VEC} --out w.bin --vocab lines.txt", "lines.txt"),
        ("word2vec train v.json --min-count 1 --out v.npy", "v.json"),
        ("predict tagger lines.txt --out tagger", "tagger"),
        ("predict tagger lines.txt --out lines.txt", "lines.txt"),
        ("translate pairs lines.txt --out pairs", "pairs"),
        ("translate pairs lines.txt --out lines.txt", "lines.txt"),
        ("translate pairs lines.txt --prefixes same.txt --out same.txt", "same.txt"),
        ("translate pairs lines.txt --constraints same.txt --out same.txt", "same.txt"),
        ("translate pairs lines.txt --ensemble other --out other", "other"),
    ],
)
def test_what_is_read_is_not_lost(line, lost, tmp_path, capsys):
    os.symlink("words.conllu", "symlink")
    os.link("words.conllu", "hardlink")
    Path("other").write_bytes(Path("pairs").read_bytes())
    before = contents()
    line = line.format(folder=tmp_path.name)
    assert run(f"{line} {SMALL}" if line.startswith("train") else line) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    option = next(o for o in ("--checkpoint", "--vocab", "--out") if o in line)
    assert captured.err.startswith(f"fastseq: error: {option} must not be a file that is read")
    assert lost in captured.err and "give another name" in captured.err
    assert contents() == before


@pytest.mark.parametrize(
    ("line", "options"),
    [
        (f"{TAGGER} --out m --checkpoint m {SMALL}", ("--checkpoint", "--out")),
        (f"{TAGGER} --out m --checkpoint ./m {SMALL}", ("--checkpoint", "--out")),
        (f"{TAGGER} --out tagger --checkpoint link {SMALL}", ("--checkpoint", "--out")),
        (f"{WORD2VEC} --out w.bin --vocab w.bin", ("--vocab", "--out")),
        (f"{WORD2VEC} --out w.npy --vocab w.json", ("--vocab", "--out")),
        (f"{WORD2VEC} --out w.bin --vocab w.st --checkpoint w.st", ("--checkpoint", "--vocab")),
    ],
)
def test_files_that_are_written_are_different_ones(line, options, capsys):
    os.symlink("tagger", "link")
    before = contents()
    assert run(line) == 1
    error = "fastseq: error: {} must not be the file of {}, got ".format(*options)
    assert capsys.readouterr().err.startswith(error)
    assert contents() == before


def test_a_file_that_was_written_before_is_replaced(capsys):
    for _ in range(2):
        assert run(f"{TAGGER} --validation 0.5 --out m --checkpoint c {SMALL}") == 0
        assert run("predict tagger words.conllu --out tagged") == 0
    assert Path("tagged").read_text().count("\n") == 12


needs_devices = pytest.mark.skipif(
    not os.path.exists("/dev/stdout"), reason="needs devices with names"
)


@needs_devices
def test_streams_and_devices_are_no_files(monkeypatch, capsys):
    files.check_outputs([("--out", "/dev/null"), ("--vocab", "/dev/null")], ["/dev/null"])
    files.check_outputs([("--out", "/dev/stdout"), ("--vocab", "/dev/stdout")], ["/dev/stdin", "-"])
    Path("-").write_text("a file of this name")
    with open("lines.txt") as file:
        assert run("predict tagger --format text --out ./-", monkeypatch, file.read()) == 0
    assert Path("-").read_text().startswith("a\t")


@needs_devices
@pytest.mark.parametrize("stream", ["/dev/stdout", "/dev/fd/1"])
def test_what_goes_to_a_stream_goes_behind_what_is_there(stream):
    """Whether it is a pipe, or a file that somebody else writes to as well."""
    command = [*processes.python(), "-m", "fastseq", "predict", "tagger", "lines.txt"]
    expected = subprocess.run(command, capture_output=True, check=True).stdout
    assert expected.startswith(b"a\t")
    command += ["--out", stream]
    assert subprocess.run(command, capture_output=True, check=True).stdout == expected
    with open("log", "wb", 0) as log:
        log.write(b"before\n")
        subprocess.run(command, stdout=log, check=True)
        log.write(b"behind\n")
    assert Path("log").read_bytes() == b"before\n" + expected + b"behind\n"


@needs_devices
def test_a_device_needs_no_folder_that_can_be_written(monkeypatch):
    """As for users that aren't root."""
    allows = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/dev" and allows(path, mode))
    assert run("predict tagger lines.txt --out /dev/null") == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.check_writable("/dev/fd/4321")
    with pytest.raises(PermissionError):
        files.check_writable("/dev/new")
