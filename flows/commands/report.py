"""`decant report`: where the report of a recipe's last run is."""

from flows.console.options import Flag
from flows.console.progress import output
from flows.recipe.loading.files import recipe_name
from flows.runs.results import print_report, read_report, step_folder
from tasks.runtime.files.locations import home


def report(
    recipe: str = "quickstart",
    *,
    text: Flag = False,
) -> None:
    """Say where the report of a recipe's last run is, or print its table.

    Parameters
    ----------
    recipe
        Name of a recipe, or path of its YAML file.
    text
        Print the result table instead. Default: the path of the report's page.
    """
    folder = step_folder(home(), recipe_name(recipe), "evaluation", asked_as=recipe)
    if text:
        print_report(read_report(folder), output())
    else:
        print(folder / "report.html")
