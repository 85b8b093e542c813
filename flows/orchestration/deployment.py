"""A recipe as a Prefect deployment: served by this process, on a schedule, watched for zombies.

The deployment's form is the recipe model; its defaults are the recipe. A run that was killed sends
no more heartbeats, which the automation below turns into the state Crashed, so that nobody waits.
"""

from datetime import timedelta

from prefect.automations import Automation, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.types.entrypoint import EntrypointType

from flows.distillation import distill
from flows.recipe.base import RecipeBase

ZOMBIES = "decant: runs without heartbeat are crashed"
# Three heartbeats at the 30 s that `decant serve` sets (Prefect's least; its default is 180).
_SILENCE = timedelta(seconds=90)
_ENDINGS = ("Completed", "Failed", "Cancelled", "Crashed")


def serve_recipe(recipe: RecipeBase, *, name: str, cron: str | None) -> None:
    """Offer `recipe` as deployment `distill/<name>` and run it when asked or scheduled; blocks.

    Args:
        name: of the deployment.
        cron: five fields, in UTC; None for no schedule.
    """
    watch_for_zombies()
    distill.serve(
        name=name,
        cron=cron,
        parameters={"recipe": recipe.model_dump(mode="json")},
        description=recipe.description or f"Recipe {recipe.name}",
        # One run at a time: a second one would wait for the first one's locks anyway.
        limit=1,
        entrypoint_type=EntrypointType.MODULE_PATH,
        print_starting_message=False,
    )


def watch_for_zombies() -> None:
    """Make the automation that sets silent runs to Crashed, unless the server has it already."""
    try:
        Automation.read(name=ZOMBIES, _sync=True)  # type: ignore[call-overload]
    except ValueError:
        Automation(
            name=ZOMBIES,
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={
                    "prefect.flow-run.heartbeat",
                    *(f"prefect.flow-run.{ending}" for ending in _ENDINGS),
                },
                match={"prefect.resource.id": ["prefect.flow-run.*"]},  # type: ignore[arg-type]
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=_SILENCE,
            ),
            actions=[
                ChangeFlowRunState(
                    name="Crashed",
                    state=StateType.CRASHED,
                    message="No heartbeat: its process is gone.",
                    force=False,
                )
            ],
        ).create(_sync=True)  # type: ignore[call-arg]  # the flag keeps it synchronous
