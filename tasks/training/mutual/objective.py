"""Networks that teach one another: rows that all read, and what they minimise together.

    example a ─ tokens of peer 0 ─► peer 0 ─► p0 ─┐  L0 = task + weight · T² · KL(p1 || p0)
              ─ tokens of peer 1 ─► peer 1 ─► p1 ─┘  L1 = task + weight · T² · KL(p0 || p1)

Of more than two, each learns the mean over the others. The other side is a constant in each term.
Peers are one network for the loop, with one optimizer, so that checkpoints, resume and determinism
are those of any training; what is clipped is the norm of all their gradients together. They may
differ in architecture, tokenizer and language: they meet in example ids, and units of a text. The
task of a peer may be that of a student with companions (`companion_objective`).

References: Zhang et al. 2018, arXiv:1706.00384 (deep mutual learning; here all peers take their
    step at once, and there is a temperature, which is 1 there).
Shapes: K peers, R rows that all of them read, B rows of a pass, A answers, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch
from torch import Tensor, nn

from data_contracts.errors import ContractViolation
from tasks.modeling.heads.joined_units import joined_units
from tasks.modeling.heads.units import ranges
from tasks.modeling.texts import Texts
from tasks.training.auxiliary.network import AccompaniedStudent
from tasks.training.auxiliary.objective import AccompaniedObjective
from tasks.training.batching.batches import Step
from tasks.training.batching.examples import Batch, Examples
from tasks.training.batching.layouts import Layout
from tasks.training.batching.passes import make_passes
from tasks.training.batching.ragged import RaggedIds
from tasks.training.mutual.config import MutualTerm
from tasks.training.objectives.config import KLTerm
from tasks.training.objectives.gradient_shares import shares_of
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.schedules import value_at

pc: Any = pyarrow.compute
_WHOLE = Layout("padded", 0)


class Peers(nn.Module):
    """K networks as one; the first is the student that is delivered, maybe with companions."""

    def __init__(self, peers: Sequence[nn.Module]) -> None:
        """Hold them; nothing is drawn."""
        super().__init__()
        self.peers = nn.ModuleList(peers)

    def forward(
        self, texts: Sequence[Texts], told: Sequence[Mapping[str, Tensor]] | None = None
    ) -> tuple[Any, ...]:
        """Logits (A, C) of each peer for its own reading of the same texts.

        In training what a student with companions gives, where a peer has them.

        Args:
            told: what each peer's objective tells of the step; nothing if not given.
        """
        told = told or [{}] * len(self.peers)
        return tuple(
            peer(own, **about) for peer, own, about in zip(self.peers, texts, told, strict=True)
        )

    def after_step(self) -> None:
        """Let what follows a peer's step do so."""
        for peer in self.peers:
            if isinstance(peer, AccompaniedStudent):
                peer.after_step()


@dataclass(frozen=True)
class SharedAnswers:
    """Which of a peer's answers all peers have: int64, in the same order for each of them."""

    places: Tensor


@dataclass(frozen=True)
class PeerBatch:
    """The same texts as each peer reads them."""

    batches: tuple[Batch, ...]
    shared: tuple[SharedAnswers, ...]


@dataclass(frozen=True)
class PeerRows:
    """Rows that all peers read.

    Args:
        examples: of each peer.
        places_KR: int64, number of each row among the peer's examples.
        pad_token_ids: of each peer's tokenizer.
    """

    examples: tuple[Examples, ...]
    places_KR: np.ndarray
    pad_token_ids: tuple[int, ...]

    @property
    def input_ids(self) -> RaggedIds:
        """The lengths of the texts as the first peer reads them, by which steps are formed."""
        lengths = self.examples[0].input_ids.lengths[self.places_KR[0]]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return RaggedIds(self.examples[0].input_ids.values, offsets, lengths)

    def __len__(self) -> int:
        return self.places_KR.shape[1]

    def at(self, step: int) -> PeerRows:
        """Themselves: every step reads them alike."""
        del step
        return self

    def normalizers(self, rows: np.ndarray) -> tuple[int, int]:
        """Those of the first peer; `of_peer` tells all."""
        return self.of_peer(0, rows)

    def of_peer(self, k: int, rows: np.ndarray) -> tuple[int, int]:
        """What loss sums of peer k over `rows` are divided by: (all, labelled)."""
        return self.examples[k].normalizers(self.places_KR[k, rows])

    def num_shared(self, rows: np.ndarray) -> int:
        """Answers to `rows` that all peers give."""
        return self._shared(rows).shape[1]

    def batches(
        self, rows: np.ndarray, layout: Layout, *, pad_token_id: int
    ) -> Iterator[PeerBatch]:
        """The tensors of `rows`, pass by pass: passes are those of the first peer."""
        del pad_token_id
        first, places = self.examples[0], self.places_KR[:, rows]
        for one in make_passes(
            first.input_ids, places[0], layout, pad_token_id=self.pad_token_ids[0]
        ):
            read_KB = places[:, one.members]
            batches = tuple(
                next(examples.batches(own, _WHOLE, pad_token_id=pad))
                for examples, own, pad in zip(
                    self.examples, read_KB, self.pad_token_ids, strict=True
                )
            )
            shared_KS = self._shared(rows[one.members])
            yield PeerBatch(batches, tuple(SharedAnswers(torch.from_numpy(s)) for s in shared_KS))

    def _shared(self, rows: np.ndarray) -> np.ndarray:
        """Of each peer's answers to `rows` the numbers of those that all of them give, (K, S).

        A unit that one peer's token joins to the one before is no answer of its own there: that
        peer learns the tag of the first, and would be at odds for ever with one that tells them
        apart.
        """
        units = [one.units for one in self.examples]
        counts_KB = np.stack(
            [
                np.ones(len(rows), dtype=np.int64) if one is None else one.counts(places[rows])
                for one, places in zip(units, self.places_KR, strict=True)
            ]
        )
        starts_KB = np.cumsum(counts_KB, axis=1) - counts_KB
        numbers_KS = np.stack([ranges(starts, counts_KB.min(0)) for starts in starts_KB])
        is_own = np.ones(numbers_KS.shape[1], dtype=bool)
        for one, places, starts, numbers in zip(
            units, self.places_KR, starts_KB, numbers_KS, strict=True
        ):
            if one is not None:
                positions = one.positions[one.of(places[rows])]
                is_own &= ~joined_units(positions, starts)[numbers]
        return numbers_KS[:, is_own]


def shared_rows(
    examples: Sequence[Examples], ids: Sequence[pa.ChunkedArray], pad_token_ids: Sequence[int]
) -> PeerRows:
    """The rows that all peers have, in the order of the first.

    Args:
        ids: example ids of each peer's examples, unique.
    Raises: ContractViolation if there are none.
    """
    wanted = ids[0].combine_chunks()
    places = [
        pc.fill_null(pc.index_in(wanted, value_set=own.combine_chunks()), -1)
        .to_numpy(zero_copy_only=False)
        .astype(np.int64)
        for own in ids
    ]
    places_KR = np.stack(places)
    places_KR = np.ascontiguousarray(places_KR[:, (places_KR >= 0).all(0)])
    if not places_KR.shape[1]:
        raise ContractViolation(
            f"of {len(wanted)} rows of the student none is read by all {len(ids)} peers",
            rule="peers teach one another on texts that all of them read",
            remedy="give the peers a language of these rows, or parallel text in one",
        )
    return PeerRows(tuple(examples), places_KR, tuple(pad_token_ids))


@dataclass(frozen=True)
class MutualObjective:
    """The sum over peers of their task's loss and what they learn from the others.

    Args:
        tasks: what each peer minimises alone, its companions' terms included.
        rows: by whose counts sums are divided.
        mutual: weight and temperature of what they learn from one another.
        total_steps: planned: what schedules run over.
    """

    tasks: tuple[Objective | AccompaniedObjective, ...]
    rows: PeerRows
    mutual: MutualTerm
    total_steps: int = 1

    def terms(
        self, forward: Callable[..., tuple[Any, ...]], batch: PeerBatch, step: Step
    ) -> dict[str, Tensor]:
        """`loss` of all; the terms of the first peer by their names, of others as `peer_<k>_...`.

        `loss_mutual` is unweighted, in nats an answer.
        """
        counted = [self._counted(k, step) for k in range(len(self.tasks))]
        told = [
            task.told(own) if isinstance(task, AccompaniedObjective) else {}
            for task, own in zip(self.tasks, counted, strict=True)
        ]
        read = forward([one.texts for one in batch.batches], told)
        logits = [
            (one[0] if isinstance(one, tuple) else one)[: own.num_answers]
            for one, own in zip(read, batch.batches, strict=True)
        ]
        shared = [one[own.places] for one, own in zip(logits, batch.shared, strict=True)]
        weight = value_at(self.mutual.weight, step.number, total_steps=self.total_steps)
        num_shared = self.rows.num_shared(step.rows)
        total: Tensor | float = 0.0
        found: dict[str, Tensor] = {}
        for k, (task, own) in enumerate(zip(self.tasks, batch.batches, strict=True)):
            given = (logits[k], *read[k][1:]) if isinstance(read[k], tuple) else logits[k]
            terms = task.terms(lambda *_, given=given, **__: given, own, counted[k])
            learned = self._learned(shared, k, num_shared, step.number)
            total = total + terms.pop("loss") + weight * learned
            terms["loss_mutual"] = learned.detach()
            found.update({_name(k, name): term for name, term in terms.items()})
        assert isinstance(total, Tensor), "no peers"
        return {"loss": total, **found}

    def gradient_shares(self, network: Peers, batch: PeerBatch, step: Step) -> dict[str, Tensor]:
        """How much each term pulls at its peer's logits: `share_<name>`, together 1 of each peer.

        See `gradient_shares`. Those of others than the first as `peer_<k>_share_<name>`. Of a peer
        with companions, where these are measured without peers; no other is run backward.
        """
        with torch.no_grad():
            all_logits = network([one.texts for one in batch.batches])
        weight = value_at(self.mutual.weight, step.number, total_steps=self.total_steps)
        num_shared = self.rows.num_shared(step.rows)
        found: dict[str, Tensor] = {}
        with torch.enable_grad():
            leaves = [one.detach().requires_grad_() for one in all_logits]
            shared = [one[own.places] for one, own in zip(leaves, batch.shared, strict=True)]
            for k, (task, own) in enumerate(zip(self.tasks, batch.batches, strict=True)):

                def learned(logits: Tensor, k: int = k) -> dict[str, Tensor]:
                    mine = logits[batch.shared[k].places]
                    said = [mine if j == k else other for j, other in enumerate(shared)]
                    return {"mutual": weight * self._learned(said, k, num_shared, step.number)}

                counted = self._counted(k, step)
                if isinstance(task, AccompaniedObjective):
                    peer: Any = network.peers[k]
                    shares = task.gradient_shares(peer, own, counted, further=learned)
                else:
                    weighted = task.weighted(leaves[k], own, counted) | learned(leaves[k])
                    shares = shares_of(weighted, leaves[k])
                found.update({_name(k, name): share for name, share in shares.items()})
        return found

    def without_companions(self) -> MutualObjective:
        """The same of the bare peers."""
        tasks = (
            task.task if isinstance(task, AccompaniedObjective) else task for task in self.tasks
        )
        return replace(self, tasks=tuple(tasks))

    def _counted(self, k: int, step: Step) -> Step:
        """`step` by the numbers of peer k: its rows, and what its loss sums are divided by."""
        num_examples, num_labelled = self.rows.of_peer(k, step.rows)
        own = self.rows.places_KR[k, step.rows]
        return replace(step, rows=own, num_examples=num_examples, num_labelled=num_labelled)

    def _learned(self, shared: Sequence[Tensor], k: int, num_shared: int, step: int) -> Tensor:
        """Mean over the others of T² · KL(other || peer k)."""
        kl = KLTerm(kind="kl", weight=1.0, temperature=self.mutual.temperature)
        loss = Objective((kl,), self.tasks[k].is_binary, total_steps=self.total_steps)
        others = [other.detach() for j, other in enumerate(shared) if j != k]
        labels = torch.empty(0, dtype=torch.int64, device=shared[k].device)  # kl reads none
        values = [
            loss(shared[k], labels, other, num_examples=num_shared, num_labelled=0, step=step)
            for other in others
        ]
        return torch.stack([value["loss"] for value in values]).mean()

    def to(self, device: torch.device) -> MutualObjective:
        """The same with what its tasks hold on `device`."""
        return replace(self, tasks=tuple(task.to(device) for task in self.tasks))

    def over(self, total_steps: int) -> MutualObjective:
        """The same with all schedules spread over the planned steps."""
        tasks = tuple(task.over(total_steps) for task in self.tasks)
        return replace(self, tasks=tasks, total_steps=total_steps)

    def settings(self, step: int) -> dict[str, float]:
        """Those of the first peer, and weight and temperature of the mutual term."""
        at = {"step": step, "total_steps": self.total_steps}
        return {
            **self.tasks[0].settings(step),
            "weight_mutual": value_at(self.mutual.weight, **at),
            "temperature_mutual": value_at(self.mutual.temperature, **at),
        }


def _name(k: int, name: str) -> str:
    return name if k == 0 else f"peer_{k}_{name}"
