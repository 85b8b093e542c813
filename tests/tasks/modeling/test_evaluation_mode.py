"""Networks that are asked in evaluation mode and go on as they were."""

import pytest
import torch
from torch import nn

from tasks.modeling.evaluation_mode import evaluation_mode


@pytest.mark.parametrize("training", [True, False])
def test_a_network_goes_on_as_it_was(training):
    """The rest of a training without dropout, or a finished student that drops half its states."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train(training)
    states = torch.ones(1, 2)
    with evaluation_mode(network):
        torch.testing.assert_close(network(states), network[0](states))
    assert [module.training for module in network.modules()] == [training] * 3


def test_an_error_while_it_is_asked_leaves_it_as_it_was():
    """A batch that did not fit is read again in halves, and training goes on without dropout."""
    network = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    with pytest.raises(RuntimeError, match="shapes"), evaluation_mode(network):
        network(torch.ones(1, 2))
    assert [module.training for module in network.modules()] == [True] * 3
