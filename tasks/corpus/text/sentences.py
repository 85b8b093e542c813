"""Where the sentences of a text are, in any script, by the marks that end them.

Marks that also stand in numbers, addresses and names (.!?) end one only before white space, where
closing quotes and brackets may come between, and never behind the dot of a letter that stands alone
(J. S. Bach, z. B.).
"""

from __future__ import annotations

import re

Place = tuple[int, int]
"""First character and the one after the last."""

_PLAIN = ".!?"
# Chinese and Japanese; Arabic, Persian and Urdu; Indic; Armenian, Ethiopic, Khmer, Burmese.
_WIDE = "。！？；｡؟؛۔।॥։።፧។။"
_JOINERS = "\u200c\u200d"  # stay with the letter or mark before them
_MARKS = re.compile(f"[{_PLAIN}{_WIDE}]+[{_JOINERS}]*")
_CLOSING = re.compile("[\"'”’“»«)\\]}]*")


def sentences(text: str) -> list[Place]:
    """Where the sentences of a text are, without white space around them."""
    found: list[Place] = []
    start = 0
    for end in (*_ends(text), len(text)):
        part = text[start:end]
        first = start + len(part) - len(part.lstrip())
        if part.strip():
            found.append((first, first + len(part.strip())))
        start = end
    return found


def _ends(text: str) -> list[int]:
    """Where sentences end: behind their last character."""
    found = []
    for marks in _MARKS.finditer(text):
        end = marks.end()
        if not any(mark in _WIDE for mark in marks[0]):
            if marks[0] == "." and _is_initial(text, marks.start()):
                continue
            closing = _CLOSING.match(text, end)
            end = closing.end() if closing else end
            if end < len(text) and not text[end].isspace():
                continue
        found.append(end)
    return found


def _is_initial(text: str, dot: int) -> bool:
    """Whether one letter alone stands before the dot, as in J. S. Bach and z. B."""
    letter, before = text[max(dot - 1, 0) : dot], text[max(dot - 2, 0) : max(dot - 1, 0)]
    return _has_case(letter) and not (_has_case(before) or before.isdigit())


def _has_case(letter: str) -> bool:
    return letter.lower() != letter.upper()
