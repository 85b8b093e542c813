"""Reading on in unlabelled text by guessing hidden words.

mapped_texts.py     unlabelled texts → flat files that are mapped, with their words
masked_texts.py     some words of them hidden, by (seed, step)
masked_language.py  objective, scores and folder of an encoder that reads them
"""
