"""Whether an answer to a question is right: exact match and F1 of words, by the language's rules.

    English   lower case, no ASCII punctuation, no a/an/the, split at spaces (SQuAD's script)
    others    lower case, no punctuation of any script, no articles where MLQA's script drops them;
              each character of a script without spaces is a word, the rest is split at spaces

Arabic articles are dropped where a word begins; MLQA's script cuts those letters out of the middle
of words, too. CMRC's own F1 counts the longest common stretch of characters, not all characters in
common, and is never higher.
Of several right answers the nearest counts. A question without an answer in its context has none:
saying nothing is then right, saying anything is wrong.

References: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1; 2018, arXiv:1806.03822 (none);
    Lewis et al. 2020, arXiv:1910.07475 (MLQA); Cui et al. 2019, arXiv:1810.07366 (CMRC).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import regex

from data_contracts.evaluation import Metric
from tasks.metrics.scores.words import space_out
from tasks.metrics.statistics import Measure, Statistics, mean_of, values

_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_PUNCTUATION = regex.compile(rf"[\p{{P}}{re.escape(string.punctuation)}]")
_ARTICLES = {
    "en": re.compile(r"\b(a|an|the)\b"),
    "de": re.compile(r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "es": re.compile(r"\b(un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(của|là|cái|chiếc|những)\b"),
    "ar": re.compile(r"(?<!\S)ال"),  # `\b` would also see a word begin behind a vowel sign
}
_NO_ARTICLES = re.compile(r"(?!)")

ANSWER_F1 = Measure(
    Metric(name="answer_f1", display="answer F1", meaning="F1 of the answer's words, a question"),
    mean_of,
    is_mean=True,
)
EXACT_MATCH = Measure(
    Metric(
        name="exact_match",
        display="exact match",
        meaning="share of questions answered word for word",
    ),
    mean_of,
    is_mean=True,
)
MEASURES = (ANSWER_F1, EXACT_MATCH)


def answer_words(text: str, language: str) -> list[str]:
    """The words of an answer that count, by the rules of a BCP-47 language."""
    text, language = text.lower(), language.split("-")[0].lower()
    articles = _ARTICLES.get(language, _NO_ARTICLES)
    if language == "en":
        return articles.sub(" ", text.translate(_ASCII_PUNCTUATION)).split()
    return space_out(articles.sub(" ", _PUNCTUATION.sub("", text))).split()


def exact_match(answer: str, gold: Sequence[str], language: str) -> float:
    """1 if the answer is one of `gold` (empty: no answer), word for word, otherwise 0."""
    said = answer_words(answer, language)
    return float(any(said == answer_words(right, language) for right in gold or ("",)))


def answer_f1(answer: str, gold: Sequence[str], language: str) -> float:
    """F1 of the words in common with the nearest of `gold` (empty: no answer), in 0..1."""
    said = answer_words(answer, language)
    return max(_overlap(said, answer_words(right, language)) for right in gold or ("",))


def answer_statistics(
    answers: Sequence[str], gold: Sequence[Sequence[str]], language: str
) -> dict[str, Statistics]:
    """Statistics of both metrics.

    Args:
        answers: N answers, "" for none.
        gold: the right ones of each question; empty: the context holds none.
    """
    pairs = list(zip(answers, gold, strict=True))
    return {
        "answer_f1": values([answer_f1(said, right, language) for said, right in pairs]),
        "exact_match": values([exact_match(said, right, language) for said, right in pairs]),
    }


def _overlap(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    common = sum((Counter(said) & Counter(right)).values())
    return 2 * common / (len(said) + len(right))
