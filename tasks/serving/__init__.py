"""The delivered student: packed, verified, registered, and used on files of texts.

In: a trained student and its report. Out: a version in MLflow; predictions for many texts.
"""
