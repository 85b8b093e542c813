"""From raw sources to a corpus that can be trusted: what each step takes out, counted.

    sources.py          what a recipe may name as a source
    source_files.py     its files, and their rows in order with line numbers
      row_choice.py       which of them it takes: `where`, `max_rows`
      columns.py          which columns each problem type has
      raw_rows.py         what every reader hands on: columns, and the rows it could not read
      record_fields.py    columns that are fields of records: `translation.en`
      text_formats.py     CSV, TSV, JSON lines; a broken row is told, not raised
      conll_format.py     a word a line, a blank line between sentences
      parallel.py         the same rows in another language's file, joined by key
      parquet_format.py   Parquet, measured before it is unfolded
      datasets_format.py  a folder that the library `datasets` saved
      home_assistant.py   voice commands from an installed package (the quickstart), said from
                          home_assistant_templates.py with home_assistant_values.py;
                          home_assistant_replies.py: with the assistant's replies
    rows/               what a row is for each problem type, from its cells to its tokens
      cells.py            lists and records in a cell; tags.py: tags of words -> spans
      units.py            words, or characters where no spaces are written: what signals align by
      stretches.py        places in a text that stay right while it is normalised
      expansion.py        which rows may be made of it: `expand`
      focus.py            the sentences of a context that its question is about;
                          sentence_bounds.py: where sentences end
    preparation.py      each row alone, a batch at a time, in parallel:
      expanded_rows.py    rows that are made of it first: halves.py, rows/answer_sentences.py
      normalization.py    one Unicode form, no invisible characters, single spaces
      filtering.py        length, language, labels; label_maps.py: labels by the recipe's names
      source_language.py  short texts of a source together: the language it declares
    selection.py        all rows together, as numbers:
      ledger.py           those numbers, on disk by hash or mapped
      deduplication.py    copies, contradictions, near-duplicates
      similarity.py       near copies of evaluation texts, exact; ngrams.py: what they share
      splitting.py        validation and test rows by content hash, for who brings none
    pieces.py           prepared rows on disk in between; usability.py: whether enough is left
    parts.py            rows that stay -> part files; quarantine.py: the others, with a reason
    counting.py         what came of the rows of each source; changes.py: what was done to them
    tables.py           the one way Parquet is written and read
    tokenizer_kinds.py  which tokenizers there are; tokenizing.py: read, trained and written;
                        trimming.py: cut to what the texts use, of which sampling.py takes a
                        bounded number
    encoding.py         texts -> token ids, in threads; pretokenization.py: without the library's
                        regular expressions; merging.py: and without its merges;
                        unit_encoding.py: with the places of units; pair_encoding.py: two texts,
                        longest_first.py: what stays of them;
                        window_encoding.py: a question and a long context
    token_shards.py     the tokens of one part, kept by themselves; token_counts.py: what they
                        came to; token_facts.py: what readers must know of all parts
    words.py            words of a text, Chinese ones by a dictionary: what is hidden whole
    languages.py        which language tags a language covers

Nothing is dropped in silence: rows_in = rows_out + quarantined + deduplicated, by source and role.
"""
