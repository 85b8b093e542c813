"""Single texts: Unicode, sentences, words, n-grams, language tags, where to cut.

In: strings. Out: strings, offsets or numbers; nothing here knows a file or a recipe.
"""
