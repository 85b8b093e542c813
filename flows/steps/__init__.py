"""The steps of a run: a stage with its configuration, its device and its retries.

In: a recipe. Out: steps in order, which `flows.orchestration` runs.
"""
