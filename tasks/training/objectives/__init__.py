"""The training objective: weighted loss terms over a batch, as the recipe lists them.

In: logits, labels, teacher signals. Out: one loss, and the share of each term.
"""
