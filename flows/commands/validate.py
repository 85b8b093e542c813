"""`decant validate`: the recipe's fields, and the places and columns it names; nothing is run."""

from flows.console.options import Changes
from flows.orchestration.environment import prepare_environment, quieten
from flows.pipeline import step_names
from flows.preflight.paths import check_places, is_here
from flows.preflight.refusals import check_before_run
from flows.preflight.source_classes import check_label_maps
from flows.recipe.base import RecipeBase
from flows.recipe.loading.files import read_recipe
from tasks.corpus.sources.files import check_parallel_readable, check_readable
from tasks.corpus.sources.source import FileSource
from tasks.ingestion import check_languages


def validate(
    recipe: str = "quickstart",
    *,
    set_: Changes = (),
) -> None:
    """Check a recipe and its sources without running anything.

    Files on this machine must exist and have the columns that the recipe names, of which the first
    rows are read; remote ones are not asked for. Short texts of a column that are together clearly
    in another language of the declared one's script are refused, unless data.filters.check_language
    is false (texts of another script are set aside one by one when the corpus is built); so are
    keys of a label_map that no label has, of sources with up to 65,536 rows. By what the sources
    say of themselves, each language must have rows to evaluate on. A teacher whose
    config.json is here must have the layers that a student is compared with.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a YAML file.
    set_
        FIELD=VALUE: change a field, such as student.training.num_epochs=20, the value as in YAML,
        an item of a list by its number (data.sources.0.uri=my.csv); may be repeated. Default: none.
    """
    prepare_environment()
    quieten()
    chosen = read_recipe(recipe, set_)
    check_before_run(chosen)
    check_places(chosen, recipe)
    _check_sources(chosen)
    print(f"recipe {chosen.name} is valid: {len(step_names(chosen))} steps")


def _check_sources(recipe: RecipeBase) -> None:
    """Raise SourceError of a source whose files are not what it says."""
    sources = [one for one in recipe.corpus_config().sources if isinstance(one, FileSource)]
    for source in sources:
        if is_here(source.uri):
            check_readable(source)
        if source.parallel is not None and is_here(source.parallel.uri):
            check_parallel_readable(source)
    check_languages(recipe.corpus_config(), here=is_here)
    check_label_maps(recipe.corpus_config())
