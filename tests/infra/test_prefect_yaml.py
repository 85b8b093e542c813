"""The deployments of infra/prefect.yaml: flows that exist, with parameters that they take."""

import importlib
from pathlib import Path

import pytest
import yaml
from prefect import Flow

from flows.recipe.loading.files import check_recipe, read_recipe

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = {
    deployment["name"]: deployment
    for deployment in yaml.safe_load((ROOT / "infra/prefect.yaml").read_text(encoding="utf-8"))[
        "deployments"
    ]
}


def flow_of(deployment):
    file, _, name = deployment["entrypoint"].partition(":")
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    return getattr(module, name)


def test_the_nightly_deployment_is_the_quickstart():
    """The copy of the recipe in infra/prefect.yaml would age unnoticed."""
    recipe = DEPLOYMENTS["quickstart"]["parameters"]["recipe"]
    assert check_recipe(recipe, name="prefect.yaml") == read_recipe("quickstart")


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_deployment_names_a_flow_and_parameters_that_it_takes(name):
    """It would be listed, scheduled, and fail at three in the morning."""
    deployment = DEPLOYMENTS[name]
    flow = flow_of(deployment)
    assert isinstance(flow, Flow)
    flow.validate_parameters(deployment["parameters"])
    with pytest.raises(Exception, match="no_such_parameter"):
        flow.validate_parameters({**deployment["parameters"], "no_such_parameter": 1})
