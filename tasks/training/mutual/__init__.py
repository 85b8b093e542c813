"""Mutual learning: several students, each trained on the predictions of the others.

In: students of one recipe. Out: their weights, trained in the same steps.
"""
