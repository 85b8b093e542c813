"""Tokens of whole rows: pairs, windows of long contexts, places of units; shards on disk.

In: encoded texts. Out: one shard of tokens for each part of a corpus, with its counts.
"""
