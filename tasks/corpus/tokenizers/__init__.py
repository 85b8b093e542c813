"""Tokenizers: read from a model, trained, trimmed to a corpus, and run on many texts.

In: texts and a tokenizer's settings. Out: a tokenizer's files, token ids.
"""
