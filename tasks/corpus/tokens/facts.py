"""tokens.json of a tokens artifact: what its readers must know of it without reading its rows.

`tasks.tokenization` writes it, once; whoever reads tokens reads it here, so that a name in it is
spelled in one place and checked where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from tasks.corpus.tokens.counts import ShardCounts

if TYPE_CHECKING:
    import tokenizers

TOKEN_FACTS = "tokens.json"


class TokenFacts(TypedDict):
    """The entries; those that only some problems have are not required."""

    vocab_size: int
    pad_token_id: int
    special_token_ids: dict[str, int]
    """As `tokenizer_config.json` calls them: pad_token, mask_token, …"""
    max_length_tokens: int
    languages: list[str]
    num_rows: dict[str, int]
    """By role, as are the next three."""
    num_windows: NotRequired[dict[str, int]]
    num_tokens: dict[str, int]
    num_unread: dict[str, int]
    num_truncated: int
    num_unknown: int
    longest_text_tokens: int
    """Before cutting."""
    fertility: dict[str, float]
    pairs: Literal["together", "apart"]
    """Together where the file does not say."""
    max_question_tokens: NotRequired[int]
    window_stride_tokens: NotRequired[int]
    """0: half of what the question leaves."""
    max_answer_units: NotRequired[int]
    eos_token_id: NotRequired[int]
    """What a target ends with."""
    max_target_tokens: NotRequired[int]


def read_token_facts(tokens: Path) -> TokenFacts:
    """What the tokens artifact in the folder `tokens` says of itself."""
    facts: TokenFacts = json.loads((tokens / TOKEN_FACTS).read_text(encoding="utf-8"))
    facts.setdefault("pairs", "together")
    return facts


def write_token_facts(tokens: Path, facts: Mapping[str, Any]) -> None:
    """Write tokens.json into the folder `tokens`."""
    text = json.dumps(facts, ensure_ascii=False, indent=2, sort_keys=True)
    (tokens / TOKEN_FACTS).write_text(text + "\n", encoding="utf-8")


def common_facts(
    tokenizer: tokenizers.Tokenizer,
    totals: Mapping[Any, ShardCounts],
    *,
    max_length_tokens: int,
    languages: Sequence[str],
) -> dict[str, Any]:
    """Entries of tokens.json that every problem has.

    Args:
        totals: by role.
    """
    from tasks.corpus.tokenizers.tokenizer import special_token_names

    total = sum(totals.values(), start=ShardCounts())
    names = special_token_names(tokenizer)
    ids = {role: tokenizer.token_to_id(token) for role, token in names.items()}
    windows = {role: counts.num_windows for role, counts in totals.items()}
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "pad_token_id": ids["pad_token"],
        "special_token_ids": ids,
        "max_length_tokens": max_length_tokens,
        "languages": list(languages),
        "num_rows": {role: counts.num_rows for role, counts in totals.items()},
        **({"num_windows": windows} if total.num_windows else {}),
        "num_tokens": {role: counts.num_tokens for role, counts in totals.items()},
        "num_unread": {role: counts.num_unread for role, counts in totals.items()},
        "num_truncated": total.num_truncated,
        "num_unknown": total.num_unknown,
        "longest_text_tokens": total.longest,
        "fertility": {
            "tokens_per_character": round(total.num_uncut_tokens / total.num_characters, 4),
            "tokens_per_word": round(total.num_uncut_tokens / max(1, total.num_words), 4),
        },
    }
