"""Voice commands for a smart home in many languages, from the package `home_assistant_intents`.

The package holds sentence templates such as `turn on [the] {area} (light|lamp)`, each filed under
an intent and a combination of slots. That gives labelled text in each language, and more: two
templates of one intent and slot combination, filled with the same slot values, mean the same.

    打开厨房的灯   HassTurnOn, area = kitchen, domain = light   switch on the kitchen lights

Such pairs stand in for a translation memory. They are better aligned than mined text and poorer
than it in wording; figures obtained with them say so. A pair carries its intent as label; training
a student from a teacher's signals ignores it, only the supervised upper bound reads it.

Each intent's templates are split into train, validation and test by a hash of their wording, so a
test sentence has a wording that was never trained on, in either language: pairs come from the train
share of both. The templates are walked at random with a seed of their own each, because listing all
expansions (hassil's own sampling) takes minutes and memory for some.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen
from data_contracts.errors import SourceError
from tasks.corpus.home_assistant_values import (
    IMPLAUSIBLE,
    LANGUAGES,
    NAMES,
    NUMBERS,
    SAME_LISTS,
    VALUES,
)
from tasks.runtime.locations import local_files
from tasks.runtime.seeding import derive_seed

if TYPE_CHECKING:
    from hassil.expression import Expression, ListReference

Split = Literal["train", "validation", "test"]

_FILES = {"zh": "zh-CN"}
_SHARES: dict[Split, float] = {"test": 0.2, "validation": 0.1}
_MIN_WORDINGS = 6
# Intents of several questions: there the kind of answer belongs to what is asked.
_TOLD_APART_BY_ANSWER = ("HassGetState", "HassRespond")
_ATTEMPTS_PER_ROW = 12


class HomeAssistantSource(Frozen):
    """Commands sampled from the sentence templates of the package `home_assistant_intents`."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="how reports and the quarantine call it; lowercase, unique in the recipe",
    )
    format: Literal["home_assistant_intents"] = Field(description="this collection")
    uri: str = Field(
        default="pkg://home_assistant_intents/data",
        description="folder of the package's template files, one JSON file a language",
    )
    role: Literal["train", "transfer", "validation", "test"] = Field(
        description="train, validation and test take their own share of each intent's templates, "
        "so that test sentences have a wording never trained on; transfer takes the train share"
    )
    language: Literal["en", "zh", "de"] = Field(description="language of `text`")
    parallel_language: Literal["en", "zh", "de"] | None = Field(
        default=None,
        description="for transfer: language of `parallel_text`, same intent and same slot values",
    )
    shared_with: tuple[Literal["en", "zh", "de"], ...] = Field(
        default=(),
        description="keep only intents that these languages have too, so that all sources of a "
        "recipe have one label set",
    )
    rows_per_intent: int = Field(
        default=80,
        ge=1,
        le=100_000,
        description="rows to sample for an intent, spread evenly over its templates; intents with "
        "hundreds of templates give one row each at least",
    )
    max_rows_per_template: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="rows sampled from one template at most; more are more of the same wording",
    )
    seed: int = Field(default=0, ge=0, description="seed of the sampling")

    @model_validator(mode="after")
    def _is_coherent(self) -> HomeAssistantSource:
        if (self.role == "transfer") != (self.parallel_language is not None):
            raise ValueError(
                f"source {self.name!r}: the role transfer needs parallel_language, and only it"
            )
        return self


@dataclass(frozen=True)
class Command:
    """One sampled command, in a second language too if it is a pair."""

    text: str
    label: str
    parallel_text: str | None = None


@dataclass(frozen=True, eq=False)  # hassil's expressions hold cycles: compared by identity
class _Template:
    intent: str
    group: tuple[str, str]  # slot combination and kind of answer: what the command asks for
    wording: str
    expression: Expression
    fixed: Mapping[str, Any]  # slots that the template sets without saying them
    domains: tuple[str, ...]


class _CannotSayError(Exception):
    """The random walk took a branch that the wanted slot values do not allow."""


def sample(source: HomeAssistantSource) -> Iterator[Command]:
    """The commands of `source`, in an order and wording that depend on its fields only.

    Raises: SourceError if the package, or a language in it, is missing.
    """
    language = _Language(source.uri, source.language)
    parallel = _Language(source.uri, source.parallel_language) if source.parallel_language else None
    intents = set(language.intents)
    for other in source.shared_with:
        intents &= set(_read(source.uri, other)["intents"])
    if parallel:
        intents &= set(parallel.intents)
    split: Split = "train" if source.role == "transfer" else source.role
    partners: dict[tuple[str, tuple[str, str]], list[_Template]] = defaultdict(list)
    if parallel:
        for intent in sorted(intents):
            for template in _share(parallel.templates(intent), parallel.code, "train"):
                partners[intent, template.group].append(template)
    for intent in sorted(intents):
        templates = _share(language.templates(intent), language.code, split)
        rows = math.ceil(source.rows_per_intent / max(1, len(templates)))
        rows = min(rows, source.max_rows_per_template)
        for template in templates:
            rng = random.Random(derive_seed(source.seed, language.code, intent, template.wording))
            candidates = partners[intent, template.group]
            yield from _sample_template(template, rows, rng, language, parallel, candidates)


def _sample_template(
    template: _Template,
    rows: int,
    rng: random.Random,
    language: _Language,
    parallel: _Language | None,
    candidates: list[_Template],
) -> Iterator[Command]:
    if parallel and not candidates:
        return
    seen: set[str] = set()
    for _ in range(rows * _ATTEMPTS_PER_ROW):
        slots = _start(template, rng)
        text = language.say(template, slots, rng)
        if text is None or (text in seen and not parallel):
            continue
        command = Command(text, template.intent)
        if parallel:
            said = _say_alike(parallel, candidates, slots, rng)
            if said is None or f"{text}\n{said}" in seen:
                continue
            seen.add(f"{text}\n{said}")
            command = Command(text, template.intent, said)
        seen.add(text)
        yield command
        rows -= 1
        if rows == 0:
            return


def _start(template: _Template, rng: random.Random) -> dict[str, Any]:
    slots = dict(template.fixed)
    if template.domains:
        slots["domain"] = rng.choice(template.domains)
    return slots


def _say_alike(
    language: _Language, candidates: list[_Template], slots: dict[str, Any], rng: random.Random
) -> str | None:
    """A sentence with exactly these slot values, or None after a fixed number of attempts."""
    for _ in range(_ATTEMPTS_PER_ROW):
        template = rng.choice(candidates)
        start = dict(template.fixed)
        if template.domains:
            if slots.get("domain") not in template.domains:
                continue
            start["domain"] = slots["domain"]
        if any(slots.get(name) != value for name, value in start.items()):
            continue
        text = language.say(template, start, rng, wanted=slots)
        if text is not None and start == slots:
            return text
    return None


class _Language:
    """The templates, rules and slot values of one language."""

    def __init__(self, uri: str, code: str) -> None:
        from hassil import expression as kinds
        from hassil.parse_expression import parse_sentence

        self._kinds = kinds  # imported when needed: a recipe is planned without hassil
        self.code = code
        data = _read(uri, code)
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

    def templates(self, intent: str) -> list[_Template]:
        """All templates of `intent`; where there are few, each choice of words is one."""
        templates = [
            _Template(
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
        template: _Template,
        slots: dict[str, Any],
        rng: random.Random,
        wanted: Mapping[str, Any] | None = None,
    ) -> str | None:
        """One random sentence of `template`; the slots it mentions are added to `slots`.

        Args:
            wanted: slot values to use; a slot outside them, or a value this language has no word
                for, ends the attempt.
        Returns: None if the attempt failed or nobody would say it like that.
        """
        try:
            text = " ".join(self._walk(template.expression, slots, rng, wanted).split())
        except _CannotSayError:
            return None
        if self.code == "zh":
            text = text.replace(" ", "")
        return None if not text or self._implausible.search(text) else text

    def _walk(
        self,
        expression: Expression,
        slots: dict[str, Any],
        rng: random.Random,
        wanted: Mapping[str, Any] | None,
    ) -> str:
        kinds = self._kinds
        if isinstance(expression, kinds.TextChunk):
            return expression.original_text
        if isinstance(expression, kinds.Alternative):
            return self._walk(rng.choice(expression.items), slots, rng, wanted)
        if isinstance(expression, kinds.Group):
            items = list(expression.items)
            if isinstance(expression, kinds.Permutation):
                rng.shuffle(items)
            return "".join(self._walk(item, slots, rng, wanted) for item in items)
        if isinstance(expression, kinds.RuleReference):
            rule = expression.rule_name
            if rule not in self._parsed_rules:
                if rule not in self._rules:
                    raise _CannotSayError
                self._parsed_rules[rule] = self._parse(self._rules[rule])
            return self._walk(self._parsed_rules[rule], slots, rng, wanted)
        assert isinstance(expression, kinds.ListReference), expression
        return self._fill(expression, slots, rng, wanted)

    def _fill(
        self,
        reference: ListReference,
        slots: dict[str, Any],
        rng: random.Random,
        wanted: Mapping[str, Any] | None,
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
        said = entries[value]
        return said if isinstance(said, str) else self._walk(rng.choice(said), slots, rng, wanted)


def _split_first_choice(template: _Template) -> list[_Template]:
    """One template for each branch of the first choice of words, or itself if there is none."""
    from hassil import expression as kinds

    expression = template.expression
    items = list(expression.items) if isinstance(expression, kinds.Sequence) else [expression]
    for position, item in enumerate(items):
        if isinstance(item, kinds.Alternative) and len(item.items) > 1:
            return [
                _Template(
                    template.intent,
                    template.group,
                    f"{template.wording}#{position}.{number}",
                    kinds.Sequence(items=[*items[:position], branch, *items[position + 1 :]]),
                    template.fixed,
                    template.domains,
                )
                for number, branch in enumerate(item.items)
            ]
    return [template]


def _share(templates: list[_Template], language: str, split: Split) -> list[_Template]:
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


def _rank(language: str, template: _Template) -> str:
    text = "\x1f".join([language, template.intent, *template.group, template.wording])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(uri: str, language: str) -> dict[str, Any]:
    name = _FILES.get(language, language) + ".json"
    paths = [path for path in local_files(uri) if path.name == name]
    if not paths:
        raise SourceError(
            f"{uri!r} holds no {name}",
            rule=f"the collection is one JSON file a language; Decant has slot values for "
            f"{', '.join(LANGUAGES)}",
            remedy="install a newer home-assistant-intents, or name another language",
        )
    return json.loads(Path(paths[0]).read_text(encoding="utf-8"))
