"""Encoder-decoders: a network from a shape, a folder or a teacher's layers, and back to a folder.

    source ids (B, L) → encoder → states (B, L, D) ┐
    target ids shifted right (B, L) → decoder ─────┴→ states (B, L, D) → · embeddingsᵀ → (…, V)

The folder is an ordinary one of transformers: `AutoModelForSeq2SeqLM.from_pretrained(folder)` reads
it and its `generate` starts from the settings that the model was trained to be decoded with.

Training works on decoder states and the output matrix instead of logits (`decoder_states`,
`output_projection`), so that losses can go over the vocabulary piece by piece.

Shapes: B batch, L length, N target tokens, D width, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    MarianConfig,
    MarianMTModel,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from data_contracts.errors import RecipeError, SourceError
from tasks.modeling.backbones.encoder import load_whole
from tasks.modeling.encoder_decoder.config import DecodingConfig, PretrainedSeq2Seq, Seq2SeqShape
from tasks.modeling.texts import Texts

# Families whose logits are states · output matrixᵀ (+ final_logits_bias), checked by a test each.
_FAMILIES = ("bart", "m2m_100", "marian", "mbart")


@dataclass(frozen=True)
class Seq2SeqTokens:
    """What a model must know of its reader's tokens: sizes and special ids."""

    vocab_size: int
    pad_token_id: int
    eos_token_id: int
    max_length_tokens: int


class Seq2SeqNetwork(nn.Module):
    """An encoder-decoder as the training loop calls it.

    Its state dict holds each weight once: what is tied to another would be saved twice, and files
    of safetensors refuse it.

    Args:
        model: as `build_seq2seq` and `load_seq2seq` give it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Find out which names mean the same weight."""
        super().__init__()
        self.model = model
        names: dict[int, str] = {}
        self._owners: dict[str, str] = {}
        for name, tensor in super().state_dict(keep_vars=True).items():
            self._owners[name] = names.setdefault(id(tensor), name)

    def forward(self, source: Texts, labels_BL: Tensor) -> Tensor:
        """States of the tokens to be written, row after row: float, (N, D).

        Args:
            source: B texts, padded, with their mask.
            labels_BL: int64, target ids with their end mark, negative where there is none.
        """
        assert source.attention_mask_BL is not None, "an encoder-decoder reads padded texts"
        valid_BL = labels_BL >= 0
        filled_BL = labels_BL.masked_fill(~valid_BL, int(self.model.config.pad_token_id))
        mask_BL = source.attention_mask_BL
        return decoder_states(self.model, source.input_ids, mask_BL, filled_BL)[valid_BL]

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:  # pyright: ignore
        """Weights by name, tied ones under the first of their names."""
        found = super().state_dict(*args, **options)
        return {name: value for name, value in found.items() if self._owners[name] == name}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Take weights as `state_dict` gives them."""
        whole = {name: state_dict[owner] for name, owner in self._owners.items()}
        return super().load_state_dict(whole, *args, **options)


def build_seq2seq(shape: Seq2SeqShape, tokens: Seq2SeqTokens) -> PreTrainedModel:
    """An encoder-decoder of the given shape, weights drawn from torch's current random state.

    The decoder starts from the padding token, as Marian's do.
    """
    common: dict[str, Any] = {
        "vocab_size": tokens.vocab_size,
        "d_model": shape.hidden_size,
        "encoder_layers": shape.encoder_layers,
        "decoder_layers": shape.decoder_layers,
        "encoder_attention_heads": shape.num_heads,
        "decoder_attention_heads": shape.num_heads,
        "encoder_ffn_dim": shape.intermediate_size,
        "decoder_ffn_dim": shape.intermediate_size,
        "dropout": shape.dropout,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "max_position_embeddings": tokens.max_length_tokens,
        "scale_embedding": True,
        # Of unit size once scaled by the root of the width, as positions are.
        "init_std": shape.hidden_size**-0.5,
        "pad_token_id": tokens.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokens.eos_token_id,
        "decoder_start_token_id": tokens.pad_token_id,
        "forced_eos_token_id": None,
        "tie_word_embeddings": True,
    }
    if shape.positions == "learned":
        model = BartForConditionalGeneration(BartConfig(**common))
    else:
        model = MarianMTModel(MarianConfig(**common, share_encoder_decoder_embeddings=True))
    model.config._attn_implementation = "sdpa"
    return model


def load_seq2seq(folder: Path) -> PreTrainedModel:
    """The encoder-decoder saved in `folder`, float32, on the CPU, in evaluation mode.

    Raises: SourceError if there is none, or it is of a family whose losses are not known here.
    """
    verbosity = transformers_logging.get_verbosity()
    progress_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if config.model_type not in _FAMILIES:
            raise SourceError(
                f"{folder} holds a {config.model_type} model",
                rule=f"encoder-decoders of the families {', '.join(_FAMILIES)}",
                remedy="name a model of one of these families",
            )
        model = load_whole(
            AutoModelForSeq2SeqLM,
            folder,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
        )
    except (OSError, ValueError, StrictDataclassError) as error:
        raise SourceError(
            f"{folder} holds no encoder-decoder: {error}",
            rule="a folder with config.json and model.safetensors",
            remedy="point to the model/ folder of a seq2seq teacher or student, or to a model "
            "saved with save_pretrained(safe_serialization)",
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if progress_bars:
            transformers_logging.enable_progress_bar()
    return model.eval()


def save_seq2seq(model: PreTrainedModel, folder: Path, decoding: DecodingConfig) -> None:
    """Write weights (float32 safetensors), config.json and generation_config.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config
    model.generation_config = GenerationConfig(
        num_beams=decoding.num_beams,
        # One hypothesis has no rival: transformers refuses to save a penalty that ranks none.
        length_penalty=decoding.length_penalty if decoding.num_beams > 1 else 1.0,
        # transformers counts the decoder's start token.
        min_length=decoding.min_length_tokens + 1 if decoding.min_length_tokens else 0,
        max_length=decoding.max_length_tokens + 1,
        no_repeat_ngram_size=decoding.no_repeat_ngram_size,
        do_sample=False,
        pad_token_id=config.pad_token_id,
        eos_token_id=config.eos_token_id,
        # Some configurations leave it open, and `generate` does not guess it as we do.
        decoder_start_token_id=start_token_id(model),
        forced_bos_token_id=getattr(config, "forced_bos_token_id", None),
        bad_words_ids=[[config.pad_token_id]],
    )
    model.save_pretrained(folder)


def decoder_states(
    model: PreTrainedModel, input_ids_BL: Tensor, attention_mask_BL: Tensor, target_ids_BL: Tensor
) -> Tensor:
    """States from which each target token is predicted, the target before it being given.

    Args:
        input_ids_BL, attention_mask_BL: int64, source ids and their mask.
        target_ids_BL: int64, targets with their end mark, padded with anything: whatever stands
            after a target cannot be seen from inside it.
    Returns: float, (B, L, D); position t predicts `target_ids_BL[:, t]`.
    """
    body: Any = model.get_submodule("model")
    return body(
        input_ids=input_ids_BL,
        attention_mask=attention_mask_BL,
        decoder_input_ids=shifted_right(target_ids_BL, start_token_id(model)),
        use_cache=False,
    ).last_hidden_state


def shifted_right(target_ids_BL: Tensor, start: int) -> Tensor:
    """What the decoder reads when it must write `target_ids_BL`.

    target  5 6 7 eos    →    start 5 6 7
    """
    first_B1 = target_ids_BL.new_full((len(target_ids_BL), 1), start)
    return torch.cat([first_B1, target_ids_BL[:, :-1]], dim=1)


def output_projection(model: PreTrainedModel) -> tuple[Tensor, Tensor | None]:
    """Output matrix (V, D) and bias (V,): logits are states · matrixᵀ + bias."""
    output: Any = model.get_output_embeddings()
    bias: Tensor | None = getattr(model, "final_logits_bias", None)  # pyright: ignore
    return output.weight, None if bias is None else bias[0]


def start_token_id(model: PreTrainedModel) -> int:
    """Id of the token that the decoder starts from."""
    start = model.config.decoder_start_token_id
    return int(model.config.eos_token_id if start is None else start)


def spread(count: int, available: int) -> tuple[int, ...]:
    """Numbers of `count` of `available` layers, evenly from the first to the last.

    12 layers, 4 of them: 0 4 7 11. One alone is the last: it has learned to speak to the output.
    """
    if count == 1:
        return (available - 1,)
    return tuple(round(number * (available - 1) / (count - 1)) for number in range(count))


def cut_layers(model: PreTrainedModel, architecture: PretrainedSeq2Seq) -> PreTrainedModel:
    """A copy of `model` with only the layers that `architecture` names.

    Raises: RecipeError if the model has too few layers; SourceError if it keeps them otherwise.
    """
    config = copy.deepcopy(model.config)
    kept: dict[str, tuple[int, ...]] = {}
    for stack in ("encoder", "decoder"):
        available = int(getattr(config, f"{stack}_layers"))
        kept[stack] = _chosen(getattr(architecture, f"{stack}_layers"), available, stack)
        setattr(config, f"{stack}_layers", len(kept[stack]))
    config.num_hidden_layers = config.encoder_layers
    # Built on no device: the weights all come from the model.
    with torch.random.fork_rng(devices=[]):
        student = type(model)(config)
    student.config._attn_implementation = model.config._attn_implementation
    weights = {}
    for name, value in model.state_dict().items():
        for stack, numbers in kept.items():
            prefix = f"model.{stack}.layers."
            if name.startswith(prefix):
                number, rest = name.removeprefix(prefix).split(".", 1)
                for place in (i for i, chosen in enumerate(numbers) if chosen == int(number)):
                    weights[f"{prefix}{place}.{rest}"] = value
                break
        else:
            weights[name] = value
    missing, unknown = student.load_state_dict(weights, strict=False)
    if missing or unknown:
        raise SourceError(
            f"a cut {config.model_type} model lacks {missing} and does not know {unknown}",
            rule="layers are copied out of models that keep them in model.encoder and .decoder",
            remedy="start from another model, or from a shape (init: random)",
        )
    return student


def _chosen(wanted: int | tuple[int, ...] | None, available: int, stack: str) -> tuple[int, ...]:
    if wanted is None:
        return tuple(range(available))
    if isinstance(wanted, tuple):
        numbers = wanted
    else:
        numbers = spread(wanted, available) if wanted <= available else tuple(range(wanted))
    if max(numbers) >= available:
        raise RecipeError(
            f"the student wants {stack} layers {list(numbers)} of a model with {available}",
            rule=f"layers are numbered 0 to {available - 1}",
            remedy=f"correct student.architecture.{stack}_layers",
        )
    return numbers


def check_tokens(model: PreTrainedModel, tokens: Seq2SeqTokens, *, role: str) -> None:
    """Refuse a model that does not read the tokens it is given, before an index is out of range.

    Args:
        role: what to call the model in the message.
    Raises: RecipeError naming both figures, or both ids of a token that means something else.
    """
    config = model.config
    rows = len(output_projection(model)[0])
    if tokens.vocab_size > rows:
        raise RecipeError(
            f"the {role} has {rows} embedding rows, its tokenizer {tokens.vocab_size} tokens",
            rule="a model reads the tokens of its own tokenizer",
            remedy="name the tokenizer that belongs to the model",
        )
    for what in ("eos_token_id", "pad_token_id"):
        if (own := getattr(config, what)) != (given := getattr(tokens, what)):
            raise RecipeError(
                f"the {role} has the {what} {own}, its tokenizer {given}",
                rule="a model ends and pads texts by the tokens that it was trained with",
                remedy="name the tokenizer that belongs to the model, or none",
            )
    room = int(config.max_position_embeddings)
    if tokens.max_length_tokens > room:
        raise RecipeError(
            f"texts have up to {tokens.max_length_tokens} tokens, the {role} reads {room}",
            rule="a model reads and writes no longer texts than it has positions",
            remedy="set max_length_tokens, max_target_tokens and decoding.max_length_tokens to "
            f"{room} or less",
        )
