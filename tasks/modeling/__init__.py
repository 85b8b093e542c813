"""Networks: from a folder, a URI or a shape to a `torch.nn.Module`, and back to a folder.

config.py       StudentArchitecture: the shape of a student made from scratch (no torch)
backbones.py    URI or shape → encoder (any Hugging Face AutoModel encoder)
pooling.py      hidden states (B, L, D) → text vectors (B, D)
classifier.py   encoder + pooling + linear head; saved as files any consumer can read
"""
