"""What an encoder-decoder must know of the tokens artifact it reads: sizes and special ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute

from data_contracts.errors import RecipeError, SourceError
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.tokenizers.config import PretrainedTokenizer
from tasks.corpus.tokenizers.tokenizer import load_tokenizer
from tasks.corpus.tokens.facts import read_token_facts
from tasks.modeling.encoder_decoder.network import Seq2SeqTokens

pc: Any = pyarrow.compute

# How tokenizers call the token that ends a text, most telling first.
_ENDS = ("</s>", "[SEP]", "<|endoftext|>", "<eos>")


def read_seq2seq_tokens(tokens: Path) -> Seq2SeqTokens:
    """Sizes, padding and end mark of a tokens artifact.

    Raises: SourceError if its tokenizer has no end mark.
    """
    facts = read_token_facts(tokens)
    end = facts.get("eos_token_id")
    if end is None:
        end = _end_mark(tokens / "tokenizer")
    return Seq2SeqTokens(
        facts["vocab_size"], facts["pad_token_id"], int(end), facts["max_length_tokens"]
    )


def longest_target(tokens: Path, roles: Sequence[str]) -> int:
    """Tokens of the longest gold target in the rows of `roles`, end mark included; 0 if none has.

    Not the limit that targets were cut at: positions that no target fills would be weights of
    another model.
    """
    longest = 0
    for path in part_paths(tokens, roles):
        targets = read_table(path, columns=["target_ids"])["target_ids"]
        longest = max(longest, pc.max(pc.list_value_length(targets)).as_py() or 0)
    return longest


def check_own_tokenizer(model: Path, tokens: Path, *, role: str) -> None:
    """Refuse tokens of another vocabulary than that in a model's folder, if it holds one.

    What is compared is the vocabulary and how it cuts: other versions write the same tokenizer in
    other bytes.

    Args:
        model: folder of a model.
        tokens: directory of a tokens artifact.
        role: what to call the model in the message.
    Raises: RecipeError naming both sizes.
    """
    own, given = model / "tokenizer.json", tokens / "tokenizer" / "tokenizer.json"
    if not own.is_file() or own.read_bytes() == given.read_bytes():
        return
    loaded = [load_tokenizer(PretrainedTokenizer(uri=str(path))) for path in (own, given)]
    mine, theirs = ((one.get_vocab(), json.loads(one.to_str())["model"]) for one in loaded)
    if mine != theirs:
        raise RecipeError(
            f"the {role} starts from {model}, whose tokenizer.json has {len(mine[0])} tokens; "
            f"it is given another's tokens, of which there are {len(theirs[0])}",
            rule="a model reads the tokens of its own tokenizer: another's name other words",
            remedy="name the tokenizer that belongs to the model, or none",
        )


def _end_mark(folder: Path) -> int:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for name in _ENDS:
        if (found := tokenizer.token_to_id(name)) is not None:
            return found
    raise SourceError(
        "the tokenizer has no token that ends a text",
        rule=f"one of {', '.join(_ENDS)}",
        remedy="use another tokenizer, or train one (kind: bpe)",
    )
