"""Pages of the reference, from what they are about: recipe models, parser, contracts, packages.

    .venv/bin/python -m infra.docs.reference_pages      # {path: Markdown} as JSON, for the hooks

Nothing here is written by hand twice: a field's text is the one that its model has, an option's the
one that `--help` prints, a column's the one that its ODCS file has.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from pathlib import Path
from typing import Any

import yaml

from flows.__main__ import COMMANDS, make_app
from flows.distillation import distill

ROOT = Path(__file__).parents[2]
TREES = ("flows", "tasks", "data_contracts")


def main() -> None:
    """Print all pages."""
    pages = {
        "reference/recipe.md": recipe_page(),
        "reference/commands.md": commands_page(),
        "reference/contracts.md": contracts_page(),
        **api_pages(),
    }
    print(json.dumps(pages))


def recipe_page() -> str:
    """Every field of every section of a recipe, from the JSON schema of its pydantic models."""
    lines = ["# Recipe fields", "", "A recipe is a mapping of these fields. Sections follow."]
    seen: list[tuple[str, dict[str, Any]]] = []
    asked = typing.get_type_hints(distill.fn)["recipe"]
    for model in typing.get_args(asked) or (asked,):
        schema = model.model_json_schema()
        sections = schema.pop("$defs", {})
        for name, section in [(model.__name__, schema), *sections.items()]:
            if (name, section) in seen or "properties" not in section:
                continue
            seen.append((name, section))
            lines += ["", f"## {name}", "", _first_paragraph(section), ""]
            lines += ["| field | value | default | what it does |", "|---|---|---|---|"]
            lines += [_row(key, field, section) for key, field in section["properties"].items()]
    return "\n".join(lines) + "\n"


def _first_paragraph(section: dict[str, Any]) -> str:
    return _cell(section.get("description", "").split("\n\n")[0])


def _row(key: str, field: dict[str, Any], section: dict[str, Any]) -> str:
    required = key in section.get("required", ())
    default = field.get("default")
    # A section's own table tells the defaults of its fields.
    told = "required" if required else "" if isinstance(default, dict) else _code(default)
    cells = (f"`{key}`", _kind(field), told, _cell(field.get("description", "")))
    return f"| {' | '.join(cells)} |"


def _kind(field: dict[str, Any]) -> str:
    """The values of a field in words."""
    if "$ref" in field:
        return f"`{field['$ref'].rpartition('/')[2]}`"
    if "const" in field:
        return _code(field["const"])
    if "enum" in field:
        return ", ".join(_code(value) for value in field["enum"])
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in field:
            return " or ".join(dict.fromkeys(_kind(one) for one in field[choice]))
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {field[key]}" for key, sign in bounds.items() if key in field]
    return " ".join([field.get("type", "any"), *limits])


def _code(value: Any) -> str:
    return f"`{_cell(json.dumps(value, ensure_ascii=False))}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def commands_page() -> str:
    """Every command and option, from the parser and the docstrings that it prints."""
    lines = ["# Commands", "", "`decant --help` lists the exit codes.", ""]
    app = make_app()
    for command, summary in COMMANDS.items():
        lines += [f"## decant {command}", "", summary, ""]
        function = app[command]
        told = (inspect.getdoc(function.default_command) or "").partition("\nParameters\n")[0]
        lines += [told.partition("\n\n")[2].strip(), ""] if "\n\n" in told else []
        lines += ["| argument | default | what it does |", "|---|---|---|"]
        for argument in function.assemble_argument_collection(parse_docstring=True):
            names = ", ".join(f"`{name}`" for name in argument.names)
            default = argument.field_info.default
            shown = "" if default in (inspect.Parameter.empty, None, (), False) else f"`{default}`"
            helped = _cell(argument.parameter.help or "")
            lines.append(f"| {names} | {shown} | {helped} |")
        lines.append("")
    return "\n".join(lines)


def contracts_page() -> str:
    """Every table that crosses a boundary, column by column, from its ODCS file."""
    lines = [
        "# Tables",
        "",
        "Each is an ODCS file in `data_contracts/`, checked at every read and write.",
    ]
    for path in sorted((ROOT / "data_contracts").glob("*.odcs.yaml")):
        contract = yaml.safe_load(path.read_text(encoding="utf-8"))
        title = path.name.removesuffix(".odcs.yaml")
        lines += ["", f"## {title} {contract['version']}", ""]
        lines += [_cell(contract["description"]["purpose"]), ""]
        lines += ["| column | type | required | what it holds |", "|---|---|---|---|"]
        for table in contract["schema"]:
            for column in table["properties"]:
                required = "yes" if column.get("required") else ""
                kind = _cell(str(column.get("physicalType", column.get("logicalType", ""))))
                told = _cell(column.get("description", ""))
                lines.append(f"| `{column['name']}` | {kind} | {required} | {told} |")
    return "\n".join(lines) + "\n"


def api_pages() -> dict[str, str]:
    """A page for each package, on which mkdocstrings describes its modules."""
    pages = {}
    for tree in TREES:
        for init in sorted((ROOT / tree).rglob("__init__.py")):
            package = ".".join(init.parent.relative_to(ROOT).parts)
            modules = [
                f"{package}.{path.stem}"
                for path in sorted(init.parent.glob("*.py"))
                if not re.match("_", path.stem)
            ]
            lines = [f"# {package}", "", f"::: {package}", "    options: {members: false}", ""]
            lines += [f"::: {module}\n" for module in modules]
            pages[f"reference/api/{package}.md"] = "\n".join(lines)
    return pages


if __name__ == "__main__":
    main()
