"""Rules that look at one row at a time: length, language, labels.

Language is judged by script first: a Chinese row without a Han character is wrong whatever it says,
and a test costs a microsecond. Languages of one script are told apart statistically (py3langid),
which guesses on short texts and costs 0.2 ms; so only long ones are asked, and only a confident
answer for a language that is not easily confused with the declared one counts. What short texts
are in is asked of many together (`found_otherwise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen


class FilterConfig(Frozen):
    """Which rows are set aside for what they are, with a reason code each."""

    min_length_characters: int = Field(
        default=1, ge=1, description="shorter normalised texts are too_short, in characters"
    )
    max_length_characters: int = Field(
        default=4000,
        ge=1,
        le=100_000,
        description="longer normalised texts are too_long, in characters",
    )
    check_language: bool = Field(
        default=True,
        description="set rows aside as language_mismatch whose script (or, for long texts, whose "
        "confidently identified language) is not the one their source declares",
    )
    min_identified_characters: int = Field(
        default=60,
        ge=20,
        description="texts at least this long are also checked by statistical language "
        "identification, in characters; on shorter ones it guesses",
    )
    labels: tuple[str, ...] | None = Field(
        default=None,
        description="the only labels allowed; others are unknown_label. By default the labels of "
        "the train rows",
    )

    @model_validator(mode="after")
    def _is_coherent(self) -> FilterConfig:
        if self.max_length_characters < self.min_length_characters:
            raise ValueError(
                f"max_length_characters {self.max_length_characters} is below "
                f"min_length_characters {self.min_length_characters}: no text can pass"
            )
        return self


_LANGUAGES_OF_SCRIPTS: dict[tuple[str, ...], str] = {
    ("Latin",): "af ca cs cy da de en es et eu fi fr ga gl hr hu id is it lb lt lv ms nb nl nn no "
    "pl pt ro sk sl sq sv sw tl tr vi",
    ("Han",): "zh yue wuu",
    ("Han", "Hiragana", "Katakana"): "ja",
    ("Hangul",): "ko",
    ("Cyrillic",): "ru uk be bg mk ky mn tg",
    ("Cyrillic", "Latin"): "sr kk uz",
    ("Arabic",): "ar fa ur ps ug sd ckb",
    ("Hebrew",): "he yi",
    ("Devanagari",): "hi mr ne sa",
    ("Bengali",): "bn as",
    ("Ethiopic",): "am ti",
    ("Greek",): "el",
    ("Georgian",): "ka",
    ("Armenian",): "hy",
    ("Thai",): "th",
    ("Lao",): "lo",
    ("Myanmar",): "my",
    ("Khmer",): "km",
    ("Sinhala",): "si",
    ("Tamil",): "ta",
    ("Telugu",): "te",
    ("Kannada",): "kn",
    ("Malayalam",): "ml",
    ("Gujarati",): "gu",
    ("Gurmukhi",): "pa",
}
_SCRIPTS = {
    language: scripts
    for scripts, languages in _LANGUAGES_OF_SCRIPTS.items()
    for language in languages.split()
}
_SUBTAGS_OF_SCRIPTS = {
    "Latin": "Latn",
    "Han": "Hani Hans Hant Jpan",
    "Hangul": "Hang Kore",
    "Cyrillic": "Cyrl",
    "Arabic": "Arab",
    "Hebrew": "Hebr",
    "Devanagari": "Deva",
    "Bengali": "Beng",
    "Ethiopic": "Ethi",
    "Greek": "Grek",
    "Georgian": "Geor",
    "Armenian": "Armn",
    "Thai": "Thai",
    "Lao": "Laoo",
    "Myanmar": "Mymr",
    "Khmer": "Khmr",
    "Sinhala": "Sinh",
    "Tamil": "Taml",
    "Telugu": "Telu",
    "Kannada": "Knda",
    "Malayalam": "Mlym",
    "Gujarati": "Gujr",
    "Gurmukhi": "Guru",
}
_SCRIPT_OF_SUBTAG = {
    subtag: script for script, subtags in _SUBTAGS_OF_SCRIPTS.items() for subtag in subtags.split()
}
# Confused by every identifier, and by many readers: a verdict within a group says nothing.
_ALIKE = (
    {"nb", "nn", "no", "da", "sv"},
    {"hr", "sr", "bs", "sl", "mk", "bg"},
    {"id", "ms", "jv"},
    {"es", "pt", "gl", "ca", "oc", "an", "it"},
    {"cs", "sk"},
    {"ru", "uk", "be"},
    {"nl", "af", "lb", "de"},
    {"hi", "mr", "ne"},
)
# A whole source is refused for a verdict: also none within these. Japanese names and headings have
# no kana, and the others are near enough where texts are short.
_ALIKE_TOGETHER = (
    {"zh", "yue", "wuu", "ja"},
    {"hr", "sr", "bs", "sl", "mk", "bg", "ru", "uk", "be", "cs", "sk"},
    {"is", "nb", "nn", "no", "da", "sv"},
    {"es", "pt", "gl", "ca", "it", "fr", "ro"},
    {"fi", "et"},
    {"ar", "fa", "ur", "ps", "ug", "sd", "ckb"},
    {"kk", "ky", "mn", "tg", "uz", "tr"},
    {"tl", "id", "ms"},
)
_MIN_FOREIGN_LETTERS = 6
_MIN_EXPECTED_SHARE = 0.2
# A Han, Kana or Hangul character says about as much as three letters.
_LETTERS_PER_IDEOGRAPH = 3
_CONFIDENCE = 0.95
_CONFIDENCE_TOGETHER = 0.99
_MIN_TEXTS = 20
_MIN_CHARACTERS = 600
# Measured: 0 to 7 % of the short texts of a wrong language look like the declared one, one by one;
# of a source with a tenth of its rows in the declared language, some 12 %.
_MAX_DECLARED_SHARE = 0.1
# So many letters of the script among all characters outweigh the rest, were it ideographs only.
_CLEARLY_OURS = _LETTERS_PER_IDEOGRAPH * _MIN_EXPECTED_SHARE


def length_problem(text: str, config: FilterConfig) -> tuple[str, str] | None:
    """(reason, detail) if the normalised `text` is empty, too short or too long."""
    if not text:
        return "empty_text", "nothing visible is left after normalisation"
    if len(text) < config.min_length_characters:
        return "too_short", f"{len(text)} characters, at least {config.min_length_characters}"
    if len(text) > config.max_length_characters:
        return "too_long", f"{len(text)} characters, at most {config.max_length_characters}"
    return None


class FoundLanguage(NamedTuple):
    """A language that texts are in, and how many of them are likelier in it than as declared."""

    language: str
    confidence: float
    num_texts: int


def language_problem(text: str, language: str, config: FilterConfig) -> tuple[str, str] | None:
    """(reason, detail) if `text` is clearly not in `language`.

    Args:
        language: BCP-47 tag; its region is ignored. One whose script is not known here is not
            judged, nor one that names another script than the language's usual ones (hi-Latn).
    """
    primary, scripts = language.partition("-")[0], _judged_scripts(language)
    if scripts is None:
        return None
    if not (scripts == ("Latin",) and text.isascii()):
        expected, foreign = _letters(text, scripts)
        if foreign >= _MIN_FOREIGN_LETTERS and expected < _MIN_EXPECTED_SHARE * (
            expected + foreign
        ):
            return (
                "language_mismatch",
                f"{expected} of {expected + foreign} weighted letters are {'/'.join(scripts)}",
            )
    if len(text) >= config.min_identified_characters:
        return _identified_otherwise(text, primary)
    return None


def found_otherwise(texts: Sequence[str], language: str) -> FoundLanguage | None:
    """The one language that `texts`, too short one by one, are together in, if not `language`.

    A refusal hangs on it, so all must agree: the joined texts are identified beyond doubt, as a
    language that is not easily confused with the declared one, and nearly every text by itself is
    likelier in it. So texts in both, or full of foreign names, are no finding, nor are a handful.

    Args:
        texts: normalised, of the script of `language`.
        language: BCP-47 tag, as in `language_problem`.
    """
    if len(texts) < _MIN_TEXTS or sum(map(len, texts)) < _MIN_CHARACTERS:
        return None
    primary, identifier = language.partition("-")[0], _identifier()
    if _judged_scripts(language) is None or primary not in identifier.labels:
        return None
    found, confidence = identifier.classify("\n".join(texts))
    # Of little known languages (and of zxx, no language) the identifier knows too little itself.
    if found == primary or found not in _SCRIPTS or float(confidence) < _CONFIDENCE_TOGETHER:
        return None
    if any(found in group and primary in group for group in (*_ALIKE, *_ALIKE_TOGETHER)):
        return None
    scores = [dict(identifier.rank(text)) for text in texts]
    num_otherwise = sum(score[found] > score[primary] for score in scores)
    if num_otherwise < (1 - _MAX_DECLARED_SHARE) * len(texts):
        return None
    return FoundLanguage(found, float(confidence), num_otherwise)


def _judged_scripts(language: str) -> tuple[str, ...] | None:
    """Scripts that `language` is written in; None where it is not judged."""
    primary, *subtags = language.split("-")
    scripts = _SCRIPTS.get(primary)
    script = next((tag.title() for tag in subtags if len(tag) == 4 and tag.isalpha()), None)
    if scripts is None or (script is not None and _SCRIPT_OF_SUBTAG.get(script) not in scripts):
        return None
    return scripts


def _letters(text: str, scripts: tuple[str, ...]) -> tuple[int, int]:
    """Weighted letters inside and outside of `scripts`, told exactly only where in doubt."""
    inside, letters, ideographs = _patterns(scripts)
    ours = inside.findall(text)
    if len(ours) >= _CLEARLY_OURS * len(text):
        return len(ours), 0  # right whatever the rest is: spares most texts two more passes
    total = len(letters.findall(text))
    num_ideographs = len(ideographs.findall(text))
    ours_ideographs = sum(1 for letter in ours if ideographs.match(letter))
    extra = _LETTERS_PER_IDEOGRAPH - 1
    expected = len(ours) + extra * ours_ideographs
    return expected, total + extra * num_ideographs - expected


@cache
def _patterns(scripts: tuple[str, ...]) -> tuple[Any, Any, Any]:
    import regex

    # Letters only: the digits and marks a script shares with others say nothing.
    inside = "".join(rf"\p{{Script={script}}}" for script in scripts)
    return (
        regex.compile(rf"(?V1)[[{inside}]&&\p{{L}}]"),
        regex.compile(r"\p{L}"),
        regex.compile(r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]"),
    )


def _identified_otherwise(text: str, primary: str) -> tuple[str, str] | None:
    identifier = _identifier()
    if primary not in identifier.labels:
        return None
    found, confidence = identifier.classify(text)
    confidence = float(confidence)
    if found == primary or confidence < _CONFIDENCE:
        return None
    if any(found in group and primary in group for group in _ALIKE):
        return None
    return "language_mismatch", f"identified as {found} with confidence {confidence:.3f}"


@cache
def _identifier() -> Any:
    """The identifier, loaded (0.2 s) when the first long text asks for it."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
