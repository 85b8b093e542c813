"""What "the same text" means."""

import hashlib

from tasks.corpus.rows.kind import text_hash


def test_a_text_is_the_same_in_every_region_of_its_language():
    """Test rows in a file of zh-CN were trained on; or every hash changed with this rule."""
    digest = hashlib.blake2b("zh\x1f打开灯\x1f好".encode(), digest_size=8).digest()
    expected = int.from_bytes(digest, "little")
    for language in ("zh", "zh-CN", "zh-Hant", "ZH"):
        assert text_hash(language, "打开灯", "好") == expected
    assert text_hash("ja", "打开灯", "好") != expected
