"""Layouts: padded, bucketed and packed are one model, one loss and one gradient."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from data_contracts.errors import ResourceExhausted
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.modeling.heads.pair_encoder import PairEncoder
from tasks.modeling.heads.token_heads import EncoderTokenClassifier
from tasks.modeling.heads.units import Units
from tasks.modeling.texts import moved
from tasks.training.batching.batches import make_step
from tasks.training.batching.examples import Examples
from tasks.training.batching.layouts import Layout, packed_layout, scoring_layout, stream_layout
from tasks.training.batching.passes import make_passes, pad
from tasks.training.batching.ragged import RaggedIds
from tasks.training.engine.stepping import Stepper
from tasks.training.fitting.inference import predict_logits
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

TEXTS = (
    "打开客厅的灯", "把卧室的空调调到二十六度，然后关掉走廊的灯", "关灯", "turn off the lamp",
    "书房窗帘拉上一半", "set the heater in the hall to 21 degrees and close the garage door",
    "厨房现在多少度？", "暂停", "is any window open on the first floor?", "把电视音量调低一点",
    "pause", "阳台的门锁好了吗", "明天早上七点叫我起床，放一点轻音乐", "what time is it",
    "扫地机器人回去充电", "dim the bedroom lights to thirty percent", "晚安", "客厅太暗了",
    "start the vacuum cleaner in the kitchen when everybody has left", "取消所有定时器",
    "播放周杰伦的歌", "next song", "车库门关上了没有，如果没有请现在关上", "add milk to the list",
)  # fmt: skip
NUM_CLASSES = 5
CLASS_WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 1.5, 0.7])
SHAPE = {
    "vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 96, "pad_token_id": 1,
}  # fmt: skip
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def bert():
    return BertModel(BertConfig(**SHAPE, **NO_DROPOUT), add_pooling_layer=False)


def xlm_roberta():
    return XLMRobertaModel(XLMRobertaConfig(**SHAPE, **NO_DROPOUT), add_pooling_layer=False)


def distilbert():
    config = DistilBertConfig(
        vocab_size=120, dim=32, n_layers=2, n_heads=4, hidden_dim=48, pad_token_id=1,
        max_position_embeddings=96, dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    return DistilBertModel(config)


def modernbert():
    """Its second layer sees 4 tokens to each side only."""
    special = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    config = ModernBertConfig(**SHAPE, **special, local_attention=8, global_attn_every_n_layers=2)
    return ModernBertModel(config)


ENCODERS = [bert, xlm_roberta, distilbert, modernbert]


def make_model(encoder=bert, pooling="mean"):
    torch.manual_seed(0)
    return EncoderClassifier(encoder(), num_labels=NUM_CLASSES, pooling=pooling, dropout=0.0)


@pytest.fixture(scope="module")
def examples():
    """Real short texts in two languages, a token a character."""
    rng = np.random.default_rng(0)
    texts = [[2, *(4 + ord(character) % 116 for character in text), 3] for text in TEXTS]
    offsets = np.cumsum([0] + [len(text) for text in texts]).astype(np.int64)
    labels = rng.integers(0, NUM_CLASSES, len(texts))
    labels[::5] = -1
    return Examples(
        example_ids=None,
        input_ids=RaggedIds(np.array([i for t in texts for i in t], dtype=np.int32), offsets),
        labels=labels.astype(np.int64),
        teacher_logits=rng.normal(size=(len(texts), NUM_CLASSES)).astype(np.float32),
        label_names=tuple("abcde"),
    )


def every_layout(lengths):
    """Each kind, in one pass and in several, with and without room for filler."""
    texts = {"batch_size": len(lengths)}
    return {
        "bucketed": Layout("bucketed", 200),
        "rows": packed_layout("rows", lengths, grouped=False, width=80, **texts),
        "rows in passes": packed_layout(
            "rows", lengths, grouped=True, width=72, pass_tokens=144, **texts
        ),
        "varlen": packed_layout("varlen", lengths, grouped=False, **texts),
        "varlen in passes": packed_layout(
            "varlen", lengths, grouped=True, pass_tokens=256, **texts
        ),
        "stream": stream_layout(lengths, **texts),
        "stream in passes": Layout("varlen", 100, granule=1, longest=int(lengths.max())),
    }


def gradients(model, examples, layout, class_weights=CLASS_WEIGHTS):
    """Loss terms and gradients of one step over all rows."""
    rows = np.arange(len(examples))
    config = TrainingConfig(num_epochs=1, learning_rate=1e-3, max_grad_norm=1e9, precision="fp32")
    stepper = Stepper(
        model, model, Objective(blend(0.6, 2.0), class_weights_C=class_weights),
        torch.optim.SGD(model.parameters(), lr=0.0), config,
        examples=examples, pad_token_id=1, layout=layout,
    )  # fmt: skip
    terms = stepper(make_step(examples, rows, layout=layout, pad_token_id=1))
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {name: float(term) for name, term in terms.items()}, found, stepper


def assert_same_in_every_layout(model, examples, **options):
    """Compare each layout with texts that are padded, in one pass."""
    expected, reference, _ = gradients(model, examples, Layout("padded", 0), **options)
    # Zeros (biases of keys) hold rounding noise only: compare against the largest gradient.
    scale = max(float(gradient.abs().max()) for gradient in reference.values())
    for name, layout in every_layout(examples.input_ids.lengths).items():
        terms, found, _ = gradients(model, examples, layout, **options)
        assert terms == pytest.approx(expected, rel=1e-5), name
        for weight, gradient in reference.items():
            torch.testing.assert_close(
                found[weight], gradient, rtol=1e-4, atol=1e-5 * scale, msg=f"{name}: {weight}"
            )


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_layout_gives_the_same_loss_and_gradient(examples, encoder, pooling):
    """A text that sees its neighbour, or a normaliser of the pass instead of the step: the run is
    faster and learns something else."""
    assert_same_in_every_layout(make_model(encoder, pooling), examples)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("encoder", [xlm_roberta, modernbert])
def test_pairs_read_apart_are_the_same_in_every_layout(examples, encoder, pooling):
    """The second text's positions counted on from the first, or its tokens pooled with them."""
    texts = np.split(examples.input_ids.values, examples.input_ids.offsets[1:-1])
    pairs = [np.concatenate(pair) for pair in pairwise(texts) if sum(map(len, pair)) < 72]
    offsets = np.cumsum([0, *map(len, pairs)])
    read = replace(
        examples,
        input_ids=RaggedIds(np.concatenate(pairs), offsets),
        labels=examples.labels[: len(pairs)],
        teacher_logits=examples.teacher_logits[: len(pairs)],
    )
    torch.manual_seed(0)
    model = PairEncoder(encoder(), num_labels=NUM_CLASSES, pooling=pooling, dropout=0.0)
    assert_same_in_every_layout(model, read)


def units_of(examples, distribution):
    """The same texts, read at some of their tokens: tags, or one start and one end a text."""
    rng = np.random.default_rng(1)
    lengths = examples.input_ids.lengths
    positions = [np.union1d([0], np.flatnonzero(rng.random(n) < 0.5)) for n in lengths]
    offsets = np.cumsum([0] + [len(one) for one in positions]).astype(np.int64)
    if distribution == "classes":
        labels, names = rng.integers(-1, NUM_CLASSES, offsets[-1]), tuple("abcde")
    else:
        labels, names = np.zeros(offsets[-1], dtype=np.int64), ("start", "end")
        for text, (first, stop) in enumerate(pairwise(offsets)):
            start, end = sorted(rng.integers(first, stop, 2))
            labels[start] += 1
            labels[end] += 2
            if text % 5 == 0:
                labels[first:stop] = -1
    teacher_logits = rng.normal(size=(offsets[-1], len(names))).astype(np.float32)
    return replace(
        examples, labels=labels.astype(np.int64), teacher_logits=teacher_logits, label_names=names,
        units=Units(offsets, np.concatenate(positions).astype(np.int32)), distribution=distribution,
    )  # fmt: skip


@pytest.mark.parametrize("distribution", ["classes", "units"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_answers_of_tokens_are_the_same_in_every_layout(examples, encoder, distribution):
    """A tag read from the neighbour's token, or a softmax that runs into the next text: F1 falls
    with the layout, and nobody looks there."""
    read = units_of(examples, distribution)
    torch.manual_seed(0)
    shape = {"num_labels": len(read.label_names), "pooling": "mean", "dropout": 0.0}
    weights = CLASS_WEIGHTS if distribution == "classes" else None
    assert_same_in_every_layout(
        EncoderTokenClassifier(encoder(), **shape), read, class_weights=weights
    )


@pytest.mark.parametrize("encoder", [xlm_roberta, modernbert])
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_reads_the_same_logits(examples, encoder):
    """Blocks left out of the mask, or texts that meet inside one. (No backward pass on a CPU.)"""
    model = make_model(encoder)
    lengths = examples.input_ids.lengths
    expected = predict_logits(model, examples.input_ids, pad_token_id=1)
    layout = scoring_layout("flex", lengths, width=64, pass_tokens=256)
    found = predict_logits(model, examples.input_ids, pad_token_id=1, layout=layout)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", [EncoderClassifier, PairEncoder])
@pytest.mark.parametrize("encoder", [xlm_roberta, modernbert])
def test_the_flash_attention_call_has_the_shapes_it_asks_for(examples, encoder, network):
    """The one kernel no CPU has: called on tensors without data, forward and backward, so that
    a wrong argument does not wait for the first GPU to be found."""
    lengths = examples.input_ids.lengths
    layout = packed_layout("varlen", lengths, batch_size=24, grouped=False)
    (one,) = make_passes(examples.input_ids, np.arange(24), layout, pad_token_id=1)
    model = network(encoder(), num_labels=NUM_CLASSES, pooling="mean", dropout=0.0).to("meta")
    logits = model(moved(one.texts, torch.device("meta")))
    assert logits.shape == (len(one.texts.packing.num_tokens_S), NUM_CLASSES)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("kind", ["rows", "varlen"])
def test_a_texts_logits_do_not_depend_on_its_neighbours(examples, kind):
    """Attention across texts is silent: losses fall, and the student answers by the batch."""
    model = make_model().eval()
    ids, lengths = examples.input_ids, examples.input_ids.lengths
    others = np.arange(1, len(lengths))
    found = []
    for neighbours in (others[:9], others[9:], others[::-2]):
        rows = np.array([0, *neighbours])
        layout = scoring_layout(kind, lengths, width=128, pass_tokens=4096)
        (one,) = make_passes(ids, rows, layout, pad_token_id=1)
        with torch.no_grad():
            found.append(model(one.texts)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[0], found[2], rtol=1e-5, atol=1e-6)


def test_packed_layouts_hold_every_text_once_in_few_shapes(examples):
    """A text lost in packing is never trained on; a shape a step is a compilation a step."""
    ids = examples.input_ids
    for name, layout in every_layout(ids.lengths).items():
        seen, shapes = [], set()
        for shift in range(4):
            rows = np.roll(np.arange(len(ids)), shift)[: len(ids) - shift]
            members = []
            for one in make_passes(ids, rows, layout, pad_token_id=1):
                members.extend(one.members.tolist())
                shapes.add(tuple(one.texts.input_ids.shape))
                assert one.texts.input_ids.numel() <= max(layout.pass_tokens, 200), name
                if layout.is_packed:
                    packing = one.texts.packing
                    real = packing.segment_ids_RW.flatten() < len(one.members)
                    assert int(real.sum()) == ids.lengths[rows[one.members]].sum()
                    assert len(packing.num_tokens_S) >= layout.max_texts
            seen.append(sorted(members) == list(range(len(rows))))
        assert all(seen), name
        assert not layout.is_static or len(shapes) == 1, name


def test_padding_reproduces_each_text():
    texts = [[5, 6], [7], [8, 9, 10, 11]]
    offsets = np.cumsum([0] + [len(text) for text in texts]).astype(np.int64)
    ragged = RaggedIds(np.array([i for text in texts for i in text], dtype=np.int32), offsets)
    ids, mask = pad(ragged, np.array([2, 0, 1]), pad_token_id=0)
    expected = [[8, 9, 10, 11], [5, 6, 0, 0], [7, 0, 0, 0]]
    assert ids.tolist() == expected
    assert mask.tolist() == [[int(i > 0) for i in row] for row in expected]


def test_steps_of_mixed_lengths_nearly_fill_their_one_shape():
    """Static shapes bought with a third of filler are no bargain."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(24), 0.55, 22000), 5, 128).astype(np.int64)
    ids = RaggedIds(np.zeros(lengths.sum(), dtype=np.int32), np.cumsum([0, *lengths]))
    for batch_size, passes_a_step in ((2200, 1), (4400, 2)):
        layout = packed_layout("rows", lengths, batch_size=batch_size, grouped=False, width=128)
        assert layout.is_static
        passes = [
            one
            for start in range(0, len(lengths), batch_size)
            for one in make_passes(
                ids, np.arange(start, start + batch_size), layout, pad_token_id=0
            )
        ]
        assert len(passes) == passes_a_step * (len(lengths) // batch_size)
        assert lengths.sum() / sum(one.texts.input_ids.numel() for one in passes) > 0.94


class MemoryLimit:
    """Raises as CUDA does when a pass is larger than `tokens`."""

    def __init__(self, tokens):
        self.tokens, self.refused = tokens, 0

    def __call__(self, module, arguments):
        if arguments[0].input_ids.numel() > self.tokens:
            self.refused += 1
            raise torch.OutOfMemoryError


@pytest.mark.parametrize("kind", ["padded", "rows", "varlen"])
def test_a_step_that_does_not_fit_is_split_without_changing_its_gradient(examples, kind):
    """Out of memory in the night's last epoch, or a remedy that halves the learning signal."""
    lengths = examples.input_ids.lengths
    expected, reference, _ = gradients(make_model(), examples, Layout("padded", 1 << 16))
    layout = Layout("padded", 1 << 16)
    if kind != "padded":
        layout = packed_layout(kind, lengths, batch_size=24, grouped=False, width=128)
    model = make_model()
    limit = MemoryLimit(300)
    model.register_forward_pre_hook(limit)
    terms, found, stepper = gradients(model, examples, layout)
    assert limit.refused
    assert stepper.layout.pass_tokens <= 300
    assert terms == pytest.approx(expected, rel=1e-5)
    for weight, gradient in reference.items():
        torch.testing.assert_close(found[weight], gradient, rtol=1e-4, atol=1e-6)


def test_a_text_that_never_fits_ends_with_a_remedy(examples):
    """Halving for ever, or a traceback out of the middle of torch."""
    model = make_model()
    model.register_forward_pre_hook(MemoryLimit(3))
    with pytest.raises(ResourceExhausted, match="does not fit the memory"):
        gradients(model, examples, Layout("padded", 4096))


@pytest.mark.parametrize("kind", ["rows", "varlen", "bucketed"])
def test_scoring_goes_on_in_smaller_passes_and_remembers_them(examples, kind):
    """A part scored half, or the same failure again for each of a thousand parts."""
    ids = examples.input_ids
    # What fitted is remembered by the number of weights: one of its own for each case.
    shape = {**SHAPE, **NO_DROPOUT, "vocab_size": 121 + len(kind)}
    model = make_model(lambda: BertModel(BertConfig(**shape), add_pooling_layer=False))
    expected = predict_logits(model, ids, pad_token_id=1)
    layout = Layout("bucketed", 4096)
    if kind != "bucketed":
        layout = scoring_layout(kind, ids.lengths, width=128, pass_tokens=4096)
    limit = MemoryLimit(300)
    model.register_forward_pre_hook(limit)
    found = predict_logits(model, ids, pad_token_id=1, layout=layout)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert limit.refused
    again = limit.refused
    predict_logits(model, ids, pad_token_id=1, layout=layout)
    assert limit.refused == again


@pytest.mark.parametrize("network", [EncoderClassifier, PairEncoder])
def test_packed_steps_compile_to_one_graph_for_all_steps(examples, network):
    """A graph break or a recompilation a step: compiled training is slower than uncompiled.
    (Traced and differentiated, not turned into kernels: that needs the device.)"""
    counter = CompileCounterWithBackend("aot_eager")
    shape = {**SHAPE, **NO_DROPOUT, "num_hidden_layers": 1}
    encoder = BertModel(BertConfig(**shape), add_pooling_layer=False)
    model = network(encoder, num_labels=NUM_CLASSES, pooling="mean", dropout=0.0)
    lengths = examples.input_ids.lengths
    layout = packed_layout("rows", lengths, batch_size=12, grouped=False, width=128)
    forward = torch.compile(model, backend=counter, fullgraph=True, dynamic=False)
    for rows in (np.arange(12), np.arange(12, 24), np.arange(20, 24)):
        for one in make_passes(examples.input_ids, rows, layout, pad_token_id=1):
            found = forward(one.texts)
            torch.testing.assert_close(found, model(one.texts), rtol=1e-5, atol=1e-6)
            found.sum().backward()
    assert counter.frame_count == 1
