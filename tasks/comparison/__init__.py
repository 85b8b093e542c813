"""The evaluation: every system predicts its test set, and three of them are timed.

In: models, signals and a corpus. Out: scores with intervals, sections of the report, answers.
`tasks.evaluation` puts them together; the arithmetic is in `tasks.metrics`.
"""
