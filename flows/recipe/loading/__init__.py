"""Recipe files: reading, `extends`, values of `--set`, and what is said of a mistake in them.

In: names, paths and `key=value` texts. Out: the fields of a recipe as plain data.
"""
