"""Auxiliary objectives: layer matching, an adversary, an average of weights.

In: a student and what its recipe names. Out: extra loss terms; all of it dropped when saved.
"""
