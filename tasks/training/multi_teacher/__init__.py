"""Several teachers: their soft labels combined for each text.

In: signals of each teacher. Out: one distribution a text, weighted by language and skill.
"""
