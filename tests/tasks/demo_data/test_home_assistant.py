"""Commands of the installed package: deterministic, split by wording, aligned by slots."""

import re

import pytest
from pydantic import ValidationError

from tasks.demo_data.home_assistant import HomeAssistantSource, sample
from tasks.demo_data.home_assistant_templates import LanguageTemplates, share
from tasks.demo_data.home_assistant_values import VALUES

INTENTS = ("HassTurnOn", "HassGetCurrentTime", "HassMediaPause", "HassStartTimer")
URI = "pkg://home_assistant_intents/data"


def _sample(role, language, **fields):
    source = HomeAssistantSource(
        name="x", format="home_assistant_intents", role=role, language=language, **fields
    )
    return list(sample(source))


@pytest.fixture(scope="module")
def pairs():
    return _sample("transfer", "zh", parallel_language="en", rows_per_intent=60)


def test_sampling_again_gives_the_same_commands(pairs):
    """Another corpus on every machine: nothing could be compared, nothing was ever cached."""
    assert pairs == _sample("transfer", "zh", parallel_language="en", rows_per_intent=60)
    other = _sample("transfer", "zh", parallel_language="en", rows_per_intent=60, seed=1)
    assert pairs != other


@pytest.mark.parametrize("language", ["en", "zh", "de"])
def test_each_wording_belongs_to_one_split(language):
    """Test sentences differed from training sentences by the room's name only."""
    commands = LanguageTemplates(URI, language)
    for intent in ("HassTurnOn", "HassBroadcast", "HassGetState"):
        templates = commands.templates(intent)
        shares = [share(templates, language, split) for split in ("train", "validation", "test")]
        assert all(shares)
        wordings = [(t.group, t.domains, t.wording) for share in shares for t in share]
        assert len(wordings) == len(templates)
        assert {id(t) for share in shares for t in share} == {id(t) for t in templates}


@pytest.mark.parametrize("language", ["en", "zh", "de"])
def test_commands_are_whole_sentences(language):
    """Placeholders such as {area} were trained as words."""
    commands = _sample("train", language, rows_per_intent=20)
    assert len({command.label for command in commands}) >= 38
    for command in commands:
        assert not re.search(r"[{}<>\[\]|]|\s\s|^\s|\s$", command.text), command
        assert command.parallel_text is None
    if language == "zh":
        assert all(re.search("[\u4e00-\u9fff]", command.text) for command in commands)


def test_pairs_say_the_same(pairs):
    """The teacher's answer about the kitchen trained the student about the garage."""
    assert len({pair.label for pair in pairs}) >= 38
    # The garage is left out: a garage door is one of the words for any lockable door.
    rooms = [(en, zh) for en, zh, _ in VALUES["area"] if en != "garage"]
    checked = 0
    for pair in pairs:
        if pair.label == "HassBroadcast":
            continue  # the message may mention a room
        for en, zh in rooms:
            assert (zh in pair.text) == bool(re.search(rf"\b{en}\b", pair.parallel_text)), pair
            checked += zh in pair.text
        if "Timer" in pair.label and not re.search("half|1/2", pair.parallel_text):
            numbers = [sorted(re.findall(r"\d+", t)) for t in (pair.text, pair.parallel_text)]
            assert numbers[0] == numbers[1], pair
            checked += len(numbers[0])
    assert checked > 200


@pytest.mark.parametrize("language", ["en", "zh", "de"])
def test_a_template_can_say_what_was_sampled_from_it(language):
    """A pattern that matched nothing let every held-out sentence into training."""
    commands = LanguageTemplates(URI, language)
    tested = {intent: share(commands.templates(intent), language, "test") for intent in INTENTS}
    samples = [c for c in _sample("test", language) if c.label in INTENTS]
    assert len(samples) > 100
    for sample_ in samples:
        assert any(commands.can_say(t, sample_.text) for t in tested[sample_.label]), sample_
    assert not any(commands.can_say(t, "xyz") for t in tested["HassTurnOn"])


@pytest.mark.parametrize("variety", [None, "zh-TW"])
def test_nothing_trained_on_can_be_said_by_a_held_out_wording(variety):
    """The translation memory held the test sentences: "stop" and "stop [now]" are two templates."""
    pairs = _sample("transfer", "zh", parallel_language="en", variety=variety, rows_per_intent=60)
    tested = {(c.label, c.text) for c in _sample("test", "zh", rows_per_intent=60)}
    validated = {(c.label, c.text) for c in _sample("validation", "zh", rows_per_intent=60)}
    trained = {(pair.label, pair.text) for pair in pairs}
    assert len(tested) > 500
    assert len(trained) > 1500
    assert not trained & (tested | validated)
    assert not tested & validated


def test_a_variety_brings_other_wordings_in_the_script_of_its_language():
    """Traditional characters that the student meets nowhere else, or the same sentences again."""
    home = _sample("transfer", "zh", parallel_language="en", rows_per_intent=60)
    taiwan = _sample("transfer", "zh", parallel_language="en", variety="zh-TW", rows_per_intent=60)
    texts = "".join(pair.text for pair in taiwan)
    assert "计时器" in texts
    assert not set("計時燈開關裡檯") & set(texts)
    assert {pair.label for pair in taiwan} <= {pair.label for pair in home}
    shared = {pair.text for pair in taiwan} & {pair.text for pair in home}
    assert len(shared) < 0.1 * len(taiwan)


@pytest.mark.parametrize("fields", [{"language": "en"}, {"role": "test"}])
def test_a_variety_is_refused_where_it_has_no_meaning(fields):
    """A test set of converted text measured the converter."""
    fields = {"role": "train", "language": "zh", "variety": "zh-TW"} | fields
    with pytest.raises(ValidationError, match="zh-TW is a variety of zh to train on"):
        HomeAssistantSource(name="x", format="home_assistant_intents", **fields)


def test_shared_intents_give_one_label_set():
    """The student was tested on classes that its teacher had never heard of."""
    english = {c.label for c in _sample("train", "en", shared_with=["zh"], rows_per_intent=1)}
    assert "HassMediaSearchAndPlay" not in english  # the package has no Chinese templates for it
    assert "HassMediaSearchAndPlay" in {c.label for c in _sample("train", "en", rows_per_intent=1)}
    chinese = {c.label for c in _sample("train", "zh", shared_with=["en"], rows_per_intent=1)}
    assert english == chinese
