"""From raw sources to a corpus and its tokens: every row that is left out is counted.

In: files of `sources/`. Out: Parquet of texts, of tokens, and of quarantined rows with reasons.
Order: sources, readers, rows (text), preparation, selection, tokenizers, tokens.
"""
