"""One source of many languages: `languages` on a source becomes one source for each of them.

    {name: "{language}-dev", uri: "data/{spelling}.tsv", languages: {zh: zho_Hans, fr: fra_Latn}}

`{language}` stands for the language's code in every text of the source, `{spelling}` for how its
files spell it: the value in a mapping, the code itself in a list.
"""

from __future__ import annotations

from typing import Any

from data_contracts.errors import RecipeError

_MARKS = ("{language}", "{spelling}")


def expand_languages(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The values with each source of `languages` in place as one source a language.

    Raises: RecipeError if a source has `languages` and `language`, or only one of `languages` and
        a text with `{language}`.
    """
    data = values.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(sources, list):
        return values
    expanded = [one for number, item in enumerate(sources) for one in _each(item, number, name)]
    return {**values, "data": {**data, "sources": expanded}}


def _each(source: Any, number: int, name: str) -> list[Any]:
    if not isinstance(source, dict):
        return [source]
    place = f"recipe {name}: data.sources.{number}"
    if "languages" not in source:
        if _is_marked(source):
            raise RecipeError(
                f"{place} has {{language}} but no languages",
                rule="{language} and {spelling} stand for each of a source's languages",
                remedy=f"add data.sources.{number}.languages, such as [zh, fr]",
            )
        return [source]
    if "language" in source:
        raise RecipeError(f"{place} has language and languages", remedy="take one of them out")
    rest = {key: value for key, value in source.items() if key != "languages"}
    languages = source["languages"]
    if isinstance(languages, list) and all(isinstance(one, str) for one in languages):
        languages = {one: one for one in languages}
    if not isinstance(languages, dict) or not languages or not _all_texts(languages):
        raise RecipeError(
            f"{place}.languages is no list of language codes",
            remedy="write it as [zh, fr], or as {zh: zho_Hans} (codes and their spelling)",
        )
    if not _is_marked(rest):
        raise RecipeError(
            f"{place} has languages but no {{language}}",
            rule="without it each language would have the same file",
            remedy="put {language} into its uri and name",
        )
    return [
        {**_filled(rest, language, spelling), "language": language}
        for language, spelling in languages.items()
    ]


def _all_texts(languages: dict[Any, Any]) -> bool:
    return all(isinstance(one, str) for pair in languages.items() for one in pair)


def _is_marked(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_marked(one) for one in value.values())
    if isinstance(value, list):
        return any(_is_marked(one) for one in value)
    return isinstance(value, str) and any(mark in value for mark in _MARKS)


def _filled(value: Any, language: str, spelling: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, language, spelling) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, language, spelling) for one in value]
    if isinstance(value, str):
        return value.replace("{language}", language).replace("{spelling}", spelling)
    return value
