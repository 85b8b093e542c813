"""What the engine reaches on a GPU, in one command from the repository's root:

    pip install accelerate       # only for the Hugging Face Trainer that it is held against
    python -m infra.benchmarks.gpu --out gpu.jsonl               about 20 minutes on an H100
    python -m infra.benchmarks.gpu --sections equality training  some sections only
    python -m infra.benchmarks.gpu --device cpu --tiny           a smoke run: no figures

Prints one JSON line a case, a Markdown table and what has a target against it; exits 1 if a layout
computes something else. `infra/benchmarks/run gpu` does all and keeps the result for speed.md.

    equality   loss and gradient of each packed layout against padded texts, on this card
    peak       TFLOP/s of one large bf16 product: what shares are shares of
    training   students on cached signals, mean 27 tokens, 250k vocabulary: samples/s, share of
               the peak, loader idle time, memory; compiled, not compiled, as CUDA graphs
    syncs      how often one step of training waits for the device, beyond its end
    kernels    rows, varlen and flex by length profile: the table of `choose_kernel`, end to end
    signals    a 12x768 teacher reading: tokens/s, share of the peak
    trainer    Hugging Face Trainer with a teacher in its compute_loss: as it comes (bf16,
               batch 64), and tuned (batch 256, grouped by length)

The product's own `train` and `predict_logits` run. Useful FLOPs: 6 (training) or 2 (reading) per
weight outside the embeddings and real token, plus attention within texts; filler counts for
nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infra.benchmarks.gpu_bench import FULL, TINY, Bench
from infra.benchmarks.gpu_figures import Record, judged, table, targets_table
from infra.benchmarks.gpu_material import useful_flops
from infra.benchmarks.gpu_syncs import synchronisations
from infra.benchmarks.settings import Settings, say
from tasks.modeling.texts import pinned
from tasks.training.batching.batches import make_step
from tasks.training.batching.examples import Examples
from tasks.training.batching.layouts import Layout
from tasks.training.engine.loop import place, train
from tasks.training.engine.stepping import Stepper
from tasks.training.fitting.inference import predict_logits
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.adamw import build_optimizer
from tasks.training.optimization.config import TrainingConfig


def main() -> int:
    """Run the sections asked for; 0 if every layout computed the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes: a smoke run")
    parser.add_argument("--out", type=Path, help="file to append the JSON lines to")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        parser.error("no CUDA device: nothing to measure (--device cpu --tiny for a smoke run)")
    records = []
    for record in measured(arguments.sections, tiny=arguments.tiny):
        records.append(record)
        print(json.dumps(record), flush=True)
        if arguments.out:
            with arguments.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
    print(f"\n{table(records)}\n\n{targets_table(judged(records))}")
    return int(any(record.get("equal") is False for record in records))


def run(settings: Settings, section: str) -> dict:
    """Measure everything for `infra/benchmarks/run`; JSON values. A smoke run needs no GPU.

    Raises: SystemExit if there is no CUDA device, or a layout computes something else.
    """
    if settings.tiny:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        raise SystemExit("no CUDA device: nothing to measure")
    records = []
    for record in measured(SECTIONS, tiny=settings.tiny):
        records.append(record)
        say(f"  {json.dumps(record)}")
    if wrong := [record["case"] for record in records if record.get("equal") is False]:
        raise SystemExit(f"loss or gradient is not that of padded texts: {', '.join(wrong)}")
    return {"records": records, "targets": judged(records)}


def measured(sections: Iterable[str], *, tiny: bool) -> Iterator[Record]:
    """The records of the sections, one after the other, on the device that there is."""
    bench = Bench(TINY if tiny else FULL, place())
    for name in sections:
        for record in SECTIONS[name](bench):
            yield {"section": name, **record}
        bench.forget()


def equality(bench: Bench) -> Iterator[Record]:
    """Gradients of one step against those of padded texts, in the arithmetic of each kernel."""
    examples = bench.examples(texts=min(512, bench.sizes.texts))
    shape = (2, bench.sizes.student[1], bench.sizes.student[2])
    rows = np.arange(len(examples))

    def gradient(layout: Layout, precision: Any) -> tuple[float, torch.Tensor]:
        model = bench.model(shape)
        config = TrainingConfig(
            num_epochs=1, learning_rate=1.0, max_grad_norm=1e9, precision=precision
        )
        stepper = Stepper(
            model, model, Objective(blend(0.5, 2.0)),
            torch.optim.SGD(model.parameters(), lr=0.0), config,
            examples=examples, pad_token_id=0, layout=layout,
        )  # fmt: skip
        terms = stepper(make_step(examples, rows, layout=layout, pad_token_id=0))
        found = [p.grad.float().flatten() for p in model.parameters() if p.grad is not None]
        return float(terms["loss"]), torch.cat(found)

    reference = {
        precision: gradient(Layout("bucketed", bench.sizes.pass_tokens), precision)
        for precision in {"fp32", bench.precision}
    }
    for name, layout in bench.layouts(examples, len(examples)).items():
        for precision in sorted(reference):
            if bench.on_gpu and name == "varlen" and precision == "fp32":
                continue  # flash attention has no fp32
            loss, found = gradient(layout, precision)
            expected_loss, expected = reference[precision]
            loss_error = abs(loss - expected_loss) / abs(expected_loss)
            error = float((found - expected).norm() / expected.norm())
            # bf16 keeps 8 bits; each kernel rounds in another order.
            bound = (1e-5, 1e-3) if precision == "fp32" else (1e-2, 5e-2)
            yield {
                "case": f"{name} {precision}", "loss_error": loss_error, "gradient_error": error,
                "equal": loss_error < bound[0] and error < bound[1],
            }  # fmt: skip


def peak(bench: Bench) -> Iterator[Record]:
    """One large product, the best of several rounds."""
    size = bench.sizes.product
    dtype = torch.bfloat16 if bench.on_gpu else torch.float32
    left, right = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
    best = math.inf
    for _ in range(8):
        started = bench.clock()
        for _ in range(20):
            left @ right
        best = min(best, (bench.clock() - started) / 20)
    bench.peak_tflops = 2 * size**3 / best / 1e12
    name = torch.cuda.get_device_name() if bench.on_gpu else "cpu"
    yield {
        "case": f"{size} x {size}", "tflops": round(bench.peak_tflops, 2), "device": name,
        "torch": torch.__version__,
    }  # fmt: skip


def training(bench: Bench) -> Iterator[Record]:
    """Students on cached signals through the product's loop, with the layout it chooses."""
    examples = bench.examples()
    modes = ("always", "never", "graphs") if bench.on_gpu else ("never",)
    small, wide = ("small", bench.sizes.student), ("wide", bench.sizes.wide_student)
    cases = [(small, 0.0, mode) for mode in modes]
    cases += [(small, 0.1, modes[0]), (wide, 0.0, modes[0])]
    for (size, shape), dropout, mode in cases:
        name = f"{size} {shape[0]}x{shape[1]} dropout {dropout} compile {mode}"
        yield _trained(bench, name, examples, shape, dropout=dropout, mode=mode)


def syncs(bench: Bench) -> Iterator[Record]:
    """Waits for the device in one step of the engine, its batch in pinned memory as the loop's.

    Each is a point where the device runs dry; the loop itself waits only to read its losses.
    """
    examples = bench.examples(texts=min(2048, bench.sizes.texts))
    model = bench.model(bench.sizes.student)
    layout = next(iter(bench.layouts(examples, len(examples)).values()))
    config = TrainingConfig(num_epochs=1, learning_rate=1e-5, precision=bench.precision)
    stepper = Stepper(
        model, model, Objective(blend(0.5, 2.0)), build_optimizer(model, config), config,
        examples=examples, pad_token_id=0, layout=layout,
    )  # fmt: skip
    step = make_step(examples, np.arange(len(examples)), layout=layout, pad_token_id=0)
    if bench.on_gpu:
        step = pinned(step)
    stepper(step)  # builds the optimizer's state
    bench.clock()
    with synchronisations(on_gpu=bench.on_gpu) as found:
        stepper(step)
    count = len(found) if bench.on_gpu else None
    yield {"case": "one step, not compiled", "syncs": count, "where": sorted(set(found))}


def kernels(bench: Bench) -> Iterator[Record]:
    """Every layout on two length profiles and two head sizes."""
    mode = "always" if bench.on_gpu else "never"
    for mean, longest in ((27.0, 128), (120.0, 512)):
        texts = max(64, bench.sizes.texts // (1 if mean < 64 else 4))
        examples = bench.examples(mean, longest, texts)
        for heads in {bench.sizes.student[2], bench.sizes.student[2] // 2} if bench.on_gpu else {2}:
            shape = (*bench.sizes.student[:2], heads)
            for kind, layout in bench.layouts(examples, bench.batch_size(examples)).items():
                name = f"mean {mean:.0f}, head {shape[1] // heads}, {kind}"
                yield _trained(bench, name, examples, shape, mode=mode, layout=layout)


def signals(bench: Bench) -> Iterator[Record]:
    """A teacher reading every text once."""
    examples = bench.examples()
    lengths = examples.input_ids.lengths
    model = bench.model(bench.sizes.teacher).eval()
    for mode in ("always", "never") if bench.on_gpu else ("never",):
        os.environ["DECANT_COMPILE"] = mode
        seconds = math.inf
        for _ in range(3):  # the first compiles
            started = time.perf_counter()
            predict_logits(model, examples.input_ids, pad_token_id=0, precision=bench.precision)
            seconds = min(seconds, time.perf_counter() - started)
        tflops = useful_flops(model, lengths, factor=2) / seconds / 1e12
        yield {
            "case": f"teacher {bench.sizes.teacher[0]}x{bench.sizes.teacher[1]} compile {mode}",
            "tokens_s": round(lengths.sum() / seconds), "texts_s": round(len(lengths) / seconds),
            "tflops": round(tflops, 2), "share_of_peak": bench.share(tflops),
            "gib": bench.memory(),
        }  # fmt: skip


def trainer(bench: Bench) -> Iterator[Record]:
    """Hugging Face Trainer; skipped without `accelerate`, which it needs."""
    if find_spec("accelerate") is None:
        yield {"case": "Hugging Face Trainer", "skipped": "needs: pip install accelerate"}
        return
    from infra.benchmarks.gpu_trainer import samples_per_second

    examples = bench.examples()
    for name, batch_size, grouped in (("as it comes", 64, False), ("tuned", 256, True)):
        rate = samples_per_second(
            bench.model(bench.sizes.student, dropout=0.0),
            bench.model(bench.sizes.teacher).eval().requires_grad_(False),
            examples,
            batch_size=batch_size if bench.on_gpu else 8,
            grouped=grouped,
            bf16=bench.on_gpu,
            steps=bench.sizes.trainer_steps,
        )
        yield {"case": f"Hugging Face Trainer {name}", "samples_s": round(rate, 1)}


SECTIONS = {
    "equality": equality, "peak": peak, "training": training, "syncs": syncs, "kernels": kernels,
    "signals": signals, "trainer": trainer,
}  # fmt: skip


class _Stopwatch:
    """A progress listener: the loop reads its losses, and so waits for the device, as it calls."""

    def __init__(self) -> None:
        self.intervals: list[tuple[int, float]] = []  # steps, seconds
        self._last = time.perf_counter()

    def start(self, description: str, *, total: int, unit: str) -> None:
        """The loop begins."""
        self._last = time.perf_counter()

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """`amount` steps are done."""
        now = time.perf_counter()
        if amount:
            self.intervals.append((amount, now - self._last))
        self._last = now

    def say(self, message: str) -> None:
        """Nothing to add."""

    def validated(self, number: int, figures: dict[str, float]) -> None:
        """Nothing to add."""


def _trained(
    bench: Bench,
    name: str,
    examples: Examples,
    shape: tuple[int, int, int],
    *,
    dropout: float = 0.0,
    mode: str,
    layout: Layout | None = None,
) -> Record:
    """The median speed of the loop, its first reading (which compiles) left out."""
    os.environ["DECANT_COMPILE"] = mode
    model = bench.model(shape, dropout=dropout)
    lengths = examples.input_ids.lengths
    batch_size = bench.batch_size(examples)
    if layout is None and not bench.on_gpu:
        layout = bench.layouts(examples, batch_size)["rows of 128"]
    config = TrainingConfig(
        num_epochs=bench.sizes.epochs, batch_size=batch_size, group_by_length=False,
        learning_rate=1e-5, precision=bench.precision, selection="loss",
    )  # fmt: skip
    watch = _Stopwatch()
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = train(
                model, examples, Objective(blend(0.5, 2.0)), config,
                pad_token_id=0, validate=lambda _: {"loss": 0.0}, seed=0, work=Path(folder),
                progress=watch, layout=layout,
            )  # fmt: skip
    except Exception as error:  # a kernel that this card or version lacks must not end the rest
        return {"case": name, "failed": f"{type(error).__name__}: {str(error)[:300]}"}
    finally:
        bench.forget()
    steady = watch.intervals[1:] or watch.intervals
    rate = statistics.median(steps / seconds for steps, seconds in steady)
    tflops = useful_flops(model, lengths, factor=6) / len(lengths) * batch_size * rate / 1e12
    return {
        "case": name, "samples_s": round(rate * batch_size),
        "tokens_s": round(rate * batch_size * lengths.mean()), "tflops": round(tflops, 2),
        "share_of_peak": bench.share(tflops),
        "loader_idle": round(result.loader_wait_seconds / sum(each for _, each in steady), 4),
        "gib": bench.memory(), **result.layout.facts(), "batch_size": batch_size,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
