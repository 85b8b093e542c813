"""The training loop: steps, validation, early stopping, checkpoints, diagnostics.

In: batches, an objective, an optimizer. Out: trained weights and a history; resume is exact.
"""
