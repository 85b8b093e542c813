"""One Unicode form for every text, with nothing invisible in it.

NFC by default: it joins what is the same character written in two ways (é as one code point or as e
plus accent) and keeps every difference a reader sees. NFKC would also fold full-width letters,
ligatures and superscripts, which loses meaning (x² is not x2) and cannot be undone; the rules for
near-duplicates fold on their own. Invisible characters are removed because they make two texts of
one look, and carry hidden instructions; the joiners ZWJ and ZWNJ stay where a script spells with
them (Persian, Indic scripts, Mongolian) or an emoji is built from them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import pairwise
from typing import Literal

from pydantic import Field

from data_contracts.artifacts import Frozen


class NormalizationConfig(Frozen):
    """How texts are brought into one form before any rule looks at them."""

    unicode_form: Literal["NFC", "NFKC"] = Field(
        default="NFC",
        description="NFC keeps every visible difference; NFKC also folds full-width letters, "
        "ligatures and superscripts into their plain form (x² becomes x2)",
    )
    repair_encoding: bool = Field(
        default=False,
        description="undo wrong decodings with ftfy (schÃ¶n becomes schön); off: it guesses",
    )


# Tabs, line ends and U+001C..U+001F are white space, which is collapsed instead.
_KINDS = {
    "control": "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f",
    "bidi": "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069",
    "zero_width": "\u00ad\u034f\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb",
    "joiner": "\u200c\u200d",
    "tag": "\U000e0000-\U000e007f",
}
_INVISIBLE = re.compile("|".join(f"(?P<{kind}>[{chars}])" for kind, chars in _KINDS.items()))
# Arabic and Syriac; Indic scripts; Myanmar, Khmer and Mongolian: their spelling uses joiners.
_JOINING_SCRIPTS = re.compile(
    "[\u0620-\u074f\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc"
    "\u0900-\u0dff\u1000-\u109f\u1780-\u18af]"
)
_EMOJI_TAIL = re.compile("[\ufe0f\u20e3\U0001f3fb-\U0001f3ff]")


def normalize(text: str, config: NormalizationConfig) -> tuple[str, Counter[str]]:
    """`text` in one Unicode form, visible characters only, single spaces between words.

    Normalising twice changes nothing.

    Returns: the text and how many characters were removed, by kind: control, bidi, zero_width,
        joiner, tag.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split()), Counter()
    if config.repair_encoding:
        from ftfy import fix_encoding

        text = fix_encoding(text)
    # Before the Unicode form, because a letter and its accent may be joined only then.
    text, gone = without_invisible(text)
    if not unicodedata.is_normalized(config.unicode_form, text):
        text = unicodedata.normalize(config.unicode_form, text)
    return " ".join(text.split()), Counter(gone.values())


def without_invisible(text: str) -> tuple[str, dict[int, str]]:
    """`text` as a reader sees it; place in `text` → kind of each character that is taken out.

    Of a piece of a text this is something else than the piece of it: whether a joiner stays is
    seen from its neighbours.
    """
    gone = {
        match.start(): match.lastgroup or ""
        for match in _INVISIBLE.finditer(text)
        if match.lastgroup != "joiner" or not _is_spelling(match)
    }
    if not gone:
        return text, gone
    kept = pairwise((-1, *gone, len(text)))
    return "".join(text[before + 1 : after] for before, after in kept), gone


def normalize_label(label: str) -> str:
    """`label` in NFC without surrounding white space: labels are matched in this form."""
    return unicodedata.normalize("NFC", label).strip()


def has_invisible(text: str) -> bool:
    """Whether `text` holds a character that nobody sees, joiners included."""
    return _INVISIBLE.search(text) is not None


def _is_spelling(match: re.Match[str]) -> bool:
    """Whether a joiner stands where its script or an emoji needs one."""
    text, position = match.string, match.start()
    before = text[position - 1] if position else ""
    after = text[position + 1] if position + 1 < len(text) else ""
    if before and _JOINING_SCRIPTS.match(before):
        return True
    is_emoji = before and (unicodedata.category(before) == "So" or _EMOJI_TAIL.match(before))
    return bool(
        match[0] == "\u200d" and is_emoji and after and unicodedata.category(after) in ("So", "Sm")
    )
