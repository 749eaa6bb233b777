"""Runs the code of the notes, and makes the pictures that they show.

``python docs/run_notes.py`` runs every example of ``notes.md`` and ``notes.ja.md``, says which
lines gave something else, and leaves the pictures in ``docs/pictures/``.
"""

import contextlib
import doctest
import sys
from pathlib import Path

DOCS = Path(__file__).parent
NOTES = DOCS / "notes.md", DOCS / "notes.ja.md"


def read_examples(path):
    """The Python blocks of a Markdown file as one doctest, with the file's line numbers."""
    lines, inside = [], False
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("```"):
            inside, line = line == "```python", ""
        lines.append(line if inside else "")
    return doctest.DocTestParser().get_doctest("\n".join(lines), {}, path.name, str(path), 0)


def run(path):
    """Run a file's examples here; how many there were, and how many gave something else."""
    return doctest.DocTestRunner().run(read_examples(path))


def main():
    (DOCS / "pictures").mkdir(exist_ok=True)
    with contextlib.chdir(DOCS / "pictures"):
        results = [run(path) for path in NOTES]
    for path, result in zip(NOTES, results, strict=True):
        print(f"{path.name}: {result.attempted} examples, {result.failed} failed")
    return any(result.failed for result in results)


if __name__ == "__main__":
    sys.exit(main())
