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
share of both. Templates overlap (`stop` and `stop [now]`), so a sentence that a template of a later
split can also say is left out of an earlier one, whatever file it came from. The templates are
walked at random with a seed of their own each, because listing all expansions (hassil's own
sampling) takes minutes and memory for some.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen
from tasks.demo_data.home_assistant_templates import (
    LanguageTemplates,
    Split,
    Template,
    later_shares,
    read_language,
    share,
)
from tasks.runtime.seeding import derive_seed

ATTEMPTS_PER_ROW = 12
"""Random walks that may fail, or say what was said already, before a template is given up."""


class HomeAssistantCommands(Frozen):
    """What sources of commands have in common; see those below."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="how reports and the quarantine call it; lowercase, unique in the recipe",
    )
    uri: str = Field(
        default="pkg://home_assistant_intents/data",
        description="folder of the package's template files, one JSON file a language",
    )
    role: Literal["train", "transfer", "validation", "test"] = Field(
        description="train, validation and test take their own share of each intent's templates, "
        "so that test sentences have a wording never trained on; transfer takes the train share"
    )
    language: Literal["en", "zh", "de"] = Field(description="language of `text`")
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


class HomeAssistantSource(HomeAssistantCommands):
    """Commands sampled from the sentence templates of the package `home_assistant_intents`."""

    format: Literal["home_assistant_intents"] = Field(description="this collection")
    parallel_language: Literal["en", "zh", "de"] | None = Field(
        default=None,
        description="for transfer: language of `parallel_text`, same intent and same slot values",
    )
    variety: Literal["zh-TW"] | None = Field(
        default=None,
        description="read the templates of this written variety of `language` instead, brought "
        "into its script: other people's wordings of the same commands. zh-TW (for zh): Taiwan's, "
        "in simplified characters; for train and transfer",
    )

    @model_validator(mode="after")
    def _is_coherent(self) -> HomeAssistantSource:
        if (self.role == "transfer") != (self.parallel_language is not None):
            raise ValueError(
                f"source {self.name!r}: the role transfer needs parallel_language, and only it"
            )
        if self.variety and (self.language != "zh" or self.role in ("validation", "test")):
            raise ValueError(
                f"source {self.name!r}: {self.variety} is a variety of zh to train on, not of "
                f"{self.language} for {self.role}"
            )
        return self


@dataclass(frozen=True)
class Command:
    """One sampled command, in a second language too if it is a pair."""

    text: str
    label: str
    parallel_text: str | None = None


def sample(source: HomeAssistantSource) -> Iterator[Command]:
    """The commands of `source`, in an order and wording that depend on its fields only.

    Raises: SourceError if the package, or a language in it, is missing.
    """
    language = LanguageTemplates(source.uri, source.language, source.variety)
    home = LanguageTemplates(source.uri, source.language) if source.variety else language
    parallel = (
        LanguageTemplates(source.uri, source.parallel_language)
        if source.parallel_language
        else None
    )
    intents = shared_intents(source, language) & set(home.intents)
    if parallel:
        intents &= set(parallel.intents)
    split: Split = "train" if source.role == "transfer" else source.role
    partners: dict[tuple[str, tuple[str, str]], list[Template]] = defaultdict(list)
    if parallel:
        for intent in sorted(intents):
            for template in share(parallel.templates(intent), parallel.code, "train"):
                partners[intent, template.group].append(template)
    for intent in sorted(intents):
        held_out = later_shares(home.templates(intent), home.code, split)
        templates = share(language.templates(intent), language.variety, split)
        rows = rows_per_template(source, len(templates))
        for template in templates:
            rng = random.Random(derive_seed(source.seed, language.code, intent, template.wording))
            candidates = partners[intent, template.group]
            for command in _sample_template(template, rows, rng, language, parallel, candidates):
                if not any(home.can_say(kept_back, command.text) for kept_back in held_out):
                    yield command


def shared_intents(source: HomeAssistantCommands, language: LanguageTemplates) -> set[str]:
    """Intents of `language` that the languages of `source.shared_with` have too."""
    others = [set(read_language(source.uri, other)["intents"]) for other in source.shared_with]
    return set(language.intents).intersection(*others)


def rows_per_template(source: HomeAssistantCommands, num_templates: int) -> int:
    """Rows to sample from each of an intent's templates."""
    rows = math.ceil(source.rows_per_intent / max(1, num_templates))
    return min(rows, source.max_rows_per_template)


def start_slots(template: Template, rng: random.Random) -> dict[str, Any]:
    """The slots that a template sets without saying them."""
    slots = dict(template.fixed)
    if template.domains:
        slots["domain"] = rng.choice(template.domains)
    return slots


def _sample_template(
    template: Template,
    rows: int,
    rng: random.Random,
    language: LanguageTemplates,
    parallel: LanguageTemplates | None,
    candidates: list[Template],
) -> Iterator[Command]:
    if parallel and not candidates:
        return
    seen: set[str] = set()
    for _ in range(rows * ATTEMPTS_PER_ROW):
        slots = start_slots(template, rng)
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


def _say_alike(
    language: LanguageTemplates,
    candidates: list[Template],
    slots: dict[str, Any],
    rng: random.Random,
) -> str | None:
    """A sentence with exactly these slot values, or None after a fixed number of attempts."""
    for _ in range(ATTEMPTS_PER_ROW):
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
