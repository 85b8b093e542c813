"""One folder for a delivered model: files, model card, signature, digests.

In: an exported student. Out: a folder that loads without this repository, verified before use.
"""
