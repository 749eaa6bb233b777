"""The comparison behind ``fastseq bench``: fastseq and its peers, interleaved in one process.

Rooms
-----
command.py    options, the environment of a run, printing and saving
suites.py     what is measured: one function per suite, returning rows
timing.py     interleaved rounds; medians, ratios and geometric means of their times
peers.py      one class per library: same weights in, one call to time out
streams.py    the same for single steps from Python
attention.py  scaled dot-product attention, and the same in PyTorch
decoders.py   decoders with attention, and loops over their steps in PyTorch
beams.py      beam search, and the same in PyTorch
dialogues.py  updates of HRED
torch_dialogues.py  the same in PyTorch, plain and flat
tutorial.py   plain NumPy loops, as a tutorial writes them: the slowest peer
onnx_models.py  a layer as an ONNX graph, for ONNX Runtime and OpenVINO
texts.py      texts to read, and what reads them
word_vectors.py  word vectors, and the same by gensim
problems.py   inputs, weights and output gradients that all peers share
shapes.py     the shapes that are compared
roofline.py   how fast the machine could be at best, measured in the same rounds
goals.py      the bars that the results are held against
tables.py     rows as Markdown
fresh.py      measurements that need a fresh process: first call, import, memory
machine.py    what the numbers were measured on

Nothing here is imported by ``import fastseq``, and no peer before it is asked for.
"""

from fastseq.bench.command import main, run

__all__ = ["main", "run"]
