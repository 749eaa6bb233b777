"""The training of all models.

trainer.py     the loop
arguments.py   what it takes, checked
state.py       where it stands, and which run it is
validation.py  what it measures on data that it does not learn from
history.py     what a run has come to
optim.py       optimisers
clipping.py    gradients that are too large
schedules.py   learning rates that change
averaging.py   averages of parameters
"""
