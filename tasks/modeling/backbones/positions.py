"""How long a text an encoder reads: one vector a position, and none for the next one."""

from __future__ import annotations

from transformers import PreTrainedModel

from data_contracts.errors import RecipeError


def check_length(backbone: PreTrainedModel, max_length_tokens: int, *, section: str) -> None:
    """Refuse texts longer than the encoder has positions, before one ends as an index out of range.

    Args:
        max_length_tokens: of the texts that it is to read, special tokens included.
        section: of the recipe that sets it.
    Raises: RecipeError naming both lengths.
    """
    room = getattr(backbone.config, "max_position_embeddings", None)
    if not isinstance(room, int) or room < 1:
        return
    if follow_padding(backbone):
        room -= backbone.config.pad_token_id + 1
    if max_length_tokens > room:
        raise RecipeError(
            f"texts have up to {max_length_tokens} tokens, the {backbone.config.model_type} model "
            f"reads {room}",
            rule="a model reads no longer texts than it has positions",
            remedy=f"set {section}.max_length_tokens to {room} or less",
        )


def follow_padding(backbone: PreTrainedModel) -> bool:
    """Whether the first token's position is the padding id plus one, as in RoBERTa and XLM-R."""
    embeddings = getattr(backbone, "embeddings", None)
    return hasattr(embeddings, "create_position_ids_from_input_ids")
