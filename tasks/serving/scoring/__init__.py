"""Predictions for a file of texts, in flat memory, shard by shard.

In: Parquet, CSV or JSON lines and a delivered model. Out: one file of predictions, whole or none.
"""
