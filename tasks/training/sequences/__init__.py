"""Encoder-decoders that write texts: translation, summaries, replies.

seq2seq_tokens.py       sizes and end mark of what they read
seq2seq_mapping.py      their rows on disk: sources, targets, signals → seq2seq_examples.py
seq2seq_init.py         a network before its first step
seq2seq_objective.py    its loss; sequence_objective_config.py: terms of it as the recipe lists them
sequence_losses.py      a term a token, from sparse signals; vocabulary_chunks.py: over large
                        vocabularies, chunk by chunk
seq2seq_fitting.py      all of it for a stage; seq2seq_asking.py: a teacher's texts and predictions
sequence_probe.py       how much each term pulls, at validations
writing.py              texts for many sources
token_signals.py        what a teacher says of each token: k likeliest and the rest
topk_signals.py         the same in few bytes, for Parquet
sequence_targets.py     which of the texts a teacher writes a student learns
on_policy.py            steps that learn from texts the student wrote itself
"""
