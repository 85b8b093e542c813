"""Whether the sections of a recipe fit one another, its data and its models.

In: a parsed recipe, nothing from disk. Out: nothing, or a refusal before any step has run.
"""
