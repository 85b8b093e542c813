from tokenizers import Tokenizer, models, processors

from tasks.serving.portable.frames import special_tokens


def test_special_tokens_are_those_of_the_template():
    """A pair joined by one separator where training had two."""
    tokenizer = Tokenizer(models.WordLevel({"0": 9, "<s>": 0, "</s>": 2}, unk_token="0"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    assert special_tokens(tokenizer, pair=False) == ([0], [], [2])
    assert special_tokens(tokenizer, pair=True) == ([0], [2, 2], [2])
