"""The build of the extensions: what is in them, what happens where the compiler fails, metadata."""

import os
import re
import runpy
import tomllib
from pathlib import Path

import pytest

setuptools = pytest.importorskip("setuptools")
ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs the source folder"),
    pytest.mark.skipif(os.name != "posix", reason="other compilers than CC's"),
]


@pytest.fixture
def read_setup(monkeypatch):
    """What setup.py asks for, with FASTSEQ_REQUIRE_EXTENSION set to a value or not at all."""

    def read(required):
        asked = {}
        monkeypatch.setattr(setuptools, "setup", asked.update)
        monkeypatch.delenv("FASTSEQ_REQUIRE_EXTENSION", raising=False)
        if required is not None:
            monkeypatch.setenv("FASTSEQ_REQUIRE_EXTENSION", required)
        runpy.run_path("setup.py")
        return asked

    monkeypatch.chdir(ROOT)  # where the sources are looked for
    return read


def build_libraries(asked, folder):
    """Run the build of the C libraries, below a folder."""
    distribution = setuptools.Distribution({"libraries": asked["libraries"]})
    command = asked["cmdclass"]["build_clib"](distribution)
    command.build_clib = command.build_temp = str(folder)
    command.ensure_finalized()
    command.run()


def test_each_extension_has_a_table_of_its_own(read_setup):
    """Or word vectors would carry all kernels of layers along."""
    asked = read_setup(None)
    kernels, words = (set(extension.libraries) for extension in asked["ext_modules"])
    assert kernels & words <= {"fastseq_pool", "pthread"}
    flags = {name: info["cflags"] for name, info in asked["libraries"]}
    own = words - kernels
    assert own and all("-DFS_WORDS" in flags[name] for name in own)
    assert not any("-DFS_WORDS" in flags[name] for name in kernels - {"pthread"})
    assert ("FS_WORDS", None) in asked["ext_modules"][1].define_macros


@pytest.mark.parametrize("required", [None, "", "0"])
def test_without_a_compiler_the_install_goes_on(required, read_setup, monkeypatch, tmp_path, capfd):
    asked = read_setup(required)
    assert all(extension.optional for extension in asked["ext_modules"])
    monkeypatch.setenv("CC", "false")
    build_libraries(asked, tmp_path)
    assert "warning: the compiled kernels were not built" in capfd.readouterr().err


def test_a_release_does_not_lose_its_extension(read_setup, monkeypatch, tmp_path):
    asked = read_setup("1")
    assert not any(extension.optional for extension in asked["ext_modules"])
    monkeypatch.setenv("CC", "false")
    with pytest.raises(Exception, match=r"false.*exit"):
        build_libraries(asked, tmp_path)


# --- metadata -------------------------------------------------------------------------------


def test_the_source_archive_has_what_the_readme_links_to():
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    taken = (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()
    assert "include *.md" in taken and len(links) > 5
    for link in links:
        folder, _, name = link.rpartition("/")
        assert (ROOT / link).exists()
        assert f"graft {folder}" in taken if folder else name.endswith(".md") or name == "LICENSE"


def test_metadata_name_all_licences_and_versions_of_python():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project, build = settings["project"], settings["tool"]["cibuildwheel"]["build"]
    licences = {ROOT / "LICENSE", *ROOT.glob("fastseq/**/*LICENSE*")}
    named = {path for pattern in project["license-files"] for path in ROOT.glob(pattern)}
    assert licences == named and project["license"].count(" AND ") == len(licences) - 1
    versions = re.search(r"cp3(\d)\{([\d,]+)\}-", build)
    built = {f"3.{versions[1]}{last}" for last in versions[2].split(",")}
    said = {c.rpartition(" ")[2] for c in project["classifiers"] if ":: Python :: 3." in c}
    assert built == said
    assert project["requires-python"] == f">={min(said)}"
