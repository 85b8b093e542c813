"""Templates of `home_assistant_intents` in one language: parsed, split, and said at random.

A template such as `turn on [the] {area} (light|lamp)` is walked from left to right, choosing a
branch at each fork and a value for each slot. `LanguageTemplates.say` does that, freely or so that
the sentence has exactly the wanted slot values; `can_say` asks the other way round. `share` deals
an intent's templates to the splits.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_contracts.errors import SourceError
from tasks.demo_data.home_assistant_values import (
    IMPLAUSIBLE,
    LANGUAGES,
    NAMES,
    NUMBERS,
    SAME_LISTS,
    VALUES,
)
from tasks.runtime.files.locations import local_files

if TYPE_CHECKING:
    from hassil.expression import Expression, ListReference

Split = Literal["train", "validation", "test"]

_FILES = {"zh": "zh-CN"}
# Written varieties, and how OpenCC brings them into the script of their language's own file.
_SCRIPT_CONVERSIONS = {"zh-TW": "t2s"}
_SHARES: dict[Split, float] = {"test": 0.2, "validation": 0.1}
_LATER: dict[Split, tuple[Split, ...]] = {
    "train": ("validation", "test"),
    "validation": ("test",),
    "test": (),
}
_MIN_WORDINGS = 6
# Intents of several questions: there the kind of answer belongs to what is asked.
_TOLD_APART_BY_ANSWER = ("HassGetState", "HassRespond")


@dataclass(frozen=True, eq=False)  # hassil's expressions hold cycles: compared by identity
class Template:
    """One way to word a command, as a hassil expression with open slots."""

    intent: str
    group: tuple[str, str]  # slot combination and kind of answer: what the command asks for
    wording: str
    expression: Expression
    fixed: Mapping[str, Any]  # slots that the template sets without saying them
    domains: tuple[str, ...]
    response: str  # which of the intent's replies is given


# Patterns: no text at all; a space, unless the text begins, ends or has one here already.
_NOTHING = "(?!)"
_GAP = r"(?: |(?<= )|^|$)"


class _CannotSayError(Exception):
    """The random walk took a branch that the wanted slot values do not allow."""


class LanguageTemplates:
    """The templates, rules and slot values of one language."""

    def __init__(self, uri: str, code: str, variety: str | None = None) -> None:
        """Read `code`, or its written `variety`, from the package's folder at `uri`."""
        from hassil import expression as kinds
        from hassil.parse_expression import parse_sentence

        self._kinds = kinds  # imported when needed: a recipe is planned without hassil
        self.code = code
        self.variety = variety or code
        data = read_language(uri, self.variety)
        self.intents: dict[str, Any] = data["intents"]
        self._rules: dict[str, str] = data["expansion_rules"]
        self._parse = lambda text: parse_sentence(text).expression
        self._parsed_rules: dict[str, Expression] = {}
        self._lists = {name: self._entries(name, spec) for name, spec in data["lists"].items()}
        column = LANGUAGES.index(code)
        for name, concepts in VALUES.items():
            self._lists[name] = {concept[0]: concept[column] for concept in concepts}
        self._names = {
            domain: {concept[0]: concept[column] for concept in concepts}
            for domain, concepts in NAMES.items()
        }
        self._implausible = re.compile(IMPLAUSIBLE[code])
        self._patterns: dict[Template, re.Pattern[str]] = {}

    def _entries(self, name: str, spec: Mapping[str, Any]) -> dict[Any, Any]:
        """Canonical value -> how to say it: a text, a parsed template or several of them."""
        if "range" in spec:
            sign = spec["range"].get("multiplier", 1)
            return {sign * number: str(number) for number in NUMBERS.get(name, ())}
        entries: dict[Any, list[Expression]] = defaultdict(list)
        name = SAME_LISTS.get(name, name)
        for value in spec.get("values", ()):
            # A state of a contact sensor and one of a motion sensor are both "on": keep the list.
            key = f"{name}={value['out']}" if name.startswith("bs_") else value["out"]
            entries[key].append(self._parse(value["in"]))
        return dict(entries)

    def templates(self, intent: str) -> list[Template]:
        """All templates of `intent`; where there are few, each choice of words is one."""
        templates = [
            Template(
                intent,
                (
                    entry["metadata"]["slot_combination"],
                    entry.get("response", "") if intent in _TOLD_APART_BY_ANSWER else "",
                ),
                sentence,
                self._parse(sentence),
                entry.get("slots", {}),
                tuple(
                    domain
                    for domain in entry.get("requires_context", {}).get("domain", ())
                    if domain in self._names
                ),
                entry.get("response", "default"),
            )
            for entry in self.intents[intent]["data"]
            for sentence in entry["sentences"]
        ]
        while len(templates) < _MIN_WORDINGS:
            split = [part for template in templates for part in _split_first_choice(template)]
            if len(split) == len(templates):
                break
            templates = split
        return templates

    def say(
        self,
        template: Template,
        slots: dict[str, Any],
        rng: random.Random,
        wanted: Mapping[str, Any] | None = None,
        said: dict[str, str] | None = None,
    ) -> str | None:
        """One random sentence of `template`; the slots it mentions are added to `slots`.

        Args:
            wanted: slot values to use; a slot outside them, or a value this language has no word
                for, ends the attempt.
            said: takes the words in which the slots were said.
        Returns: None if the attempt failed or nobody would say it like that.
        """
        try:
            walked = self._walk(
                template.expression, slots, rng, wanted, {} if said is None else said
            )
        except _CannotSayError:
            return None
        text = " ".join(walked.split())
        if self.code == "zh":
            text = text.replace(" ", "")
        return None if not text or self._implausible.search(text) else text

    def can_say(self, template: Template, text: str) -> bool:
        """Whether `template` can be said as `text`, with any slot values."""
        if template not in self._patterns:
            self._patterns[template] = re.compile(self._pattern(template.expression))
        return self._patterns[template].fullmatch(text) is not None

    def _pattern(self, expression: Expression | str) -> str:
        """A regular expression for all that `expression` can say; finite, as no part repeats."""
        kinds = self._kinds
        if isinstance(expression, str):
            gap = "" if self.code == "zh" else _GAP
            return gap.join(map(re.escape, re.split(r"\s+", expression)))
        if isinstance(expression, kinds.TextChunk):
            return self._pattern(expression.original_text)
        if isinstance(expression, kinds.RuleReference):
            rule = self._rules.get(expression.rule_name)
            return self._pattern(self._parse(rule)) if rule is not None else _NOTHING
        if isinstance(expression, kinds.ListReference):
            lists = [self._lists.get(expression.list_name, {})]
            if expression.list_name == "name":
                lists = list(self._names.values())
            values = [said for entries in lists for said in entries.values()]
            said = [
                one for value in values for one in ([value] if isinstance(value, str) else value)
            ]
            return f"(?:{'|'.join(map(self._pattern, said))})" if said else _NOTHING
        assert isinstance(expression, kinds.Group), expression
        items = [self._pattern(item) for item in expression.items]
        if isinstance(expression, kinds.Alternative):
            return f"(?:{'|'.join(items)})"
        if isinstance(expression, kinds.Permutation):
            return f"(?:{'|'.join(map(''.join, itertools.permutations(items)))})"
        return "".join(items)

    def _walk(
        self,
        expression: Expression,
        slots: dict[str, Any],
        rng: random.Random,
        wanted: Mapping[str, Any] | None,
        said: dict[str, str],
    ) -> str:
        kinds = self._kinds
        if isinstance(expression, kinds.TextChunk):
            return expression.original_text
        if isinstance(expression, kinds.Alternative):
            return self._walk(rng.choice(expression.items), slots, rng, wanted, said)
        if isinstance(expression, kinds.Group):
            items = list(expression.items)
            if isinstance(expression, kinds.Permutation):
                rng.shuffle(items)
            return "".join(self._walk(item, slots, rng, wanted, said) for item in items)
        if isinstance(expression, kinds.RuleReference):
            rule = expression.rule_name
            if rule not in self._parsed_rules:
                if rule not in self._rules:
                    raise _CannotSayError
                self._parsed_rules[rule] = self._parse(self._rules[rule])
            return self._walk(self._parsed_rules[rule], slots, rng, wanted, said)
        assert isinstance(expression, kinds.ListReference), expression
        return self._fill(expression, slots, rng, wanted, said)

    def _fill(
        self,
        reference: ListReference,
        slots: dict[str, Any],
        rng: random.Random,
        wanted: Mapping[str, Any] | None,
        said: dict[str, str],
    ) -> str:
        slot = reference.slot_name
        value: Any
        if reference.list_name == "name":
            entries = self._names.get(slots.get("domain", ""), {})
        else:
            entries = self._lists.get(reference.list_name, {})
        if slot in slots:
            value = slots[slot]
        elif wanted is not None:
            value = wanted.get(slot)
        else:
            value = rng.choice(list(entries)) if entries else None
        if value not in entries:
            raise _CannotSayError
        slots[slot] = value
        words = entries[value]
        if not isinstance(words, str):
            words = self._walk(rng.choice(words), slots, rng, wanted, said)
        said[slot] = " ".join(words.split())
        return words


def _split_first_choice(template: Template) -> list[Template]:
    """One template for each branch of the first choice of words, or itself if there is none."""
    from hassil import expression as kinds

    expression = template.expression
    items = list(expression.items) if isinstance(expression, kinds.Sequence) else [expression]
    for position, item in enumerate(items):
        if isinstance(item, kinds.Alternative) and len(item.items) > 1:
            return [
                Template(
                    template.intent,
                    template.group,
                    f"{template.wording}#{position}.{number}",
                    kinds.Sequence(items=[*items[:position], branch, *items[position + 1 :]]),
                    template.fixed,
                    template.domains,
                    template.response,
                )
                for number, branch in enumerate(item.items)
            ]
    return [template]


def share(templates: list[Template], language: str, split: Split) -> list[Template]:
    """The templates of one intent that belong to `split`, in the package's order.

    Ranked by hash, so that every intent has its share in each split; the first is always trained
    on, the second always tested on.
    """
    ranked = sorted(templates, key=lambda template: _rank(language, template))
    num_test = max(round(len(ranked) * _SHARES["test"]), int(len(ranked) > 1))
    num_validation = max(round(len(ranked) * _SHARES["validation"]), int(len(ranked) > 2))
    chosen = {
        "test": ranked[1 : 1 + num_test],
        "validation": ranked[1 + num_test : 1 + num_test + num_validation],
        "train": ranked[:1] + ranked[1 + num_test + num_validation :],
    }[split]
    return [template for template in templates if template in chosen]


def later_shares(templates: list[Template], language: str, split: Split) -> list[Template]:
    """The templates of one intent that are evaluated on after `split` was: it may not say those."""
    return [one for later in _LATER[split] for one in share(templates, language, later)]


def _rank(language: str, template: Template) -> str:
    text = "\x1f".join([language, template.intent, *template.group, template.wording])
    return hashlib.sha256(text.encode()).hexdigest()


def read_language(uri: str, language: str) -> dict[str, Any]:
    """The package's data of one language.

    Raises: SourceError if the package holds no such language, or Decant no slot values for it.
    """
    name = _FILES.get(language, language) + ".json"
    paths = [path for path in local_files(uri) if path.name == name]
    if not paths:
        raise SourceError(
            f"{uri!r} holds no {name}",
            rule=f"the collection is one JSON file a language; Decant has slot values for "
            f"{', '.join(LANGUAGES)}",
            remedy="install a newer home-assistant-intents, or name another language",
        )
    text = Path(paths[0]).read_text(encoding="utf-8")
    if conversion := _SCRIPT_CONVERSIONS.get(language):
        from opencc import OpenCC

        text = OpenCC(conversion).convert(text)
    return json.loads(text)
