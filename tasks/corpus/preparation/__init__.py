"""Each row alone, a batch at a time, in parallel: normalized, filtered, written as chunks.

In: raw rows. Out: prepared rows on disk and counts by source; rows that fail, with a reason.
"""
