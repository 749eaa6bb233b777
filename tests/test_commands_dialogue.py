"""The commands train hred and chat: files, pipes and someone who types."""

import io
import sys

import numpy as np
import pytest
from command_cases import epilog, run, write

import fastseq as fs
from fastseq import processes

pytest.importorskip("safetensors")

SETTINGS = {
    "embedding_dim": 16,
    "hidden_size": 32,
    "context_size": 32,
    "dropout": 0.0,
    "epochs": 40,
    "batch_size": 4,
    "lr": 0.01,
    "random_state": 0,
}
OPTIONS = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in SETTINGS.items()) + " --quiet"
TALKS = [
    [f"my name is {name}", f"hello {name}", "who am i ?", f"you are {name}"]
    for name in ("ann", "bob", "eve", "tom")
] * 4


@pytest.fixture(autouse=True)
def folder_fixture(tmp_path, monkeypatch):
    """A folder with dialogues in both formats; commands run in this process."""
    monkeypatch.chdir(tmp_path)
    for name, value in processes.blas_threads(1).items():
        monkeypatch.setenv(name, value)
    write("talk.txt", [line for talk in TALKS for line in (*talk, "")])
    numbered = [[f"1 {a}\t{b}", f"2 {c}\t{d}"] for a, b, c, d in TALKS]
    write("numbered.txt", [line for talk in numbered for line in talk])


@pytest.fixture(scope="module", name="trained")
def trained_fixture():
    return fs.HRED(**SETTINGS).fit(TALKS)


@pytest.fixture(name="model")
def model_fixture(trained, tmp_path):
    """A model in the file hred.safetensors."""
    trained.save(tmp_path / "hred.safetensors")
    return trained


# --- train --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["talk.txt", "numbered.txt --format numbered"])
def test_train_is_fit(data, model, capsys):
    test = data.split()[0]
    assert run(f"train hred --dialogues {data} --out m --test {test} {OPTIONS}") == 0
    loaded = fs.load("m")
    assert loaded.get_params() == model.get_params()
    assert np.array_equal(loaded.network_.parameters.flat, model.network_.parameters.flat)
    perplexity = model.perplexity(TALKS).per_word
    line = f"exact {model.score(TALKS):.4f}, perplexity {perplexity:.3f} per token"
    assert capsys.readouterr().out.endswith(f"{test}: {line}\n")


@pytest.mark.parametrize("validation", ["0.25", "talk.txt"])
def test_train_with_validation(validation):
    assert run(f"train hred --dialogues talk.txt --validation {validation} --out m {OPTIONS}") == 0
    expected = fs.HRED(**SETTINGS)
    expected.fit(TALKS, validation=0.25 if validation == "0.25" else TALKS)
    loaded = fs.load("m")
    assert loaded.history_.validation == expected.history_.validation
    assert np.array_equal(loaded.network_.parameters.flat, expected.network_.parameters.flat)


def test_train_on_tokens_and_facts():
    write("facts.txt", ["1 bar open late", "2 hi\thello", "1 hi\thello"])
    line = "train hred --dialogues facts.txt --format numbered --facts join --unit token"
    assert run(f"{line} --out m {OPTIONS}") == 0
    assert "late" in fs.load("m").vocabulary_.tokens
    assert fs.load("m").unit == "token"


def test_data_without_an_answer_are_refused_before_training(capsys):
    write("single.txt", ["hello", "", "bye"])
    for options in ("single.txt", "talk.txt --test single.txt", "talk.txt --validation single.txt"):
        assert run(f"train hred --dialogues {options} --out m {OPTIONS}") == 1
        out, err = capsys.readouterr()
        assert not out and "single.txt: expected an answer" in err and "2 dialogues" in err
        with pytest.raises(FileNotFoundError):
            fs.load("m")


def test_the_examples_work(model, capsys, monkeypatch):
    line = epilog(["train", "hred"]).removeprefix("fastseq ")
    assert run(f"{line} {OPTIONS}") == 0
    capsys.readouterr()
    echo, line = epilog(["chat"]).split(" | fastseq ")
    assert echo == "echo hello" and run(line, monkeypatch, "hello\n") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


# --- chat ---------------------------------------------------------------------------------------


def test_chat_is_a_conversation(model, capsys, monkeypatch):
    said = ["my name is bob", "who am i ?", " /reset ", "my name is eve", "", "who am i ?"]
    assert run("chat hred.safetensors", monkeypatch, "\n".join(said)) == 0
    talk, expected = model.conversation(), []
    for line in said:
        if "/reset" in line:
            talk.reset()
            continue
        talk.hear(line)
        expected.append(talk.respond())
    assert capsys.readouterr().out.splitlines() == expected
    assert expected[1] == "you are bob"
    write("said.txt", said)
    assert run("chat hred.safetensors said.txt") == 0
    assert capsys.readouterr().out.splitlines() == expected


def test_chat_goes_on_with_the_first_of_several(model, capsys, monkeypatch):
    assert (
        run("chat hred.safetensors --n 3 --beam 4", monkeypatch, "my name is eve\nwho am i ?\n")
        == 0
    )
    talk, expected = model.conversation(), []
    for line in ("my name is eve", "who am i ?"):
        talk.hear(line)
        answers = talk.suggest(3, beam_size=4)
        talk.hear(answers[0])
        expected += [f"{i}\t{answer}" for i, answer in enumerate(answers, 1)]
    assert capsys.readouterr().out.splitlines() == expected


def test_chat_draws(model, capsys, monkeypatch):
    line = "chat hred.safetensors --sample --temperature 3 --top-k 5 --max-length 4 --seed"
    outs = []
    for seed in (1, 1, 2):
        assert run(f"{line} {seed}", monkeypatch, "my name is eve\nwho am i ?\n" * 3) == 0
        outs.append(capsys.readouterr().out.splitlines())
    assert outs[0] == outs[1] != outs[2]
    talk, rng = model.conversation(), np.random.default_rng(1)
    for said, answer in zip(["my name is eve", "who am i ?"] * 3, outs[0], strict=True):
        talk.hear(said)
        options = {"temperature": 3.0, "top_k": 5, "max_length": 4, "seed": rng}
        assert talk.respond(sample=True, **options) == answer


def test_chat_with_tokens(capsys, monkeypatch):
    tokens = [[line.split() for line in talk] for talk in TALKS]
    fs.HRED(unit="token", **SETTINGS).fit(tokens).save("hred.safetensors")
    assert run("chat hred.safetensors", monkeypatch, "my name is eve\nwho am i ?\n") == 0
    assert capsys.readouterr().out.splitlines() == ["hello eve", "you are eve"]


class Terminal(io.StringIO):
    """Someone who types these lines, and then Ctrl-D."""

    def isatty(self):
        return True


def test_someone_types(model, capsys, monkeypatch):
    typed = ["my name is bob", "Who am i ?", "</s>", "/reset", "my name is eve", "who am i ?"]
    monkeypatch.setattr(sys, "stdin", Terminal("\n".join(typed)))
    assert run("chat hred.safetensors") == 0
    out, err = capsys.readouterr()
    lines = [line.removeprefix("> ") for line in out.splitlines()]
    assert lines[0] == "hello bob" and lines[-2:] == ["you are eve", ""]
    unknown, error = err.splitlines()
    assert unknown == "fastseq: unknown to the model: Who"
    assert "'</s>', which stands for" in error


def test_a_word_that_cant_be_said_ends_a_pipe(model, capsys, monkeypatch):
    assert run("chat hred.safetensors", monkeypatch, "my name is eve\n</s>\n") == 1
    out, err = capsys.readouterr()
    assert out == "hello eve\n" and "standard input, line 2: " in err and "'</s>'" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [("--sample --top-p 3", "top_p"), ("--n 3 --beam 2", "beam_size = 2, got 3")],
)
def test_options_are_checked_before_anything_is_said(model, options, message, capsys, monkeypatch):
    for stdin in (io.TextIOWrapper(io.BytesIO(b"hi\n")), Terminal("hi\nhi\n")):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert run(f"chat hred.safetensors {options}") == 1
        out, err = capsys.readouterr()
        assert not out and message in err and "line 1" not in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--sample --beam 3", "--beam can't come with --sample"),
        ("--temperature 0.5", "--temperature needs --sample"),
        ("--top-p 0.5", "--top-p needs --sample"),
        ("--n 0", "1 or more"),
    ],
)
def test_wrong_options(model, options, message, capsys):
    with pytest.raises(SystemExit):
        run(f"chat hred.safetensors {options}")
    assert message in capsys.readouterr().err


def test_other_models_dont_talk(model, capsys):
    assert run("predict hred.safetensors talk.txt") == 1
    assert "holds an HRED: let fastseq chat have it" in capsys.readouterr().err
    assert run("generate hred.safetensors") == 1
    assert "holds an HRED: let fastseq chat have it" in capsys.readouterr().err
    fs.LanguageModel(epochs=1, hidden_size=8).fit("to be or not to be " * 30).save("lm.safetensors")
    assert run("chat lm.safetensors") == 1
    assert "holds a LanguageModel: let fastseq generate have it" in capsys.readouterr().err


# --- latent variables ---------------------------------------------------------------------------


def test_train_vhred(capsys, monkeypatch):
    line = epilog(["train", "vhred"]).removeprefix("fastseq ")
    assert run(f"{line} {OPTIONS} --epochs 2 --latent-size 3 --test talk.txt") == 0
    model = fs.load("vhred.safetensors")
    expected = fs.VHRED(**SETTINGS | {"epochs": 2, "latent_size": 3}).fit(TALKS, validation=0.1)
    assert np.array_equal(model.network_.parameters.flat, expected.network_.parameters.flat)
    out, report = capsys.readouterr().out, expected.latent_report(TALKS)
    used = f"divergence {report.kl:.4f} nats, {report.active_units} active units"
    assert "perplexity" in out and out.endswith(f" per token, {used}\n")
    assert f"active_units: {expected.history_.reports['active_units'][-1]:.4g}}}" in out
    assert run("chat vhred.safetensors --seed 5", monkeypatch, "my name is bob\n" * 4) == 0
    talk, rng, answers = model.conversation(), np.random.default_rng(5), []
    for _ in range(4):
        talk.hear("my name is bob")
        answers.append(talk.respond(seed=rng))
    assert capsys.readouterr().out.splitlines() == answers
    line = "chat vhred.safetensors --n 4 --beam 1 --seed 5"  # each is drawn, then searched alone
    assert run(line, monkeypatch, "my name is bob\n") == 0
    talk.reset()
    talk.hear("my name is bob")
    answers = talk.suggest(4, beam_size=1, seed=5)
    assert capsys.readouterr().out.splitlines() == [f"{i}\t{a}" for i, a in enumerate(answers, 1)]


def test_help_describes_what_a_base_describes(capsys):
    with pytest.raises(SystemExit):
        run("train vhred --help")
    text = " ".join(capsys.readouterr().out.split())
    assert "--cell NAME Of all recurrent layers: gru, lstm, rnn (default: gru)" in text
    assert "does not see a token that it has to go on from" in text  # VHRED's own word_dropout


def test_train_vae(capsys):
    x = np.random.default_rng(0).standard_normal((60, 4))
    np.savez("vectors.npz", x=x)
    line = epilog(["train", "vae"]).removeprefix("fastseq ")
    options = "--quiet --epochs 3 --hidden-size 8 --test vectors.npz"
    assert run(f"{line} {options}") == 0
    expected = fs.VAE(latent_size=4, epochs=3, hidden_size=8, random_state=0)
    expected.fit(x, validation=0.1)
    loaded = fs.load("vae.safetensors")
    assert np.array_equal(loaded.network_.parameters.flat, expected.network_.parameters.flat)
    assert f"log-probability {expected.score(x):.4f} nats" in capsys.readouterr().out
    for command in ("predict", "generate", "chat", "translate"):
        assert run(f"{command} vae.safetensors") == 1
        expected = (
            "holds a VAE, which no command uses; in Python fastseq.load('vae.safetensors') has"
        )
        assert expected in capsys.readouterr().err
    np.savez("labelled.npz", x=x, y=np.arange(60))
    assert run("train vae labelled.npz --out m") == 1
    assert "labelled.npz: expected an array x alone, got x, y" in capsys.readouterr().err


def test_wrong_files_of_vectors(capsys):
    np.savez("other.npz", z=np.ones((2, 3)))
    np.savez("none.npz")
    np.savez("few.npz", x=np.ones((0, 4)))
    np.savez("series.npz", x=np.ones((2, 3, 4)))
    np.savez("texts.npz", x=np.array([["a", "b"]]))
    np.savez("objects.npz", x=np.array([[None, 1]]))
    np.save("single.npy", np.ones((2, 3)))
    write("text.txt", ["1 2 3"])
    messages = {
        "other.npz": "expected an array x alone, got z",
        "none.npz": "expected an array x alone, got none",
        "few.npz": "expected x of shape (N, F), at least one vector, got (0, 4)",
        "series.npz": "expected x of shape (N, F), at least one vector, got (2, 3, 4)",
        "texts.npz": "X",
        "objects.npz": "expected an archive of arrays of np.savez: ",
        "single.npy": "expected an archive of arrays of np.savez, got a single array of np.save",
        "text.txt": "expected an archive of arrays of np.savez, got something else",
    }
    for path, message in messages.items():
        assert run(f"train vae {path} --out m") == 1
        assert f"error: {path}: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("unit", ["word", "token"])
def test_train_sequence_vae(unit, capsys):
    lines = [line for talk in TALKS for line in talk]
    write("lines.txt", lines)
    line = epilog(["train", "sequence-vae"]).removeprefix("fastseq ")
    sizes = {"embedding_dim": 8, "hidden_size": 8, "latent_size": 2, "epochs": 2, "unit": unit}
    options = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in sizes.items())
    assert run(f"{line} {options} --quiet --test lines.txt") == 0
    expected = fs.SequenceVAE(**sizes, random_state=0)
    expected.fit([x.split() for x in lines] if unit == "token" else lines, validation=0.1)
    loaded = fs.load("lines.safetensors")
    assert np.array_equal(loaded.network_.parameters.flat, expected.network_.parameters.flat)
    assert "active units" in capsys.readouterr().out
