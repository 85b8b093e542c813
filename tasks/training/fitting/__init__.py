"""A whole training for a stage: rows in, a model folder out; predictions of many texts.

In: mapped rows and settings. Out: the best step's weights, held-out scores, logits in row order.
"""
