"""Tuning: many students of one recipe, judged by its validation rows.

search_space.py  what a study may change, and how trials are judged (a section of the recipe)
study.py         a study: draws, trials, resume
draws.py         its values and its database, which are Optuna's; trials.py: one trial
results.py       its tables, its plot, the best as a recipe
tuning.py        the Prefect flow around it
"""
