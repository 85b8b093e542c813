"""What is checked between reading a recipe and the first step: paths, classes, disk space.

In: a recipe and the heads of its files. Out: nothing, or a refusal that names the remedy.
"""
