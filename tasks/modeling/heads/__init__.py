"""What turns hidden states into predictions: classes, tags, spans, vectors, masked words.

In: hidden states (T, D). Out: logits or vectors for each text, unit or pair.
"""
