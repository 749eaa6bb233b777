"""What is minimised.

basic.py                 cross entropies, squared and other errors
ctc.py                   labels without an alignment
crf.py                   tags that depend on each other
linear_cross_entropy.py  many classes, whose logits are never held at once
adaptive_softmax.py      many classes, frequent ones first
sampled_softmax.py       many classes, of which few are drawn
latent_losses.py         divergences of latent variables, bags of words
"""
