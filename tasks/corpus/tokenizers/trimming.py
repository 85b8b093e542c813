"""A pretrained tokenizer cut to the tokens that some texts use, renumbered without gaps.

    multilingual-e5-small   250,002 tokens ──► what 700 Chinese sentences use, every Han, Latin and
                            digit character, the special tokens

Kept are

    the tokens of the texts           they are cut exactly as before: Unigram finds the same best
                                      path, WordPiece the same longest token, BPE the same merges
    single characters and bytes       of the scripts that occur, so that new text stays readable
    special and added tokens
    what the model needs inside       merges that lead to a kept BPE token; the unknown token; the
                                      least likely Unigram piece, which prices an unknown character

and, with `keep: scripts`, all tokens of scripts of which a character occurs, and of signs and
digits: words that the texts lack are read whole.

Ids keep their order, so that <pad> = 1 stays 1 where positions are counted from it. What an
embedding row belongs to is the token's spelling (tasks.modeling.backbones.vocabulary), not its
number.

With a limit on the vocabulary, what the texts lack goes first: longer tokens from the end of the
model's own order (Unigram lists the likeliest pieces first, BPE the earliest merges), then
single characters. After these go the rarest tokens: texts that held them are cut into more tokens
than before.

References: Abdaoui et al. 2020, arXiv:2010.05609 (multilingual models reduced to fewer languages).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from data_contracts.errors import RecipeError, SourceError
from tasks.corpus.tokenizers.config import Kept
from tasks.corpus.tokenizers.encoding import Encoder

if TYPE_CHECKING:
    import tokenizers

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_UNUSED = re.compile(r"\[unused\d+\]")  # BERT's, for later words: no text is cut into one
_MODELS = ("Unigram", "BPE", "WordPiece", "WordLevel")


def trim_tokenizer(
    tokenizer: tokenizers.Tokenizer,
    texts: pa.Array,
    *,
    keep: Kept = "tokens",
    vocab_size: int | None = None,
    workers: int = 1,
) -> tokenizers.Tokenizer:
    """`tokenizer` without the tokens that `texts` do not need: a function of the set of texts.

    Args:
        tokenizer: without truncation and padding; not changed.
        texts: strings, no nulls.
        keep: of the texts their tokens, or all tokens of their scripts.
        vocab_size: tokens at most: what the texts lack is left out first, then their rarest.
        workers: threads; changes the speed only.

    Raises:
        RecipeError: no texts, or `vocab_size` cannot hold what must be kept.
        SourceError: a model type whose vocabulary cannot be cut.
    """
    import tokenizers

    if not len(texts):
        raise RecipeError(
            "there is no text to trim a tokenizer to",
            rule="a trimmed tokenizer keeps what the roles train and transfer use in the reader's "
            "languages",
            remedy="add such a source, or use `kind: pretrained`",
        )
    content = json.loads(tokenizer.to_str())
    kind = content["model"]["type"]
    if kind not in _MODELS:
        raise SourceError(
            f"the tokenizer's model is {kind}",
            rule=f"vocabularies of {', '.join(_MODELS)} can be trimmed",
            remedy="use `kind: pretrained`",
        )
    counts = _counts(tokenizer, texts, workers)
    vocabulary = tokenizer.get_vocab()
    parts = _merge_parts(content["model"])
    used = {token for token, number in vocabulary.items() if counts[number]}
    scripts = _scripts(texts)
    characters = _characters(content, scripts)
    wanted = used | characters | (_words(content, scripts) if keep == "scripts" else set())
    kept = _closed(_indispensable(content) | (used & characters), parts)
    if vocab_size is not None and len(kept) > vocab_size:
        raise RecipeError(
            f"the texts' characters and the special tokens are {len(kept):,}, vocab_size is "
            f"{vocab_size:,}",
            rule="a trimmed tokenizer keeps every character of the texts that it is trimmed to",
            remedy=f"set vocab_size to {2 * len(kept):,} or more, or leave it out",
        )
    rank = {
        token: (-int(counts[number]), token not in characters, number)
        for token, number in vocabulary.items()
    }
    for token in sorted(wanted - kept, key=rank.__getitem__):
        added = _closed({token}, parts) - kept
        if vocab_size is None or len(kept) + len(added) <= vocab_size:
            kept |= added
    order = sorted(kept & vocabulary.keys(), key=vocabulary.__getitem__)
    new_ids = {token: number for number, token in enumerate(order)}
    _renumber(content, new_ids)
    trimmed = tokenizers.Tokenizer.from_str(json.dumps(content, ensure_ascii=False))
    assert trimmed.get_vocab() == new_ids, "the library numbers tokens in another way"
    return trimmed


def _counts(tokenizer: tokenizers.Tokenizer, texts: pa.Array, workers: int) -> np.ndarray:
    """Occurrences of each id in `texts`, int64."""
    encoder = Encoder(tokenizer, max_length_tokens=2**31 - 1, unknown_id=None, workers=workers)
    ids = encoder.encode(pa.chunked_array([texts], pa.string())).input_ids.values.to_numpy()
    return np.bincount(ids, minlength=max(tokenizer.get_vocab().values()) + 1)


def _indispensable(content: dict[str, Any]) -> set[str]:
    """Tokens that are kept whatever the texts: special, unknown, bytes, the least likely piece."""
    model = content["model"]
    tokens = _model_tokens(model)
    kept = {added["content"] for added in content["added_tokens"]}
    kept |= {token for token in tokens if _BYTE.fullmatch(token)}
    if _mentions(content, "ByteLevel"):
        kept |= {token for token, byte in _bare_tokens(model) if len(byte) == 1}
    if isinstance(unknown := model.get("unk_token"), str) and unknown in model["vocab"]:
        kept.add(unknown)
    if model["type"] == "Unigram":
        if model["unk_id"] is not None:
            kept.add(tokens[model["unk_id"]])
        kept.add(min(model["vocab"], key=lambda piece: piece[1])[0])
    return kept


def _characters(content: dict[str, Any], scripts: set[str]) -> set[str]:
    """Tokens of one character, in or at the start of a word, of `scripts`; Latin ones always."""
    scripts = scripts | {_script("a")}
    return {
        token
        for token, character in _bare_tokens(content["model"])
        if len(character) == 1 and _script(character) in scripts
    }


def _words(content: dict[str, Any], scripts: set[str]) -> set[str]:
    """Longer tokens that are written in `scripts` and spaces alone.

    Of tokens of bytes those that are whole characters.
    """
    scripts = scripts | {_script(" ")}
    as_text = _bytes_as_text if _mentions(content, "ByteLevel") else str
    found = set()
    for token, bare in _bare_tokens(content["model"]):
        if len(bare) > 1 and not _UNUSED.fullmatch(bare):
            text = as_text(bare)
            if text and all(_script(character) in scripts for character in text):
                found.add(token)
    return found


def _bytes_as_text(token: str) -> str:
    """What a token of bytes stands for; nothing if that is no whole characters."""
    from tokenizers import decoders

    text = decoders.ByteLevel().decode([token])
    return "" if "\ufffd" in text else text


def _scripts(texts: pa.Array) -> set[str]:
    """Scripts of the characters of `texts`, and signs and digits in any case."""
    characters = set().union(*texts.to_pylist())
    # Normalisers map full-width forms and ligatures onto these; ▁ marks the start of a word.
    characters |= set(unicodedata.normalize("NFKC", "".join(characters))) | set("▁0.")
    return {_script(character) for character in characters}


def _script(character: str) -> str:
    """The first word of the character's name: LATIN, CJK, CYRILLIC, DIGIT; its category if none.

    Punctuation and signs are one script, as their names say nothing of where they are used.
    """
    category = unicodedata.category(character)
    if category[0] in "PSZC":
        return category[0]
    return unicodedata.name(character, category).split(" ")[0].split("-")[0]


def _mentions(content: dict[str, Any], kind: str) -> bool:
    parts = (content.get("pre_tokenizer"), content.get("normalizer"), content.get("decoder"))
    return any(f'"type": "{kind}"' in json.dumps(part) for part in parts)


def _model_tokens(model: dict[str, Any]) -> list[str]:
    """Tokens of the model itself, in the order of their ids."""
    if model["type"] == "Unigram":
        return [piece for piece, _ in model["vocab"]]
    return sorted(model["vocab"], key=model["vocab"].__getitem__)


def _bare_tokens(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each token of the model, and without the marks that it is inside or at the end of a word."""
    prefix = model.get("continuing_subword_prefix") or ""
    suffix = model.get("end_of_word_suffix") or ""
    for token in _model_tokens(model):
        yield token, token.removeprefix(prefix).removesuffix(suffix)


def _merge_parts(model: dict[str, Any]) -> dict[str, set[str]]:
    """Token → the tokens that merges make it of; empty for models without merges."""
    parts: dict[str, set[str]] = defaultdict(set)
    prefix = model.get("continuing_subword_prefix") or ""
    for left, right in _merges(model):
        parts[left + right.removeprefix(prefix)] |= {left, right}
    return parts


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (left, right)
        for merge in model.get("merges", ())
        for left, right in [merge.split(" ", 1) if isinstance(merge, str) else merge]
    ]


def _closed(tokens: Iterable[str], parts: dict[str, set[str]]) -> set[str]:
    """`tokens` and all they are merged from."""
    found, waiting = set(), list(tokens)
    while waiting:
        token = waiting.pop()
        if token not in found:
            found.add(token)
            waiting += parts.get(token, ())
    return found


def _renumber(content: dict[str, Any], new_ids: dict[str, int]) -> None:
    """Write the kept tokens and their new ids into a tokenizer.json, in place."""
    model = content["model"]
    if model["type"] == "Unigram":
        unknown = None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
        model["vocab"] = [piece for piece in model["vocab"] if piece[0] in new_ids]
        model["unk_id"] = None if unknown is None else new_ids[unknown]
    else:
        model["vocab"] = {
            token: new_ids[token] for token in _model_tokens(model) if token in new_ids
        }
    if "merges" in model:
        prefix = model.get("continuing_subword_prefix") or ""
        model["merges"] = [
            [left, right]
            for left, right in _merges(model)
            if {left, right, left + right.removeprefix(prefix)} <= new_ids.keys()
        ]
    for added in content["added_tokens"]:
        added["id"] = new_ids[added["content"]]
    _renumber_frame(content["post_processor"], new_ids)


def _renumber_frame(processor: dict[str, Any] | None, new_ids: dict[str, int]) -> None:
    """New ids for the special tokens that a post-processor puts around texts, in place."""
    if processor is None:
        return
    for inner in processor.get("processors", ()):
        _renumber_frame(inner, new_ids)
    for special in (processor.get("special_tokens") or {}).values():
        special["ids"] = [new_ids[token] for token in special["tokens"]]
    for role in ("cls", "sep"):
        if role in processor:
            processor[role][1] = new_ids[processor[role][0]]
