"""What a recipe names as a source, and the files and columns behind it.

In: `data.sources` of a recipe. Out: files in a fixed order, checked column names, label maps.
"""
