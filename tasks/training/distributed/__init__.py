"""One training in several processes, by torchrun.

In: a training function. Out: the same weights as one process gives, up to rounding.
"""
