"""tokens.json: what is written is what is declared, and what older files leave out is known."""

from typing import get_type_hints

import pytest
from tokenizers import Tokenizer, models

from tasks.corpus.rows import ROW_KINDS
from tasks.corpus.rows.kind import Reading
from tasks.corpus.tokens.counts import ShardCounts
from tasks.corpus.tokens.facts import TokenFacts, common_facts, read_token_facts, write_token_facts

_TOKENIZER = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "</s>": 2}, unk_token="[UNK]"))


@pytest.mark.parametrize("problem", ROW_KINDS)
def test_every_entry_that_is_written_is_declared(problem):
    """An entry that a reader takes under another name than the writer's, unseen by the checker."""
    reading = Reading(
        _TOKENIZER,
        ("zh",),
        labels=(),
        max_length_tokens=16,
        max_question_tokens=None,
        window_stride_tokens=None,
        max_target_tokens=16,
        workers=1,
    )
    counted = {"train": ShardCounts(num_rows=1, num_windows=2, num_characters=3)}
    common = common_facts(_TOKENIZER, counted, max_length_tokens=16, languages=("zh",))
    assert {*common, *ROW_KINDS[problem].token_facts(reading)} <= get_type_hints(TokenFacts).keys()


def test_pairs_are_read_together_where_the_file_does_not_say(tmp_path):
    """The head of a store's older tokens, built for texts that are read apart."""
    write_token_facts(tmp_path, {"vocab_size": 3})
    assert read_token_facts(tmp_path)["pairs"] == "together"
    write_token_facts(tmp_path, {"vocab_size": 3, "pairs": "apart"})
    assert read_token_facts(tmp_path)["pairs"] == "apart"
