"""Tokenizers read from a pretrained model, or trained on the reader's own texts, and written.

How a trained tokenizer cuts a text, designed for short texts with and without spaces:

    "把客厅的LED灯 打开"  normalise   NFKC, lower case, one space between
                       pieces      把客厅的 | led | 灯 | 打开       scripts, digits, signs apart
                       tokens      把 客厅 的 | led | 灯 | 打开     pairs merged by frequency

A word after a space is marked, as in ▁turn ▁on; runs of Han, Kana or Thai are not, because 灯 at
the start of a run and 灯 inside it are one character and deserve one embedding. Runs are cut at 32
characters, so that time stays linear and no clause is ever too long for the model.

Both kinds learn their tokens by byte-pair merging and differ in how they cut: `bpe` replays the
merges, `wordpiece` takes the longest token that fits. An unknown character costs one [UNK] in both;
the WordPiece of BERT would lose the whole clause.

Measured with tokenizers 0.23.3, five processes each: merging without a continuation mark gives the
same bytes every time; WordPiece with ## gives another vocabulary in each process, and Unigram other
scores (both follow the order of a randomly seeded hash map). They cannot be named by their content,
so they are not trained here; a pretrained one of any kind is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import RecipeError, SourceError
from tasks.corpus.tokenizers.config import PretrainedTokenizer, TrainedTokenizer, TrimmedTokenizer
from tasks.runtime.files.locations import local_files, local_folder

if TYPE_CHECKING:
    import tokenizers

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PREPARED_CHARS = "0123456789abcdefghijklmnopqrstuvwxyz"
# Scripts written without spaces between words.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}ー々〇"
_SPACED = rf"[\p{{L}}\p{{M}}&&[^{_UNSPACED}]]"
MAX_WORD_CHARS = 64
MAX_UNSPACED_CHARS = 32
_PIECE = rf" ?{_SPACED}{{1,{MAX_WORD_CHARS}}}|[{_UNSPACED}]{{1,{MAX_UNSPACED_CHARS}}}|\p{{N}}|."
_MAX_PIECE_CHARS = 65
_WORD_START = "▁"
# How model families call their special tokens; the first one that a tokenizer has is meant.
_SPECIAL_NAMES = {
    "pad_token": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>"),
    "unk_token": ("[UNK]", "<unk>", "<|unk|>"),
    "cls_token": ("[CLS]", "<s>", "<|cls|>"),
    "sep_token": ("[SEP]", "</s>", "<|sep|>"),
    "mask_token": ("[MASK]", "<mask>", "<|mask|>"),
}


def load_tokenizer(config: PretrainedTokenizer | TrimmedTokenizer) -> tokenizers.Tokenizer:
    """The whole pretrained tokenizer, without the truncation and padding its file may switch on.

    Raises: SourceError if it is not there or cannot be read; TransientError if a server is away.
    """
    import tokenizers

    if config.uri.startswith("hf://"):
        path = local_folder(config.uri) / "tokenizer.json"
    else:
        path = local_files(config.uri)[0]
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises bare Exception
        raise SourceError(
            f"{config.uri!r} is not a tokenizer: {error}",
            rule="a tokenizer is a tokenizer.json of the tokenizers library",
            remedy="name a model folder that holds one; slow-only tokenizers must be converted",
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def train_tokenizer(
    config: TrainedTokenizer, texts: Iterable[str], *, decodes: bool = False
) -> tokenizers.Tokenizer:
    """A tokenizer of `texts`, a function of the set of them: order and copies do not count.

    Every character of the texts is in the vocabulary, digits and a to z in any case.

    Args:
        decodes: tokens lead back to the text in NFC: case, full-width signs and each space stay.

    Raises: RecipeError if there is no text, or `vocab_size` cannot hold all characters.
    """
    import tokenizers
    from tokenizers import decoders, models, trainers

    chosen = sorted(set(texts))
    if not chosen:
        raise RecipeError(
            "there is no text to train a tokenizer on",
            rule="a trained tokenizer reads the roles train and transfer in the reader's languages",
            remedy="add such a source, or use `kind: pretrained`",
        )
    if decodes:
        normalizer, splitter = _faithful_normalizer(), _splitter(keeps_spaces=True)
    else:
        normalizer, splitter = _normalizer(config.lowercase), _splitter()
    # The letters and digits of ASCII are known even if the texts lack them: names and numbers
    # are what new texts bring.
    lowercase = config.lowercase and not decodes
    prepared = _PREPARED_CHARS if lowercase else _PREPARED_CHARS + _PREPARED_CHARS.upper()
    learner = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
    learner.normalizer, learner.pre_tokenizer = normalizer, splitter
    learner.train_from_iterator(
        chosen,
        trainers.BpeTrainer(
            vocab_size=config.vocab_size,
            min_frequency=config.min_frequency,
            max_token_length=config.max_token_characters + 1,  # the library stays below its limit
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=sorted({*prepared, _WORD_START}),
            show_progress=False,
        ),
    )
    if (size := learner.get_vocab_size()) > config.vocab_size:
        raise RecipeError(
            f"the texts have {size - len(SPECIAL_TOKENS):,} different characters, "
            f"vocab_size is {config.vocab_size:,}",
            rule="the vocabulary holds every character and the special tokens",
            remedy=f"set vocab_size to {2 * size:,} or more",
        )
    tokenizer = learner if config.kind == "bpe" else _longest_first(learner, decodes)
    tokenizer.post_processor = _frame(tokenizer)
    tokenizer.decoder = decoders.Metaspace(_WORD_START, "first")
    return tokenizer


def trained_steps() -> list[tuple[Any, Any]]:
    """(normalizer, splitter) of the tokenizers trained here, read in lower case and as written."""
    return [(_normalizer(lowercase), _splitter()) for lowercase in (True, False)]


def _normalizer(lowercase: bool) -> Any:
    from tokenizers import Regex, normalizers

    steps: list[Any] = [normalizers.NFKC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    # The space in front marks the first word like all others; before other signs it is dropped.
    steps += [
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
        normalizers.Prepend(" "),
    ]
    return normalizers.Sequence(steps)


def _faithful_normalizer() -> Any:
    from tokenizers import Regex, normalizers

    # The mark of the first word, which the decoder takes off again; other signs need none.
    return normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Prepend(" "),
            normalizers.Replace(Regex(rf"\A (?!{_SPACED})"), ""),
        ]
    )


def _splitter(isolated: str = "", *, keeps_spaces: bool = False) -> Any:
    """Cut into pieces; characters that match `isolated` (an expression) stand alone.

    A space is part of the word behind it; before other signs it is dropped, or a piece of its own.
    """
    from tokenizers import Regex, pre_tokenizers

    dropped = [pre_tokenizers.Split(Regex(rf" (?!{_SPACED})"), "removed")]
    steps: list[Any] = [
        *([] if keeps_spaces else dropped),
        pre_tokenizers.Split(Regex(_PIECE), "isolated"),
        pre_tokenizers.Metaspace(_WORD_START, "never", split=False),
    ]
    if isolated:
        steps.append(pre_tokenizers.Split(Regex(isolated), "isolated"))
    return pre_tokenizers.Sequence(steps)


def _longest_first(learner: tokenizers.Tokenizer, decodes: bool) -> tokenizers.Tokenizer:
    """WordPiece over the learned vocabulary; unknown characters are cut off what is around them."""
    import tokenizers
    from tokenizers import models

    vocabulary = learner.get_vocab()
    model = models.WordPiece(
        vocabulary,
        unk_token="[UNK]",
        continuing_subword_prefix="",
        max_input_chars_per_word=_MAX_PIECE_CHARS,
    )
    tokenizer = tokenizers.Tokenizer(model)
    known = "".join(f"\\x{{{ord(token):x}}}" for token in sorted(vocabulary) if len(token) == 1)
    tokenizer.normalizer = learner.normalizer
    tokenizer.pre_tokenizer = _splitter(isolated=f"[^{known}]", keeps_spaces=decodes)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _frame(tokenizer: tokenizers.Tokenizer) -> Any:
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )


def special_token_names(tokenizer: tokenizers.Tokenizer) -> dict[str, str]:
    """Role -> token for the special tokens that `tokenizer` has: pad_token, unk_token, ...

    Raises: SourceError if it has no padding token.
    """
    names = {}
    for role, candidates in _SPECIAL_NAMES.items():
        found = [token for token in candidates if tokenizer.token_to_id(token) is not None]
        if found:
            names[role] = found[0]
    if "pad_token" not in names:
        raise SourceError(
            "the tokenizer has no padding token",
            rule=f"one of {', '.join(_SPECIAL_NAMES['pad_token'])}",
            remedy="add one to the tokenizer, or use another model",
        )
    return names


def unknown_id(tokenizer: tokenizers.Tokenizer) -> int | None:
    """Id of the unknown token, None if the vocabulary has none."""
    name = special_token_names(tokenizer).get("unk_token")
    return None if name is None else tokenizer.token_to_id(name)


def end_id(tokenizer: tokenizers.Tokenizer) -> int:
    """Id of the token that closes a written text: </s> or [SEP].

    Raises: SourceError if the vocabulary has neither.
    """
    name = special_token_names(tokenizer).get("sep_token")
    number = None if name is None else tokenizer.token_to_id(name)
    if number is None:
        raise SourceError(
            "the tokenizer has no token that ends a text",
            rule=f"one of {', '.join(_SPECIAL_NAMES['sep_token'])}",
            remedy="add one to the tokenizer, or train one (kind: bpe)",
        )
    return number


def save_tokenizer(
    tokenizer: tokenizers.Tokenizer, folder: Path, *, max_length_tokens: int
) -> None:
    """Write tokenizer.json and tokenizer_config.json, for tokenizers and for transformers.

    `Tokenizer.from_file` and `AutoTokenizer.from_pretrained` then give the same ids. The class is
    named outright because transformers would otherwise rebuild a tokenizer by the model's type.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length_tokens,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **special_token_names(tokenizer),
    }
    text = json.dumps(settings, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
