"""From tokens on disk to the tensors of a step; layout_choice.py alone asks the network.

mapped_examples.py    Parquet → flat files that are mapped (flat_files.py); examples.py: what they
                      are, and their tensors; ragged.py: ids in one buffer
signal_join.py        signals joined by example id, never by position
order.py              each epoch a permutation, sorted by length inside windows
language_sampling.py  which rows an epoch reads, if rare languages are to be seen more often
batches.py            which examples form step s: a pure function of (seed, epoch, lengths)
layouts.py            padded, bucketed, packed; layout_choice.py: which is fastest here
passes.py             the tensors of each pass of a step (packing.py: where packed texts lie)
prefetching.py        laid out by a thread, ahead of the device
"""
