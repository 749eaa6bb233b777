"""What ARCHITECTURE.md says of files and imports is so; no constant is left that nothing uses."""

import ast
import collections
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fastseq"
if not (ROOT / "ARCHITECTURE.md").exists():  # as beside an installed package
    pytest.skip("needs the source folder", allow_module_level=True)
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
FLOORS = TEXT.partition("```")[2].partition("```")[0]


def file_names(text):
    """Files, folders and the package itself in a text that has them between backticks."""
    return re.findall(r"`(\w+\.pyx?|\w+/|fastseq)`", text)


def table_rows(heading):
    """The rows of the table whose head has a first column of that name, as pairs of texts."""
    rows = TEXT.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]


# --- imports ------------------------------------------------------------------------------------


def imported_names(path):
    """Dotted names that a module imports, anywhere but for type checkers."""

    def walk(node):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return walk(ast.parse(path.read_text(encoding="utf-8")))


def room(name):
    """The file or folder, as the table names it, that a dotted name of the package lies in."""
    _, *parts = name.split(".")
    if parts and (PACKAGE / parts[0]).is_dir():
        return parts[0] + "/"
    files = [f"{parts[0]}.{ending}" for ending in ("py", "pyx")] if parts else []
    return next((file for file in files if (PACKAGE / file).exists()), "fastseq")


def read_imports():
    """For each room what it imports of others, where they are files or folders of Python."""
    imports = {}
    for path in PACKAGE.rglob("*.py"):
        first, *inner = path.relative_to(PACKAGE).parts
        if first.startswith("__"):  # they stand for the package and the command
            continue
        here = first + "/" if inner else first
        names = (name for name in imported_names(path) if re.match(r"fastseq\b", name))
        imports.setdefault(here, set()).update({room(name) for name in names} - {here})
    return imports


def read_module_imports():
    """For each module, by its dotted name, the modules that it imports."""
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    return {
        module: {
            found
            for name in imported_names(path)
            for found in (name, name.rpartition(".")[0])  # a module, or what is in one
            if found in paths
        }
        for module, path in paths.items()
    }


FILES = [path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")]
IMPORTS = read_imports()
ROWS = table_rows("module")


def below(rooms, imports=IMPORTS):
    """What some rooms import, and what that imports, and so on."""
    found, new = set(), set(rooms)
    while new:
        new = set().union(*(imports.get(name, ()) for name in new)) - found
        found |= new
    return found


def test_each_module_has_one_row():
    named = [name for modules, _ in ROWS for name in file_names(modules)]
    assert len(named) == len(set(named))
    assert set(IMPORTS) <= set(named)
    assert all((PACKAGE / name).exists() for name in named)


@pytest.mark.parametrize(("modules", "may_import"), ROWS, ids=[row[0] for row in ROWS])
def test_imports_are_those_of_the_table(modules, may_import):
    rooms = set(file_names(modules)) & set(IMPORTS)
    if not rooms:
        pytest.skip("C and Cython")
    named = set(file_names(may_import))
    allowed = named | below(named) if "what is below" in may_import else named
    real = set().union(*(IMPORTS[name] for name in rooms))
    assert real <= allowed
    assert named & (set(IMPORTS) | {"fastseq"}) <= real  # nothing in the table that is gone


def test_imports_run_downward():
    assert not [name for name in IMPORTS if name in below({name})]
    modules = read_module_imports()
    assert sum(map(len, modules.values())) > 300  # they are found
    assert not [name for name in modules if name in below({name}, modules)]


# --- names --------------------------------------------------------------------------------------


def test_each_constant_is_used():
    folders = ("fastseq", "tests", "benchmarks", "examples", "docs")
    sources = [
        path.read_text(encoding="utf-8") for f in folders for path in ROOT.glob(f"{f}/**/*.py")
    ]
    words = collections.Counter(re.findall(r"\w+", "\n".join(sources)))
    constants = {
        name for text in sources for name in re.findall(r"^([A-Z_]\w*)(?:: .*)? = ", text, re.M)
    }
    assert len(constants) > 100
    assert not [name for name in constants if words[name] < 2]


# --- files --------------------------------------------------------------------------------------


def test_each_module_has_its_floor():
    words = re.findall(r"[\w*]+(?:\.py\b|/)", FLOORS)
    families = tuple(name.removesuffix("*.py") for name in words if "*" in name)
    assert not [name for name in IMPORTS if name not in words and not name.startswith(families)]


# Packages whose ``__init__.py`` lists their files, and folders that have a table.
DESCRIBED = {"_reference", "attention", "bench", "data", "jit", "losses", "search", "training"}
DESCRIBED |= {"words"}
FOLDERS = re.findall(r"^\| file in `(\w+)/`", TEXT, re.M)


def test_folders_say_what_is_in_them():
    kernels = {"_shared", "_recurrent", "_training", "_attention", "_search", "_words", "_csrc"}
    assert set(FOLDERS) == kernels | {"models", "commands"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == {*DESCRIBED, "models", "commands", "demo"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_file_of_a_folder_is_in_its_table(folder):
    (heading,) = re.findall(rf"^\| (file in `{folder}/`[^|]*?) \|", TEXT, re.M)
    named = [n for files, _ in table_rows(heading) for n in re.findall(r"`([\w.*]+)`", files)]
    present = {path.name for path in (PACKAGE / folder).glob("*.*")} - {"__init__.py"}
    found = [path.name for name in named for path in (PACKAGE / folder).glob(name)]
    assert sorted(found) == sorted(present)


@pytest.mark.parametrize("folder", sorted(DESCRIBED))
def test_a_package_says_what_its_files_are(folder):
    text = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text("utf-8")))
    named = re.findall(r"\w+\.py\b", text)
    files = {path.name for path in (PACKAGE / folder).glob("*.py")}
    assert sorted(named) == sorted(name for name in files if not name.startswith("__"))
