"""Measuring: pure functions of arrays, and a clock.

In: labels, predictions, texts, vectors. Out: scores, intervals, p-values, latencies.
Nothing here reads files of a run, logs or trains a neural network.
"""
