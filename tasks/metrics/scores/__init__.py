"""One file a kind of answer: classes, entities, spans, texts, rankings.

In: predictions and references. Out: the sums a score is made of, and the score.
"""
