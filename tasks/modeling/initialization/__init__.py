"""What a student starts from: layers, dimensions and rows of a larger model; adapters.

In: a pretrained encoder. Out: a smaller one, or one with few trained weights.
"""
