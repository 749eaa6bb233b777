"""Import times, each in a fresh process."""

from .common import require


class Import:
    """``timeraw_`` runs the returned code in a new interpreter."""

    params = ("numpy", "fastseq", "torch", "onnxruntime")
    param_names = ("package",)

    def setup(self, package):
        require(package)

    def timeraw_import(self, package):
        return f"import {package}"


def timeraw_import_fastseq_after_numpy():
    return "import fastseq", "import numpy"
