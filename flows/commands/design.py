"""`decant design`: a student's size, operations and expected time, before it is trained."""

from rich.table import Table

from flows.console.options import Changes
from flows.console.progress import output
from flows.orchestration.environment import prepare_environment, quieten, stay_offline
from flows.recipe.loading.files import encoder_recipe, read_recipe
from flows.studies.design import SystemDesign
from flows.studies.design import design as make_design
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home


def design(
    recipe: str = "quickstart",
    *,
    set_: Changes = (),
) -> None:
    """Say what the student of a recipe will cost, beside its teacher, before it is trained.

    Vocabulary and lengths are those of cached tokens, or else the recipe's limits; classes are
    counted in the train sources, if these are here. The latency is measured on networks of these
    shapes with random weights, without tokenization.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a YAML file.
    set_
        FIELD=VALUE: change a field, such as student.architecture.num_layers=1, the value as in
        YAML, an item of a list by its number (data.sources.0.uri=my.csv); may be repeated. Default:
        none.
    """
    prepare_environment()
    quieten()
    chosen = encoder_recipe(read_recipe(recipe, set_))
    if not any(uri.startswith("hf://") for uri in chosen.locations()):
        stay_offline()
    student, teacher = make_design(chosen, ArtifactStore(home()))
    console = output()
    table = Table(title=f"{chosen.name}: before training", title_justify="left")
    table.add_column("")
    for name in ("student", "teacher", "teacher / student"):
        table.add_column(name, justify="right")
    for row in _rows(student, teacher):
        table.add_row(*row)
    console.print(table)
    for system in (student, teacher):
        console.print(f"  {system.name}: {'; '.join(system.notes)}", markup=False, soft_wrap=True)


def _rows(student: SystemDesign, teacher: SystemDesign) -> list[tuple[str, ...]]:
    return [
        _row("parameters", student.num_parameters, teacher.num_parameters, ",d"),
        _row("  of embeddings", student.num_embeddings, teacher.num_embeddings, ",d"),
        _row("  of encoder and head", student.num_encoder, teacher.num_encoder, ",d"),
        _row("MB fp32", student.fp32_bytes / 1e6, teacher.fp32_bytes / 1e6, ",.1f"),
        _row("MB int8", student.int8_bytes / 1e6, teacher.int8_bytes / 1e6, ",.1f"),
        _row("tokens a text", student.length, teacher.length, ",d"),
        _row("MFLOPs a text", student.flops / 1e6, teacher.flops / 1e6, ",.2f"),
        _row("latency, ms (median)", student.latency_ms_p50, teacher.latency_ms_p50, ",.2f"),
    ]


def _row(name: str, student: float | None, teacher: float | None, form: str) -> tuple[str, ...]:
    def shown(value: float | None) -> str:
        return "" if value is None else format(value, form)

    ratio = f"{teacher / student:,.1f}" if student and teacher else ""
    return (name, shown(student), shown(teacher), ratio)
