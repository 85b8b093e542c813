"""A network that is asked something between two steps, and then goes on as it was.

Dropout in a network that is asked is noise in its answer; a network left in evaluation mode goes on
without the dropout that its recipe names, and no figure tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put `network` into evaluation mode, and back into its own afterwards, after errors too."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
