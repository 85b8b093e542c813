"""Replies of the installed package: in the command's language, with its words, and known."""

import re

import pytest

from tasks.demo_data.home_assistant_replies import (
    HomeAssistantReplies,
    ReplyTemplates,
    sample_replies,
)
from tasks.demo_data.home_assistant_templates import LanguageTemplates, share

URI = "pkg://home_assistant_intents/data"


def _sample(role, language, **fields):
    source = HomeAssistantReplies(
        name="x", format="home_assistant_replies", role=role, language=language, **fields
    )
    return list(sample_replies(source))


@pytest.fixture(scope="module", params=["en", "zh"])
def exchanges(request):
    """Language, and its exchanges of training."""
    return request.param, _sample("train", request.param, rows_per_intent=10)


def test_replies_are_whole_sentences_of_the_commands_language(exchanges):
    """Placeholders and `None` learned as words, and Chinese commands answered in English."""
    language, found = exchanges
    assert len(found) > 300
    assert len({one.reply for one in found}) > 50
    for one in found:
        assert not re.search(r"[{}<>\[\]|]|None|\s\s|^\s|\s$", one.reply), one
        assert bool(re.search("[\u4e00-\u9fff]", one.reply)) == (language == "zh"), one


def test_replies_repeat_the_words_that_were_said(exchanges):
    """`Added milk` to whoever asked for bread: an assistant with fixed phrases scores as well."""
    language, found = exchanges
    pattern, where = {
        "en": (r"^(?:Added|Removed|Checked off) (.+)$", "text"),
        "zh": (r"^好的，已把(.+)加入", "text"),
    }[language]
    said = [(match[1], one) for one in found if (match := re.match(pattern, one.reply))]
    assert len(said) > 10
    assert all(item in getattr(one, where) for item, one in said)


def test_sampling_again_gives_the_same_exchanges():
    """Another corpus on every machine: nothing could be compared, nothing was ever cached."""
    first = _sample("test", "zh", rows_per_intent=3)
    assert first == _sample("test", "zh", rows_per_intent=3)
    assert first != _sample("test", "zh", rows_per_intent=3, seed=1)


def test_test_commands_are_worded_as_no_training_command():
    """Replies were looked up, not written."""
    trained = {one.text for one in _sample("train", "en", rows_per_intent=40)}
    assert not trained & {one.text for one in _sample("test", "en", rows_per_intent=10)}


def test_a_reply_that_needs_the_state_of_a_house_is_not_known():
    """`The door is closed`, said of a house that nobody has looked at."""
    commands, replies = LanguageTemplates(URI, "en"), ReplyTemplates(URI, "en")
    for intent in ("HassGetState", "HassGetCurrentTime", "HassClimateGetTemperature"):
        for template in share(commands.templates(intent), "en", "train"):
            assert replies.reply(template, {"name": "door", "area": "hall"}, "cover") is None
    [template, *_] = share(commands.templates("HassPauseTimer"), "en", "train")
    assert replies.reply(template, {}, None) == "Timer paused"
