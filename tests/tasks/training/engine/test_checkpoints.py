"""A checkpoint comes back as it was written, or not at all."""

import pytest
import torch

from tasks.runtime.progress import SilentProgress
from tasks.training.engine.checkpoints import load_checkpoint, restore_optimizer, save_checkpoint


@pytest.fixture
def trained():
    """(model, optimizer) after two steps of AdamW."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(2):
        step(model, optimizer)
    return model, optimizer


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()


def save(folder, trained, number):
    model, optimizer = trained
    best = {name: tensor + number for name, tensor in model.state_dict().items()}
    state = {"step": number, "history": [0.1]}
    save_checkpoint(folder, step=number, model=model, best=best, optimizer=optimizer, state=state)


def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_happened(trained, tmp_path):
    """Moments that are not restored: a jump in the loss at each resume, and another model."""
    save(tmp_path, trained, 2)
    model, optimizer = trained
    step(model, optimizer)
    found = load_checkpoint(tmp_path)
    assert found.state == {"step": 2, "history": [0.1]}
    other = torch.nn.Linear(3, 2)
    other.load_state_dict(found.model)
    again = torch.optim.AdamW(other.parameters(), lr=0.1)
    restore_optimizer(again, found.optimizer)
    step(other, again)
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(other.bias, model.bias)


def test_the_two_newest_are_kept(trained, tmp_path):
    """Ten thousand steps of a large student fill the disk that the run needs."""
    for number in (1, 2, 3):
        save(tmp_path, trained, number)
    assert load_checkpoint(tmp_path).state["step"] == 3
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


class Said(SilentProgress, list):
    """Keeps what a stage says."""

    def say(self, message):
        self.append(message)


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(trained, tmp_path, damage):
    """A flipped bit in a weight trains on for hours; a missing file ends the run for good."""
    for number in (1, 2):
        save(tmp_path, trained, number)
    newest = max(tmp_path.iterdir())
    for file in sorted(newest.rglob("*.safetensors")):
        if damage == "remove":
            file.unlink()
        else:
            data = bytearray(file.read_bytes())
            data[-1] ^= 1
            file.write_bytes(data)
    said = Said()
    assert load_checkpoint(tmp_path, said).state["step"] == 1
    why = {"flip": " is not what was saved", "remove": ": No such file or directory"}[damage]
    assert len(said) == 1  # or an hour of training is done twice, and nobody knows of the disk
    assert f"of step 2 is damaged (best.safetensors{why})" in said[0]
    save(tmp_path, trained, 2)
    load_checkpoint(tmp_path, said)
    assert len(said) == 1


def test_what_is_saved_after_damaged_checkpoints_stays(trained, tmp_path):
    """A run that begins anew below two damaged ones deletes each of its checkpoints as it is saved:
    every later kill, or a SIGTERM that says "checkpoint saved", costs the run from its start."""
    for number in (40, 60):
        save(tmp_path, trained, number)
        (tmp_path / f"step-{number:08d}" / "best.safetensors").write_bytes(b"torn")
    assert load_checkpoint(tmp_path) is None
    for number in (10, 20):
        save(tmp_path, trained, number)
        assert load_checkpoint(tmp_path).state["step"] == number
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000020"]


def test_no_checkpoint_is_no_checkpoint(tmp_path):
    """A first run that looks for its past."""
    assert load_checkpoint(tmp_path) is None
    (tmp_path / ".writing-00000001").mkdir()  # killed while it was written
    assert load_checkpoint(tmp_path) is None
