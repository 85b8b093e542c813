"""File formats: Parquet, CSV, TSV, JSON lines, CoNLL, folders of the library `datasets`.

In: one file. Out: batches of raw rows with line numbers, and the rows that could not be read.
"""
