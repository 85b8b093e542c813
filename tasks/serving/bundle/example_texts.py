"""A harmless phrase a language: the input example of a model whose recipe names none.

Not a text of the user's data: a model's card and input example are read by whoever sees the
registry, and a corpus may hold what they must not see.
"""

from __future__ import annotations

from tasks.serving.bundle.interfaces import INTERFACES, Example

_GREETINGS = {
    "ar": "صباح الخير", "cs": "Dobré ráno", "da": "God morgen", "de": "Guten Morgen",
    "el": "Καλημέρα", "en": "Good morning", "es": "Buenos días", "fa": "صبح بخیر",
    "fi": "Hyvää huomenta", "fr": "Bonjour", "he": "בוקר טוב", "hi": "सुप्रभात",
    "hu": "Jó reggelt", "id": "Selamat pagi", "it": "Buongiorno", "ja": "おはようございます",
    "ko": "좋은 아침입니다", "nb": "God morgen", "nl": "Goedemorgen", "pl": "Dzień dobry",
    "pt": "Bom dia", "ro": "Bună dimineața", "ru": "Доброе утро", "sv": "God morgon",
    "sw": "Habari za asubuhi", "th": "สวัสดี", "tr": "Günaydın", "uk": "Доброго ранку",
    "vi": "Chào buổi sáng", "zh": "早上好",
}  # fmt: skip
_OF_NO_LANGUAGE = "1 2 3"


def example_texts(language: str, problem: str) -> tuple[Example, ...]:
    """A greeting in the language of a BCP-47 tag; `1 2 3`, which is in none, if none is known.

    Args:
        problem: a key of `INTERFACES`; where its model is asked with several texts, the greeting
            is each of them.
    """
    text = _GREETINGS.get(language.split("-")[0].lower(), _OF_NO_LANGUAGE)
    num_columns = len(INTERFACES[problem].inputs)
    return (text,) if num_columns == 1 else ((text,) * num_columns,)
