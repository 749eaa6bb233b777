"""The extensions and their C units, one library per instruction set; the rest is pyproject.toml."""

import os
import platform
import sys
from glob import glob

import numpy
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib as _build_clib
from setuptools.command.build_ext import build_ext as _build_ext

CSRC = "fastseq/_csrc"
HEADERS = sorted(glob(f"{CSRC}/*.h"))
INCLUDED = sorted(glob("fastseq/_*/*.pxi"))
REQUIRED = os.environ.get("FASTSEQ_REQUIRE_EXTENSION", "0") not in ("", "0")  # in a release
X86 = platform.machine().lower() in ("x86_64", "amd64")
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
FLAGS += ["-fvisibility=hidden"]
FLAGS += ["-g0"]  # Python's own flags ask for debugging symbols: five times the size
LINK_FLAGS = []
if os.environ.get("FASTSEQ_SANITIZE"):  # for example "address,undefined"; see CONTRIBUTING.md
    sanitize = [f"-fsanitize={os.environ['FASTSEQ_SANITIZE']}", "-g", "-fno-omit-frame-pointer"]
    # Python's own -fwrapv would define signed overflow, and so hide it.
    FLAGS, LINK_FLAGS = ["-O1", *FLAGS[1:], "-fno-wrapv", *sanitize], sanitize


def library(unit, *flags, part="fastseq"):
    """A C unit, compiled with flags of its own; ``part`` tells its libraries from others'."""
    info = {"sources": [f"{CSRC}/{unit}.c"], "include_dirs": [CSRC], "cflags": [*FLAGS, *flags]}
    return f"{part}_{unit}", info | {"obj_deps": {"": HEADERS}}


def table(*flags, **part):
    """An extension's table of functions, once per instruction set; see ``_csrc/dispatch.h``."""
    libraries = [
        # must know which instruction sets are compiled in
        library("dispatch", *["-DFS_X86"] * X86, *flags, **part),
        library("isa_generic", *flags, **part),
    ]
    if X86:
        avx512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"]
        avx512 += ["-mprefer-vector-width=512"]
        libraries += [
            library("isa_avx2", "-mavx2", "-mfma", *flags, **part),
            library("isa_avx512", *avx512, *flags, **part),
        ]
    return libraries


POOL = library("pool")
KERNELS, WORDS = table(), table("-DFS_WORDS", part="fastseq_words")


class build_clib(_build_clib):
    """Gives each library its own build folder; without a C compiler it warns and gives up."""

    def build_libraries(self, libraries):
        temp = self.build_temp
        try:
            for name, info in libraries:
                self.build_temp = os.path.join(temp, name)
                super().build_libraries([(name, info)])
        except Exception as error:
            if REQUIRED:
                raise
            print(f"warning: the compiled kernels were not built: {error}", file=sys.stderr)
        finally:
            self.build_temp = temp


class build_ext(_build_ext):
    """Builds the C libraries first, which editable and in-place builds would skip."""

    def run(self):
        self.run_command("build_clib")
        super().run()


def extension(name, libraries, macros=()):
    libraries = [name for name, _ in libraries]
    return Extension(
        f"fastseq.{name}",
        [f"fastseq/{name}.pyx"],
        include_dirs=[CSRC, numpy.get_include()],
        libraries=libraries + ["pthread"] * (sys.platform != "win32"),
        extra_compile_args=FLAGS,
        extra_link_args=LINK_FLAGS,
        depends=HEADERS + INCLUDED + sorted(glob(f"{CSRC}/*.c")),
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
            ("NPY_TARGET_VERSION", "NPY_1_22_API_VERSION"),  # handlers of memory
            *macros,
        ],
        optional=not REQUIRED,  # without a compiler the Numba or NumPy backend serves
    )


setup(
    ext_modules=[
        extension("_kernels", [*KERNELS, POOL]),
        extension("_word2vec", [*WORDS, POOL], [("FS_WORDS", None)]),
    ],
    libraries=[*KERNELS, *WORDS, POOL],
    cmdclass={"build_clib": build_clib, "build_ext": build_ext},
)
