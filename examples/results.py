"""What the examples share: where data are, and how results get into docs/results.md."""

import argparse
import platform
import shlex
import sys
from pathlib import Path

import fastseq as fs
from fastseq.config import get_config
from fastseq.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("--data", "--results", "--word2vec-c")  # options that say where things lie
HEAD = """# Results

What the scripts in `examples/` measured, each written here by the script itself. Seeds fix
everything but time; times are of a whole `fit`, in seconds, on a machine that others used too.
"""


def parser(description, seeds=(0, 1, 2)):
    """A parser with the options of all examples."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT / ".." / "shared" / "data",
        metavar="DIR",
        help="folder with the data sets (default: ../shared/data beside the repository)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=ROOT / "docs" / "results.md",
        metavar="FILE",
        help="where results are written (default: docs/results.md)",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds), metavar="N")
    return parser


def parse(parser, *, needs_data=True):
    """The command line's options, once it is known that data and results have their folders."""
    args = parser.parse_args()
    if needs_data and not args.data.is_dir():
        parser.error(
            f"there is no folder {args.data} with the data; README.md, Ready-made models, says "
            "where they come from: give their folder, as with --data DIR"
        )
    if not args.results.parent.is_dir():
        parser.error(f"there is no folder {args.results.parent} for the results")
    return args


def record(path, title, command, columns, rows, notes=()):
    """Print a table, and put it in the place of the section with this title.

    Parameters
    ----------
    path : Path
    title, command : str
        The options that the command was called with are added.
    columns : sequence of str
    rows : list of sequences
        Strings and numbers.
    notes : sequence of str
        Paragraphs above the table.
    """
    table = [columns, ["---"] * len(columns), *rows]
    lines = [f"| {' | '.join(map(str, row))} |" for row in table]
    command = shlex.join([*command.split(), *_options(sys.argv[1:])])
    text = "\n\n".join([f"## {title}", f"`{command}`: {machine()}.", *notes, "\n".join(lines)])
    print(text)
    sections = _read_sections(path)
    sections[title] = text + "\n"
    write_atomically(path, ("\n".join([HEAD, *sections.values()])).encode())


def recorded(path, title):
    """Rows of the table in a section that is there; none if it isn't."""
    section = _read_sections(path).get(title, "")
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _options(argv):
    """Options of a command line but those that say where things lie on this machine."""
    places = {i for i, word in enumerate(argv) if word in PLACES}
    return [word for i, word in enumerate(argv) if not {i, i - 1} & places]


def machine():
    """Processor and versions in a line."""
    config = get_config()
    threads = config["num_threads"]
    return (
        f"{_processor()}, {config['cpus']} CPUs; fastseq {fs.__version__} "
        f"({config['backend']}, {config['isa'] or 'any processor'}, {threads} "
        f"thread{'s' * (threads != 1)}), NumPy {config['numpy']}, Python {config['python']}"
    )


def _processor():
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _read_sections(path):
    """Title to text, of the sections that are there."""
    text = path.read_text("utf-8") if path.exists() else ""
    _, *sections = ("\n" + text).split("\n## ")
    return {section.partition("\n")[0]: "## " + section.strip() + "\n" for section in sections}
