"""Networks: from a folder, a URI or a shape to a `torch.nn.Module`, and back to a folder.

In: files and sizes. Out: encoders, encoder-decoders and heads whose inputs are packed texts.
"""
