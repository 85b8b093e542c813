"""Baselines (lower bounds): majority class, linear models, word lists, copies.

In: training and test texts with labels. Out: predictions of a system without a network.
"""
