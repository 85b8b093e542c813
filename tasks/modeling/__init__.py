"""Networks: from a folder, a URI or a shape to a `torch.nn.Module`, and back to a folder.

config.py       Architecture: a student's shape, or the model whose layers it takes (no torch)
backbones.py    URI or shape → encoder (any Hugging Face AutoModel encoder)
student_init.py a pretrained encoder cut to some of its layers
width_pruning.py  and to some of its dimensions, heads and neurons
vocabulary.py   and to the embedding rows of another tokenizer's tokens
low_rank.py     its matrices as products of two thinner ones
positions.py    how long a text it reads
layer_stack.py  where an encoder keeps its layers
static_embeddings.py  no encoder: a vector a token, at random or from a model's states
adapters.py     which weights training may change; low-rank updates, merged when it is done
units.py        words or characters of texts, and the token each is read out at
joined_units.py what a token says that holds several of them
texts.py        texts as tensors: padded, or packed into rows or a stream
attention.py    attention inside each packed text, for any encoder; which kernel is fastest
pooling.py      hidden states → text vectors (B, D)
seq2seq_config.py  an encoder-decoder's shape, or whose layers it takes; how it writes (no torch)
seq2seq.py      encoder-decoders from a shape, a folder or a teacher's layers, and back to a folder
decoding.py     texts they write: greedy, beam search, samples
classifier.py   encoder + pooling + linear head; saved as files any consumer can read
token_heads.py  encoder + linear head on the first token of each word or character
masked_language_model.py  encoder + head that tells hidden words: what reads on in unlabelled text
"""
