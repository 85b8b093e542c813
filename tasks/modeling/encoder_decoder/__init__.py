"""Encoder-decoders: their shape, the network, and how it generates texts.

In: a shape, a folder or a teacher's layers. Out: a network; texts by greedy, beam or sampling.
"""
