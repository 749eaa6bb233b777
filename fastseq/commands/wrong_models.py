"""What a model in a file is good for, where a command can't use it."""

from fastseq import models

COMMANDS = {models.Seq2Seq: "translate", models.HRED: "chat", models.LanguageModel: "generate"}


def wrong_model(path, model, what):
    """An error about a file with another model than a command wants; it says who wants that one.

    Parameters
    ----------
    path : str
    model : Estimator
    what : str
        What such a model does or doesn't, where nobody wants it.
    """
    name = type(model).__name__
    held = f"{path}: holds {'an' if name == 'HRED' else 'a'} {name}"
    if isinstance(model, (models.VAE, models.SequenceVAE)):
        return ValueError(
            f"{held}, which no command uses; in Python fastseq.load({path!r}) has encode, decode "
            "and sample"
        )
    for kind, command in COMMANDS.items():
        if isinstance(model, kind):
            return ValueError(f"{held}: let fastseq {command} have it")
    return ValueError(f"{held}, which {what}")
