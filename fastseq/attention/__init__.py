"""Attention to a source.

global_attention.py     to all of it: additive, general, dot, concat
local_attention.py      to a window of it
monotonic_attention.py  from left to right
coverage_attention.py   with what was looked at before
multihead.py            scaled dot products, with several heads
memory.py               a source that was read once, for many queries
sources.py              a source without its padding
"""
