"""A language covers its own tag and the more precise ones, and no other."""

import pyarrow as pa

from tasks.corpus.text.languages import covers, in_any_language, in_language, primary_subtag


def test_a_language_covers_its_more_precise_tags_only():
    """`zh` that misses zh-Hant loses rows in silence; one that takes zha trains on Zhuang."""
    tags = pa.chunked_array([["zh", "zh-Hant", "ZH-hk", "zha", "en", None]])
    assert in_language(tags, "zh").to_pylist() == [True, True, True, False, False, None]
    assert [covers("zh", tag) for tag in tags.to_pylist()[:-1]] == [True, True, True, False, False]
    assert not covers("zh-Hant", "zh")
    assert in_language(tags, "zh-Hant").to_pylist() == [False, True, False, False, False, None]
    assert in_any_language(tags, ["en", "zh-hk"]).to_pylist() == [
        False, False, True, False, True, None,
    ]  # fmt: skip


def test_a_tag_is_of_one_language_whatever_follows():
    """Copies of a test passed as texts of another language, for a region in their tag."""
    tags = ["zh", "zh-CN", "ZH-Hant-TW", "zha"]
    assert [primary_subtag(tag) for tag in tags] == ["zh", "zh", "zh", "zha"]
