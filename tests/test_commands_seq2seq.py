"""The commands train seq2seq, translate and score: files and pipes in and out."""

import numpy as np
import pytest
from command_cases import epilog, run, write
from estimator_cases import spelled

import fastseq as fs
from fastseq import processes
from fastseq.commands.pairs import read_pairs

pytest.importorskip("safetensors")

SETTINGS = {
    "source_unit": "character",
    "target_unit": "token",
    "hidden_size": 16,
    "embedding_dim": 8,
    "epochs": 20,
    "batch_size": 4,
    "lr": 0.02,
}
OPTIONS = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in SETTINGS.items()) + " --quiet"
X = [word for word in spelled(60)[0] if word]
Y = [list(word[::-1]) for word in X]


@pytest.fixture(autouse=True)
def folder_fixture(tmp_path, monkeypatch):
    """A folder with pairs, in one file and in two; commands run in this process."""
    monkeypatch.chdir(tmp_path)
    for name, value in processes.blas_threads(1).items():
        monkeypatch.setenv(name, value)
    write("train.tsv", [f"{x}\t{' '.join(y)}" for x, y in zip(X, Y, strict=True)])
    write("turned.tsv", [f"{' '.join(y)}\t{x}" for x, y in zip(X, Y, strict=True)])
    write("train.source", X)
    write("train.target", [" ".join(y) for y in Y])


@pytest.fixture(name="model")
def model_fixture(tmp_path):
    """A model in the file g2p.safetensors."""
    model = fs.Seq2Seq(**SETTINGS, random_state=0).fit(X, Y)
    model.save(tmp_path / "g2p.safetensors")
    return model


@pytest.mark.parametrize(
    "given", ["train.tsv", "train.source train.target", "turned.tsv --columns 1 0"]
)
def test_train_is_fit(given, model, capsys):
    assert run(f"train seq2seq --pairs {given} --out m {OPTIONS} --test {given}") == 0
    loaded = fs.load("m")
    assert loaded.get_params() == model.get_params()
    assert np.array_equal(loaded.network_.parameters.flat, model.network_.parameters.flat)
    out = capsys.readouterr().out
    name = " and ".join(given.partition(" --")[0].split())
    assert out.endswith(f"{name}: exact {model.score(X, Y):.4f}\n")


@pytest.mark.parametrize("validation", ["0.2", "train.tsv"])
def test_validation_is_a_file_or_a_fraction(validation):
    line = f"train seq2seq --pairs train.tsv --out m {OPTIONS} --epochs 2"
    assert run(f"{line} --validation {validation}") == 0
    held_out = 0.2 if validation == "0.2" else (X, Y)
    model = fs.Seq2Seq(**SETTINGS | {"epochs": 2}, random_state=0).fit(X, Y, validation=held_out)
    assert fs.load("m").history_.validation == model.history_.validation


def test_translate_is_predict(model, capsys, monkeypatch):
    lines = [*X[:5], "", "abcabc"]
    stdin = "".join(f"{line}\n" for line in lines)
    assert run("translate g2p.safetensors", monkeypatch, stdin) == 0
    expected = [" ".join(output) for output in model.predict(lines)]
    assert capsys.readouterr().out.splitlines() == expected
    write("lines.txt", lines)
    assert run("translate g2p.safetensors lines.txt --out out.txt --beam 1 --max-length 2") == 0
    with open("out.txt") as file:
        written = file.read().splitlines()
    assert written == [" ".join(y) for y in model.predict(lines, beam_size=1, max_length=2)]
    assert capsys.readouterr().out == ""


def test_many_lines_come_in_their_order(model, capsys, monkeypatch):
    monkeypatch.setattr("fastseq.commands.translate.AT_ONCE", 4)
    stdin = "".join(f"{line}\n" for line in X)
    assert run("translate g2p.safetensors --n-best 2", monkeypatch, stdin) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    expected = [
        [str(i), f"{candidate.score:.4f}", " ".join(candidate.output)]
        for i, candidates in enumerate(model.candidates(X, n_best=2), 1)
        for candidate in candidates
    ]
    assert [row[::2] for row in rows] == [row[::2] for row in expected]
    scores = [[float(row[1]) for row in these] for these in (rows, expected)]
    np.testing.assert_allclose(*scores, atol=2e-4)


def test_alignments(model, capsys, monkeypatch):
    assert run("translate g2p.safetensors --align", monkeypatch, "abc\n") == 0
    output, pairs = capsys.readouterr().out.rstrip("\n").split("\t")
    (found,) = model.candidates(["abc"], attention=True)[0]
    assert output == " ".join(found.tokens)
    expected = [f"{s}-{t}" for t, s in enumerate(found.attention[:-1, :3].argmax(axis=1))]
    assert pairs.split() == expected
    line = "translate g2p.safetensors --align --min-length 6"  # more than there is to look at
    assert run(line, monkeypatch, "ab\n\n") == 0
    long, empty = capsys.readouterr().out.splitlines()
    assert {pair.partition("-")[0] for pair in long.split("\t")[1].split()} <= {"0", "1"}
    output, pairs = empty.split("\t")
    assert len(output.split()) >= 6
    assert pairs == ""


def test_models_of_an_ensemble(model, capsys, monkeypatch):
    other = fs.Seq2Seq(**SETTINGS, random_state=1).fit(X, Y)
    other.save("other")
    stdin = "".join(f"{line}\n" for line in X)
    assert run("translate g2p.safetensors --ensemble other", monkeypatch, stdin) == 0
    expected = [" ".join(output) for output in model.predict(X, ensemble=[other])]
    assert capsys.readouterr().out.splitlines() == expected
    fs.Seq2Seq(**SETTINGS, random_state=1).fit(["x"], [["y"]]).save("stranger")
    fs.Seq2Seq(**SETTINGS, attention=None).fit(X, Y).save("blind")
    assert run("translate g2p.safetensors --ensemble other", monkeypatch, stdin) == 0
    capsys.readouterr()
    ensemble = "translate g2p.safetensors --ensemble other --ensemble"
    assert run(f"{ensemble} stranger", monkeypatch, stdin) == 1
    assert "error: stranger: has another source_vocabulary_ than" in capsys.readouterr().err
    assert run(f"{ensemble} blind --align", monkeypatch, stdin) == 1
    assert "error: blind: has attention=None, but" in capsys.readouterr().err


def test_models_of_several_seeds_are_an_ensemble_though_some_is_held_out(capsys, monkeypatch):
    for seed in (1, 2):
        line = f"train seq2seq --pairs train.tsv --out m{seed} {OPTIONS} --epochs 1"
        assert run(f"{line} --validation 0.5 --random-state {seed}") == 0
    assert run("translate m1 --ensemble m2 --beam 1", monkeypatch, "ab\n") == 0


def test_the_example_of_translate_works(model, capsys, monkeypatch):
    echo, line = epilog(["translate"]).split(" | fastseq ")
    assert echo == "echo fastseq"
    assert run(line, monkeypatch, "fastseq\n") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


# --- score --------------------------------------------------------------------------------------


def test_score(capsys, monkeypatch):
    write("right.txt", ["the cat sat", "no", "a b"])
    write("written.txt", ["the cat sits", "no", "a b c"])
    assert run("score written.txt right.txt --metrics exact ser wer per cer") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    expected = {"exact": 100 / 3, "ser": 200 / 3, "wer": 200 / 6, "per": 200 / 6, "cer": 400 / 16}
    assert dict(rows) == {name: f"{value:.2f}" for name, value in expected.items()}
    assert run("score - right.txt", monkeypatch, "the cat sat\nno\na b\n") == 0
    assert capsys.readouterr().out == "exact\t100.00\nwer\t0.00\n"


def test_bleu(capsys):
    pytest.importorskip("sacrebleu")
    write("right.txt", ["the cat sat on a mat", "it 's so"])
    write("written.txt", ["the cat sat on the mat", "it 's so"])
    assert run(epilog(["score"]).removeprefix("fastseq ") + " --tokenize none") == 0
    lines = ["the cat sat on the mat", "it 's so"], ["the cat sat on a mat", "it 's so"]
    expected = fs.bleu(*lines, tokenize="none"), fs.chrf(*lines)
    assert capsys.readouterr().out == "bleu\t{:.2f}\nchrf\t{:.2f}\n".format(*expected)


def test_files_of_other_lengths_are_not_compared(capsys):
    write("right.txt", ["a", "b"])
    write("written.txt", ["a"])
    assert run("score written.txt right.txt") == 1
    assert "written.txt: expected a line for each of the 2 of right" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("score --metrics wer cer written.txt right.txt")
    assert "got 'written.txt'; files stand before --metrics" in capsys.readouterr().err
    assert run("score - -") == 1
    assert "standard input can't be both files" in capsys.readouterr().err


# --- mistakes -----------------------------------------------------------------------------------


def test_a_table_of_pairs_is_neither_sources_nor_targets(model, capsys, monkeypatch):
    for option in ("", " --samples 1"):
        assert run(f"translate g2p.safetensors train.tsv{option}") == 1
        captured = capsys.readouterr()
        assert "train.tsv, line 1: holds a tab, as a table of pairs does: give" in captured.err
        assert captured.out == ""
    assert run("translate g2p.safetensors", monkeypatch, "ab\nb\tb\n") == 1
    assert "standard input, line 2: holds a tab" in capsys.readouterr().err
    for line in ("train.target train.tsv", "train.tsv train.target"):
        assert run(f"score {line}") == 1
        assert "train.tsv, line 1: holds a tab, which no line of" in capsys.readouterr().err
    assert run("score train.tsv train.tsv --metrics exact") == 0
    assert capsys.readouterr().out == "exact\t100.00\n"


def test_a_tab_may_be_a_character_that_the_model_knows(capsys, monkeypatch):
    fs.Seq2Seq(**SETTINGS | {"epochs": 1}).fit(["a\tb", "c"], [["x"], ["y"]]).save("tabs")
    assert run("translate tabs", monkeypatch, "a\tb\n") == 0


def test_mistakes_are_told_in_a_line(model, capsys):
    write("short.target", ["a"])
    assert run(f"train seq2seq --pairs train.source short.target --out m {OPTIONS}") == 1
    assert f"short.target: expected a line for each of the {len(X)}" in capsys.readouterr().err
    assert run(f"train seq2seq --pairs a b c --out m {OPTIONS}") == 1
    assert "expected a file of pairs or two of lines" in capsys.readouterr().err
    write("edge.tsv", ["a\t<s> b"])
    assert run(f"train seq2seq --pairs edge.tsv --out m {OPTIONS}") == 1
    assert "edge.tsv: y[0] has the token '<s>'" in capsys.readouterr().err
    assert run("predict g2p.safetensors train.source") == 1
    assert "holds a Seq2Seq: let fastseq translate have it" in capsys.readouterr().err
    fs.SequenceTagger(epochs=1, hidden_size=4).fit([["a"]], [["B"]]).save("tagger")
    assert run("translate tagger train.source") == 1
    assert "tagger: holds a SequenceTagger, which doesn't write lines" in capsys.readouterr().err
    assert run("translate g2p.safetensors train.source --n-best 9 --beam 3") == 1
    assert "n_best must be at most beam_size = 3, got 9" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["pairs", "validation", "test"])
def test_a_text_is_no_table_of_pairs(option, capsys):
    """Or a model learns to copy lines, where the second file was forgotten."""
    given = {"pairs": "train.tsv"} | {option: "train.source"}
    files = " ".join(f"--{name} {path}" for name, path in given.items())
    assert run(f"train seq2seq {files} --out m {OPTIONS} --epochs 1") == 1
    captured = capsys.readouterr()
    expected = "train.source: expected a source and a target in each line, a tab between them, got"
    assert f"{expected} one column; or give two files" in captured.err
    assert captured.out == "" and captured.err.count("\n") == 1


@pytest.mark.parametrize("columns", ["1 1", "-1 1", "0 -2"])
def test_one_column_is_no_table_of_pairs_either(columns, capsys):
    assert run(f"train seq2seq --pairs train.tsv --columns {columns} --out m {OPTIONS}") == 1
    expected = "train.tsv: expected a source and a target in each line, got the same for both"
    assert expected in capsys.readouterr().err
    assert read_pairs(["train.source"] * 2, None, ("character",) * 2) == (X, X)  # it is meant


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("empty.txt train.target", "empty.txt: expected at least one token among the sources"),
        ("train.source empty.txt", "empty.txt: expected at least one token among the targets"),
        ("left.tsv", "left.tsv: expected at least one token among the targets, got none"),
        ("left.tsv --columns 1 0", "left.tsv: expected at least one token among the sources"),
    ],
)
def test_files_without_a_token_are_named(given, message, capsys):
    write("empty.txt", ["", " "] * (len(X) // 2) + [""] * (len(X) % 2))
    write("left.tsv", [f"{x}\t " for x in X])
    options = f"{OPTIONS} --source-unit word --target-unit word"
    assert run(f"train seq2seq --pairs {given} --out m {options}") == 1
    assert message in capsys.readouterr().err


def test_pairs_stand_at_the_ends_of_a_table():
    write("wide.tsv", [f"{x}\tbetween  {x}\t {' '.join(y)}" for x, y in zip(X, Y, strict=True)])
    assert read_pairs(["wide.tsv"], None, ("character", "token")) == (X, Y)


def test_the_penalty_of_length_is_a_number_or_a_word(model, capsys):
    write("lines.txt", X[:5])
    for penalty in ("average", "0.7"):
        line = f"translate g2p.safetensors lines.txt --length-penalty {penalty} --n-best 2"
        assert run(line) == 0
        value = penalty if penalty == "average" else float(penalty)
        found = model.candidates(X[:5], length_penalty=value, n_best=2)
        scores = [f"{one.score:.4f}" for candidates in found for one in candidates]
        assert [row.split("\t")[1] for row in capsys.readouterr().out.splitlines()] == scores
    line = f"train seq2seq --pairs train.tsv --out m {OPTIONS} --epochs 1 --length-penalty"
    assert run(f"{line} average") == 0
    assert fs.load("m").length_penalty == "average"
    with pytest.raises(SystemExit):
        run(f"{line} mean")
    assert "expected a number or 'average', got 'mean'" in capsys.readouterr().err


def test_none_takes_an_optional_setting_away(capsys):
    line = f"train seq2seq --pairs train.tsv --out m {OPTIONS} --epochs 1"
    assert run(f"{line} --attention none --max-norm none --cell rnn") == 0
    loaded = fs.load("m")
    assert loaded.attention is None
    assert loaded.max_norm is None
    assert loaded.predict(["abc"]) != []
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run(f"{line} --hidden-size none")
    assert "invalid int value: 'none'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(f"{line} --max-norm much")
    assert "invalid float value: 'much'" in capsys.readouterr().err


def test_rules_of_a_search(model, capsys):
    write("lines.txt", X[:9])
    for option, value in (("min_length", 6), ("no_repeat_ngram", 1), ("coverage_penalty", 2.0)):
        line = f"translate g2p.safetensors lines.txt --n-best 3 --{option.replace('_', '-')}"
        assert run(f"{line} {value}") == 0
        found = model.candidates(X[:9], n_best=3, **{option: value})
        expected = [" ".join(one.output) for candidates in found for one in candidates]
        assert [row.split("\t")[2] for row in capsys.readouterr().out.splitlines()] == expected
        plain = model.candidates(X[:9], n_best=3)
        assert [one.score for one, *_ in found] != [one.score for one, *_ in plain]


@pytest.mark.filterwarnings("always:unknown='copy' will copy nothing")
def test_lines_may_be_drawn(model, capsys, monkeypatch):
    write("lines.txt", X[:5])
    monkeypatch.setattr("fastseq.commands.translate.AT_ONCE", 5)
    how = "--samples 3 --temperature 2 --top-k 4 --max-length 5 --seed 0"
    assert run(f"translate g2p.safetensors lines.txt {how}") == 0
    drawn = model.sample(X[:5], 3, temperature=2.0, top_k=4, max_length=5, seed=0)
    expected = [f"{i}\t{' '.join(y)}" for i, outputs in enumerate(drawn, 1) for y in outputs]
    assert capsys.readouterr().out.splitlines() == expected
    write("twice.txt", X[:5] * 2)  # the second chunk has numbers of its own
    assert run(f"translate g2p.safetensors twice.txt {how}") == 0
    rows = [row.split("\t") for row in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == [str(i) for i in range(1, 11) for _ in range(3)]
    assert [row[1] for row in rows[:15]] != [row[1] for row in rows[15:]]
    for options, message in (
        ("--seed 0", "--seed needs --samples"),
        ("--temperature 1", "--temperature needs --samples"),
        ("--samples 2 --n-best 2", "--n-best can't come with --samples"),
        ("--samples 2 --beam 2", "--beam can't come with --samples"),
        ("--samples 2 --constraints lines.txt", "--constraints can't come with --samples"),
    ):
        with pytest.raises(SystemExit):
            run(f"translate g2p.safetensors lines.txt {options}")
        assert message in capsys.readouterr().err
    assert run("translate g2p.safetensors lines.txt --samples 2 --unknown copy") == 0
    assert "warning: unknown='copy' will copy nothing" in capsys.readouterr().err


def test_lines_that_are_drawn_may_begin_with_prefixes_and_come_from_several_models(model, capsys):
    fs.Seq2Seq(**SETTINGS | {"epochs": 1}, random_state=1).fit(X, Y).save("other")
    write("lines.txt", X[:3])
    write("begin.txt", ["b a", "", "c"])
    line = "translate g2p.safetensors lines.txt --samples 2 --seed 0 --align"
    assert run(f"{line} --prefixes begin.txt --ensemble other") == 0
    drawn = model.sample_candidates(
        X[:3],
        2,
        seed=0,
        prefixes=[["b", "a"], [], ["c"]],
        ensemble=[fs.load("other")],
        attention=True,
    )
    expected = []
    for i, candidates in enumerate(drawn, 1):
        for one in candidates:
            sources = one.attention[:-1, :-1].argmax(axis=1)
            pairs = " ".join(f"{source}-{target}" for target, source in enumerate(sources))
            expected.append(f"{i}\t{' '.join(one.output)}\t{pairs}")
    assert capsys.readouterr().out.splitlines() == expected
    assert all(one.tokens[:2] == ["b", "a"] for one in drawn[0])
    write("long.txt", ["a"] * 4)
    assert run(f"{line} --prefixes long.txt") == 1
    assert "that is translated, got more" in capsys.readouterr().err


def test_prefixes_and_phrases_come_from_files(model, capsys, monkeypatch):
    monkeypatch.setattr("fastseq.commands.translate.AT_ONCE", 2)
    sources, letters = X[:5], sorted(set("".join(X)))
    a, b = letters[0], letters[1]
    prefixes = [[a], [], [b, a], [], [b]]
    constraints = [[[b, a], [b]], [], [[a, a]], [[b]], []]
    write("lines.txt", sources)
    write("begin.txt", [" ".join(tokens) for tokens in prefixes])
    write("phrases.txt", ["\t".join(" ".join(p) for p in phrases) for phrases in constraints])
    line = "translate g2p.safetensors lines.txt --prefixes begin.txt --constraints"
    assert run(f"{line} phrases.txt") == 0
    expected = model.predict(sources, prefixes=prefixes, constraints=constraints)
    assert expected != model.predict(sources)
    assert capsys.readouterr().out.splitlines() == [" ".join(tokens) for tokens in expected]
    write("short.txt", [a])
    assert run(f"{line} short.txt") == 1
    assert "short.txt: expected a line for each line that is translated" in capsys.readouterr().err
    write("long.txt", [a] * 6)
    assert run("translate g2p.safetensors lines.txt --prefixes long.txt") == 1
    assert "that is translated, got more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "wrong", "message"),
    [
        ("--prefixes", "zebra", "wanted, line 4: must hold tokens that the model can write, got"),
        ("--prefixes", "a </s>", "wanted, line 4: must hold tokens that the model can write, got"),
        ("--constraints", "a\tzebra", "wanted, line 4: must hold tokens that the model can write"),
        ("--constraints", "a\t ", "wanted, line 4: must have at least one token in each phrase"),
        ("--max-length 2 --prefixes", "a a a", "lines.txt, line 4: needs 3 tokens for its prefix"),
    ],
)
def test_what_is_wrong_in_files_beside_the_lines_names_the_line(
    option, wrong, message, model, capsys, monkeypatch
):
    monkeypatch.setattr("fastseq.commands.translate.AT_ONCE", 2)
    write("lines.txt", X[:5])
    write("wanted", ["", "", "", wrong, ""])
    assert run(f"translate g2p.safetensors lines.txt {option} wanted") == 1
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1
    assert len(out.splitlines()) == 2


def test_a_line_that_no_target_can_hold_is_told(model, capsys, monkeypatch):
    monkeypatch.setattr("fastseq.commands.translate.AT_ONCE", 2)
    sources, letter = X[:5], Y[0][0]
    write("lines.txt", sources)
    write("phrases.txt", ["", "", "", f"{letter} {letter}", ""])
    line = "translate g2p.safetensors lines.txt --constraints phrases.txt --no-repeat-ngram"
    assert run(f"{line} 1") == 1
    out, err = capsys.readouterr()
    assert f"lines.txt, line 4: got no target that holds ['{letter}', '{letter}']" in err
    expected = model.predict(sources[:2], no_repeat_ngram=1)
    assert out.splitlines() == [" ".join(tokens) for tokens in expected]
    assert run(f"{line} 2") == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
