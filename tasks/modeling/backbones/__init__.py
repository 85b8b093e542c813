"""Encoders: read from any Hugging Face model, built from a shape, or static embeddings.

In: a model's folder or a shape. Out: a network from token ids to hidden states (T, D).
"""
