"""Tiny models of each problem, delivered: each knows the rooms of a house, in Chinese."""

import pytest

ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台", "车库", "走廊")
REQUESTS = ("打开{}的灯", "关闭{}的灯", "{}现在几度", "在{}播放音乐")
TEXTS = [(request.format(room), request.index("{")) for request in REQUESTS for room in ROOMS]
CLS, SEP = 2, 3


@pytest.fixture(scope="session")
def ids_of(small_tokenizer):
    """Ids of a text, without special tokens; every character must be a token."""

    def ids(text):
        found = small_tokenizer.encode(text, add_special_tokens=False).ids
        assert len(found) == len(text)
        return found

    return ids


def keys(count):
    return [f"{row:032x}" for row in range(count)]


@pytest.fixture(scope="session")
def tagger(deliver, ids_of):
    """Rooms are ROOM, lamps DEVICE."""
    labels = ["O", "B-DEVICE", "I-DEVICE", "B-ROOM", "I-ROOM"]
    tags = []
    for text, start in TEXTS:
        found = [1 if character == "灯" else 0 for character in text]
        found[start : start + 2] = [3, 4]
        tags.append(found)
    rows = {
        "example_id": keys(len(TEXTS)),
        "input_ids": [[CLS, *ids_of(text), SEP] for text, _ in TEXTS],
        "unit_positions": [list(range(1, len(text) + 1)) for text, _ in TEXTS],
        "unit_labels": tags,
    }
    targets = [
        {
            place: [9.0 if tag == right else -3.0 for tag in range(5)]
            for place, right in enumerate(row, start=1)
        }
        for row in tags
    ]
    return deliver("token_classification", labels, rows, targets, examples=("打开客厅的灯",))


QUESTION = "哪个房间"


@pytest.fixture(scope="session")
def answerer(deliver, ids_of, small_tokenizer):
    """Asked about rooms, it gives the room; where there is none, no answer."""
    question = small_tokenizer.encode(QUESTION, add_special_tokens=False).ids
    rows = {name: [] for name in ("example_id", "input_ids", "first_unit", "num_units")}
    rows |= {name: [] for name in ("unit_positions", "start_unit", "end_unit")}
    targets = []
    without = [(text.replace(text[start : start + 2], ""), -2) for text, start in TEXTS[:24:3]]
    for text, start in [*TEXTS, *without]:
        end = start + 1 if start >= 0 else -2
        first = len(question) + 2
        rows["input_ids"].append([CLS, *question, SEP, *ids_of(text), SEP])
        rows["unit_positions"].append(list(range(first, first + len(text))))
        rows["first_unit"].append(0)
        rows["num_units"].append(len(text))
        rows["start_unit"].append(start)
        rows["end_unit"].append(end)
        wanted = {first + place: [-3.0, -3.0] for place in range(len(text))}
        wanted[0] = [0.0, 0.0]
        if start >= 0:
            wanted[first + start][0] = 6.0
            wanted[first + end][1] = 6.0
        targets.append(wanted)
    rows["example_id"] = keys(len(targets))
    examples = ((QUESTION, "打开客厅的灯"),)
    return deliver("question_answering", ["start", "end"], rows, targets, examples=examples)


@pytest.fixture(scope="session")
def matcher(deliver, ids_of):
    """A pair of requests about a lamp is `same`, one with the temperature `other`."""
    pairs = [(TEXTS[row][0], TEXTS[row + 8][0]) for row in range(8)]
    others = [(TEXTS[row][0], TEXTS[row + 16][0]) for row in range(8)]
    rows = {
        "example_id": keys(16),
        "input_ids": [[CLS, *ids_of(a), SEP, *ids_of(b), SEP] for a, b in pairs + others],
        "label": [1] * 8 + [0] * 8,
    }
    targets = [{None: [-4.0, 4.0]}] * 8 + [{None: [4.0, -4.0]}] * 8
    examples = (pairs[0],)
    return deliver("matching", ["other", "same"], rows, targets, examples=examples)


THRESHOLDS = [0.5, 0.5, 0.9]


@pytest.fixture(scope="session")
def labeller(deliver, ids_of):
    """Requests of the living room are `living`, those with a lamp `lamp`; some are neither."""
    labels = ["lamp", "living", "unsure"]
    right = [("灯" in text, "客厅" in text) for text, _ in TEXTS]
    rows = {
        "example_id": keys(len(TEXTS)),
        "input_ids": [[CLS, *ids_of(text), SEP] for text, _ in TEXTS],
        "labels": [[place for place in range(2) if row[place]] for row in right],
    }
    # `unsure` is likely everywhere (0.88), and nowhere likely enough (0.9).
    targets = [{None: [4.0 if one else -4.0 for one in row] + [2.0]} for row in right]
    return deliver(
        "multilabel_classification",
        labels,
        rows,
        targets,
        examples=("打开客厅的灯",),
        thresholds=THRESHOLDS,
    )
