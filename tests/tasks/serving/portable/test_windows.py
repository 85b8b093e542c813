import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tasks.corpus.rows.kind import Reading
from tasks.corpus.text.units import segment
from tasks.corpus.tokens.pair_encoding import encode_pairs, framed_apart
from tasks.corpus.tokens.window_encoding import encode_windows
from tasks.serving.portable.pair_classifier import PairClassifier
from tasks.serving.portable.question_answerer import QuestionAnswerer
from tasks.serving.portable.windows import UnitText, unit_texts, windows


@pytest.mark.parametrize("stride", [None, 1, 3, 5])
@pytest.mark.parametrize("length", [0, 1, 5, 6, 7, 23])
def test_every_unit_is_read_in_its_place(length, stride):
    """A unit at a window's edge that belongs to none, or to the wrong token of the next one."""
    text = UnitText(
        units=[(place, place + 1) for place in range(length)],
        input_ids=list(range(100, 100 + length)),
        places=list(range(length)),
        text="1" * length,
    )
    found = list(windows(0, text, before=[1, 2], after=[3], room=5, stride=stride))
    seen = {}
    for window in found:
        assert len(window.input_ids) <= 8
        assert window.input_ids[:2] + window.input_ids[-1:] == [1, 2, 3]
        for number, (position, margin) in enumerate(
            zip(window.positions, window.margins, strict=True)
        ):
            unit = window.first_unit + number
            assert window.input_ids[position] == 100 + unit
            seen[unit] = max(seen.get(unit, 0), margin)
    assert sorted(seen) == list(range(length))
    if length <= 5:
        assert len(found) == 1
        assert set(seen.values()) <= {float("inf")}


@pytest.mark.parametrize(("usual", "starts"), [(0, [0, 2, 4]), (3, [0, 3, 6]), (9, [0, 4])])
def test_the_usual_stride_is_that_of_training_where_it_fits(usual, starts):
    """A long question leaves less room than the stride: tokens between windows go unread."""
    text = UnitText([(at, at + 1) for at in range(8)], list(range(8)), list(range(8)), "12345678")
    found = list(windows(0, text, before=[], after=[], room=4, stride=None, usual=usual))
    assert [window.first_unit for window in found] == starts
    assert found[-1].input_ids[-1] == 7


class Counted(list):
    """A list that counts how often one of its items is looked at."""

    looks = 0

    def __getitem__(self, item):
        self.looks += 1
        return super().__getitem__(item)

    def __iter__(self):
        for item in super().__iter__():
            self.looks += 1
            yield item


@pytest.mark.parametrize("length", [1_000, 20_000])
def test_each_unit_is_looked_at_a_few_times_however_long_its_text_is(length):
    """Every window looked at every unit: one request with a megabyte of Chinese held a server for
    a minute before the network saw it, and a book of ten for an hour and a half."""
    numbers = list(range(length))
    text = UnitText([(at, at + 1) for at in numbers], numbers, Counted(numbers), "1" * length)
    found = list(windows(0, text, before=[1], after=[2], room=126, stride=None))
    assert sum(len(one.positions) for one in found) < 2 * length
    assert 2 * length < text.places.looks < 8 * length


def test_a_window_without_room_is_refused():
    """A question as long as the window: windows of nothing, for ever."""
    text = UnitText([(0, 1)], input_ids=[7], places=[0], text="a")
    with pytest.raises(MlflowException, match="a window holds 0 tokens"):
        list(windows(0, text, before=[1, 2], after=[], room=0, stride=None))


def test_units_of_several_tokens_are_read_at_their_first():
    """A window that starts inside a word reads its second half as a word of its own."""
    text = UnitText([(0, 9), (10, 12)], input_ids=[7, 8, 9, 5], places=[0, 3], text="ninechars ab")
    first, second = windows(0, text, before=[], after=[], room=3, stride=1)
    assert (first.first_unit, first.positions) == (0, [0])
    assert (second.first_unit, second.positions) == (1, [2])


def test_units_are_those_of_the_corpus_whatever_the_tokenizer(small_tokenizer):
    """Served units cut otherwise than the trained ones: tags of other words."""
    pieces = Tokenizer(
        models.Unigram(
            [("<unk>", 0.0), ("▁", -1.0), *((one, -2.0) for one in "打开客厅的灯abc")], 0
        )
    )
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces.decoder = decoders.Metaspace()
    ragged = [
        "打开客厅的灯",
        "abc 打开",
        "Müllers Café, กรุงเทพ!",
        "かな漢字ABC12",
        "नमस्ते 客厅",
        "…",
    ]
    for tokenizer in (small_tokenizer, pieces):
        for text, read in zip(ragged, unit_texts(tokenizer, ragged), strict=True):
            assert read.units == segment(text)
            assert len(read.places) == len(read.units)
            assert read.places == sorted(read.places)
            assert all(0 <= place < len(read.input_ids) for place in read.places)
    (read,) = unit_texts(pieces, ["打开"])
    assert [pieces.id_to_token(read.input_ids[place]) for place in read.places] == ["打", "开"]


@pytest.mark.parametrize(("longest_question", "stride"), [(None, None), (3, 4), (None, 15)])
def test_served_windows_are_the_trained_ones(answerer, matcher, longest_question, stride):
    """Questions, contexts and pairs cut otherwise in service: figures of another model."""
    script = QuestionAnswerer()
    script.read(lambda name: answerer.export / "model" / name)
    script.settings |= {"max_question_tokens": longest_question, "window_stride_tokens": stride}
    contexts = ["打开客厅的灯", "打开 a 客厅的灯，关闭阳台的灯。" * 6, "Müllers Café 几度 " * 9]
    questions = ["哪个房间", "哪个房间 " * 5, "?"]
    reading = Reading(
        tokenizer=script.tokenizer,
        languages=("zh",),
        labels=("start", "end"),
        max_length_tokens=24,
        max_question_tokens=longest_question,
        window_stride_tokens=stride,
        max_target_tokens=24,
        workers=1,
    )
    nothing = pa.nulls(3, pa.string())
    rows = pa.table(
        {
            "example_id": ["a", "b", "c"],
            "text": contexts,
            "language": ["zh"] * 3,
            "parallel_text": nothing,
            "parallel_language": nothing,
            "question": questions,
            "answer_starts": pa.nulls(3, pa.list_(pa.int32())),
            "answer_texts": pa.nulls(3, pa.list_(pa.string())),
        }
    )
    trained = encode_windows(rows, reading).columns
    _, served = script.pieces(questions, contexts, stride=None)
    assert [window.input_ids for window in served] == trained["input_ids"]
    assert [window.positions for window in served] == trained["unit_positions"]
    assert [window.first_unit for window in served] == trained["first_unit"]
    pairs = PairClassifier()
    pairs.read(lambda name: matcher.export / "model" / name)
    texts = [pa.array(side, pa.string()) for side in (contexts, questions)]
    if pairs.tokenizer.num_special_tokens_to_add(is_pair=True) == 4:  # a frame for each text
        framed_apart(script.tokenizer)
    encoded = encode_pairs(script.tokenizer, *texts, max_length_tokens=24, workers=1)
    assert pairs.tokenize(contexts, questions) == encoded.input_ids.to_pylist()
