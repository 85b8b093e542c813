"""Replies that are looked up, by hand."""

import pytest

from tasks.metrics.baselines.replies import commonest_reply, nearest_replies


def test_the_commonest_reply_does_not_depend_on_the_order_of_rows():
    """Another floor for every number of workers."""
    assert commonest_reply(["好的", "已关闭", "已关闭", "好的", "不"]) == "好的"
    assert commonest_reply(["已关闭", "好的", "好的", "已关闭"]) == "好的"
    assert commonest_reply(["a", "b", "b"]) == "b"


def test_the_reply_to_the_most_similar_text_is_given():
    """A writer that is worse than looking up its training rows looks like a good one."""
    known = ["打开客厅的灯", "关闭客厅的灯", "pause the music"]
    replies = ["已打开", "已关闭", "Paused"]
    asked = ["关闭卧室的灯", "打开卧室的大灯", "please pause music", "完全不同"] + ["pause"] * 300
    assert nearest_replies(known, replies, asked) == [
        "已关闭", "已打开", "Paused", "已打开", *["Paused"] * 300,
    ]  # fmt: skip


def test_nothing_to_look_up_is_refused():
    with pytest.raises(ValueError, match="0 known texts"):
        nearest_replies([], [], ["灯"])
    with pytest.raises(ValueError, match="2 known texts, 1 replies"):
        nearest_replies(["a", "b"], ["c"], ["灯"])
