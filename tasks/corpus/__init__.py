"""From raw sources to a corpus that can be trusted: what each step takes out, and why it is counted.

    sources.py          what a recipe may name as a source; file rows in order, with line numbers
    formats.py          CSV, TSV, JSONL, Parquet: one function each; a broken row is told, not raised
    home_assistant.py   voice commands in many languages from an installed package (the quickstart)
    normalization.py    one Unicode form, no invisible characters, single spaces
    filtering.py        rules that look at one row: length, language, labels
    deduplication.py    rules that look at pairs of rows: copies, contradictions, leaks
    splitting.py        validation and test rows by content hash, for who brings none
    quarantine.py       reason codes and the table of rows set aside
    tables.py           the one way Parquet is written and read
    tokenizing.py       texts -> token ids

Nothing is dropped in silence: rows_in = rows_out + quarantined + deduplicated, by source and role.
"""
