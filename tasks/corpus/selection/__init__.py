"""All rows together: duplicates, leaks into the test set, near copies, splits.

In: prepared rows as hashes in a ledger. Out: which row stays, in which split.
"""
