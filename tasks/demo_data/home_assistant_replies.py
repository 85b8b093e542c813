"""Voice commands with the assistant's replies, from the package `home_assistant_intents`.

Each intent of the package has replies in its language, as Jinja templates over the slots that were
said:

    把晾衣架加入购物清单   好的，已把{{ slots.item }}加入购物清单   好的，已把晾衣架加入购物清单

So commands are texts with one right reply each, in two languages, offline: a small dialogue task
whose replies repeat words of the command, where exact match means something. Commands are sampled
and split by wording as in `tasks.demo_data.home_assistant`. Replies that ask for the state of a
house, which nobody has here ("is the door open?"), are not said: their commands are left out.

The templates are data of a package and are rendered in Jinja's sandbox.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tasks.demo_data.home_assistant import (
    ATTEMPTS_PER_ROW,
    HomeAssistantCommands,
    rows_per_template,
    shared_intents,
    start_slots,
)
from tasks.demo_data.home_assistant_templates import (
    LanguageTemplates,
    Split,
    Template,
    later_shares,
    read_language,
    share,
)
from tasks.runtime.seeding import derive_seed

if TYPE_CHECKING:
    import jinja2


class HomeAssistantReplies(HomeAssistantCommands):
    """Commands of the package `home_assistant_intents`, each with its reply in its language."""

    format: Literal["home_assistant_replies"] = Field(description="this collection")

    @property
    def parallel_language(self) -> None:
        """None: a row is read in one language."""
        return None


@dataclass(frozen=True)
class Exchange:
    """One sampled command and its reply."""

    text: str
    reply: str


class ReplyTemplates:
    """The replies of one language."""

    def __init__(self, uri: str, code: str) -> None:
        """Read them from the package's folder at `uri`.

        Raises: SourceError if the package, or the language in it, is missing.
        """
        from jinja2 import StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self._texts: dict[str, dict[str, str]] = read_language(uri, code)["responses"]["intents"]
        # Strict: a reply that reads what is not known fails instead of leaving a gap.
        self._environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        self._parsed: dict[tuple[str, str], jinja2.Template] = {}

    def reply(self, template: Template, said: Mapping[str, str], domain: str | None) -> str | None:
        """The reply to a command of `template`, or None if there is none to be known.

        Args:
            said: the words in which slots were said.
            domain: kind of device that was spoken of.
        """
        from jinja2 import TemplateError

        key = template.intent, template.response
        if key not in self._parsed:
            text = self._texts.get(template.intent, {}).get(template.response)
            if text is None:
                return None
            try:
                self._parsed[key] = self._environment.from_string(text)
            except TemplateError:
                return None
        state = {} if domain is None else {"domain": domain}
        try:
            reply = self._parsed[key].render(slots=dict(said), state=state)
        except (TemplateError, TypeError, ValueError):
            return None
        # A device the reply has no word for.
        return None if "None" in reply else " ".join(reply.split()) or None


def sample_replies(source: HomeAssistantReplies) -> Iterator[Exchange]:
    """Commands with their replies, in an order and wording that depend on `source` only.

    Raises: SourceError if the package, or a language in it, is missing.
    """
    language = LanguageTemplates(source.uri, source.language)
    replies = ReplyTemplates(source.uri, source.language)
    split: Split = "train" if source.role == "transfer" else source.role
    for intent in sorted(shared_intents(source, language)):
        templates = language.templates(intent)
        held_out = later_shares(templates, language.code, split)
        chosen = share(templates, language.code, split)
        rows = rows_per_template(source, len(chosen))
        for template in chosen:
            rng = random.Random(derive_seed(source.seed, language.code, intent, template.wording))
            for one in _exchanges(template, rows, rng, language, replies):
                if not any(language.can_say(kept_back, one.text) for kept_back in held_out):
                    yield one


def _exchanges(
    template: Template,
    rows: int,
    rng: random.Random,
    language: LanguageTemplates,
    replies: ReplyTemplates,
) -> Iterator[Exchange]:
    seen: set[str] = set()
    for _ in range(rows * ATTEMPTS_PER_ROW):
        if len(seen) == rows:
            return
        slots: dict[str, Any] = start_slots(template, rng)
        said: dict[str, str] = {}
        text = language.say(template, slots, rng, said=said)
        if text is None or text in seen:
            continue
        reply = replies.reply(template, said, slots.get("domain"))
        if reply is not None:
            seen.add(text)
            yield Exchange(text, reply)
