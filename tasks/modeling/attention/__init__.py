"""Attention inside each text of a packed batch, on CUDA and on processors.

In: queries, keys, values of several texts in a row. Out: the same as for each text alone.
"""
