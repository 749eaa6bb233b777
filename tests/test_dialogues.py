"""Readers of dialogues: what is an utterance, where dialogues end, and what is no dialogue."""

import gzip

import pytest
from helpers import raises, shared_data

import fastseq as fs


@pytest.fixture
def write(tmp_path):
    """A function that writes a file, from text or bytes, and returns its path."""

    def write(content, name="talk.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def test_empty_lines_are_between_dialogues(write):
    path = write("\n \nhello\nhow are you ?\n\n\t\n\n fine \n\u3000\nlast\nof\nall")
    assert fs.read_dialogues(path) == [
        ["hello", "how are you ?"],
        [" fine "],
        ["last", "of", "all"],
    ]
    assert fs.read_dialogues(path, unit="word")[:2] == [
        [["hello"], ["how", "are", "you", "?"]],
        [["fine"]],
    ]


NUMBERED = "1 hi\thello\n2 a table\tfor how many\n1 hi\thello\n\n\n1 bye\tbye\n"


def test_numbers_that_begin_anew_or_empty_lines_are_between_numbered_dialogues(write):
    expected = [["hi", "hello", "a table", "for how many"], ["hi", "hello"], ["bye", "bye"]]
    for end in ("\n", "\r\n"):
        path = write(NUMBERED.replace("\n", end))
        assert fs.read_dialogues(path, format="numbered") == expected
    packed = write(gzip.compress(NUMBERED.encode()), "talk.txt.gz")
    assert fs.read_dialogues(packed, format="numbered") == expected


def test_numbered_utterances_may_be_empty(write):
    path = write("1 \thello\n2 hi\t\n3 \t\n10 bye\t")
    with raises(ValueError, "line 4", "expected ID 4", "10"):
        fs.read_dialogues(path, format="numbered")
    path = write("1 \thello\n2 hi\t\n3 \t\n4  bye \tsee  you\n")
    expected = [["", "hello", "hi", "", "", "", " bye ", "see  you"]]
    assert fs.read_dialogues(path, format="numbered") == expected
    words = fs.read_dialogues(path, format="numbered", unit="word")
    assert words == [[[], ["hello"], ["hi"], [], [], [], ["bye"], ["see", "you"]]]


def test_facts(write):
    path = write("1 cafe rating 5\n2 cafe price low\n3 hi\thello\n4 bar open\n\n1 hi\thello\n")
    read = {f: fs.read_dialogues(path, format="numbered", facts=f) for f in ("omit", "join")}
    assert read["omit"] == [["hi", "hello"], ["hi", "hello"]]
    assert read["join"] == [
        ["cafe rating 5 cafe price low hi", "hello", "bar open"],
        ["hi", "hello"],
    ]
    assert fs.read_dialogues(path, format="numbered", facts="utterance") == [
        ["cafe rating 5", "cafe price low", "hi", "hello", "bar open"],
        ["hi", "hello"],
    ]


def test_dialogues_of_facts_alone_are_none(write):
    path = write("1 cafe rating 5\n\n1 hi\thello\n")
    assert fs.read_dialogues(path, format="numbered") == [["hi", "hello"]]
    with raises(ValueError, "talk.txt", "expected dialogues", "none"):
        fs.read_dialogues(write("1 cafe rating 5\n"), format="numbered")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("1 hi\thello\nhow\tfine\n", ["line 2", "expected an ID", "'how\\tfine'", "'lines'"]),
        ("1 hi\thello\n3 how\tfine\n", ["line 2", "expected ID 2", "got 3"]),
        ("1 hi\thello\n\n2 how\tfine\n", ["line 3", "expected ID 1", "got 2"]),
        ("1 hi\thello\n1 how\tfine\n1 a\tb\tc\n", ["line 3", "one tab", "got 2"]),
        ("1hi\thello\n", ["line 1", "expected an ID and a blank"]),
        ("1" * 5000 + " hi\thello\n", ["line 1", "expected an ID and a blank"]),
        ("-1 hi\thello\n", ["line 1", "expected an ID and a blank"]),
        ("0 hi\thello\n", ["line 1", "expected ID 1", "got 0"]),
    ],
)
def test_lines_that_are_wrongly_numbered(write, content, parts):
    with raises(ValueError, "talk.txt", *parts):
        fs.read_dialogues(write(content), format="numbered")


def test_numbered_exchanges_are_no_lines(write):
    for text, line in ((NUMBERED, 1), ("hi\nhello\n\n1 a fact\n2 hi\thello\n", 4)):
        with raises(ValueError, f"talk.txt, line {line}", "format='numbered'"):
            fs.read_dialogues(write(text))
    for lines in (["1 hi", "2 hello"], ["1 a\tb", "two"], ["7 a\tb"], ["a\tb", "1 hi"]):
        assert fs.read_dialogues(write("\n".join(lines))) == [lines]


def test_lines_have_no_facts(write):
    for facts in ("join", "utterance"):
        with raises(ValueError, "facts is for format='numbered'", facts):
            fs.read_dialogues(write("hi\nhello\n"), facts=facts)


def test_wrong_files_and_arguments(write, tmp_path):
    with raises(ValueError, "talk.txt", "expected dialogues", "none"):
        fs.read_dialogues(write("\n\n"))
    with raises(ValueError, "talk.txt", "expected text", "empty"):
        fs.read_dialogues(write(""))
    with raises(ValueError, "line 2", "UTF-8"):
        fs.read_dialogues(write(b"a\n\xff\n"))
    with pytest.raises(FileNotFoundError):
        fs.read_dialogues(tmp_path / "missing.txt")
    path = write("a\n")
    for name in ("format", "facts", "unit"):
        with raises(ValueError, name, "'other'"):
            fs.read_dialogues(path, **{name: "other"})


def test_babi():
    path = shared_data("dialog_babi", "dialog-babi-task3trn.txt.gz")
    dialogues = fs.read_dialogues(path, format="numbered")
    assert len(dialogues) == 1000 and sum(map(len, dialogues)) == 2 * 9855
    assert dialogues[0][:2] == ["good morning", "hello what can i help you with today"]
    joined = fs.read_dialogues(path, format="numbered", facts="join")
    assert [d[1::2] for d in joined] == [d[1::2] for d in dialogues]
    assert joined[0][0].startswith("resto_rome_cheap_indian_6stars R_phone")
