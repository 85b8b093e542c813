"""Searches over a recipe: hyperparameters of training, shapes of a student.

In: a recipe with its search space. Out: trials in a database, a table, the recipe with the best.
"""
