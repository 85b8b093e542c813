"""AdamW, learning-rate schedules, and updates of the embedding rows in use.

In: a network and settings. Out: an optimizer with its schedule.
"""
