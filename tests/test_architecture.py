"""What the tree promises as a whole: layers, light imports, no pickle, words for everything."""

import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
TREES = ("flows", "tasks", "data_contracts")
MODULES = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
STAGES = (
    "ingestion",
    "tokenization",
    "teacher",
    "teacher_signals",
    "combined_signals",
    "distillation",
    "mutual",
    "export",
    "evaluation",
    "registration",
    "scoring",
)
HEAVY = ("torch", "transformers", "mlflow", "prefect", "pandas", "matplotlib")
MAX_LINES = 400
# Modules that can build objects, and so run code, out of a file.
UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FLOORS = {"torch": "2.10", "transformers": "5.3", "mlflow": "3.10.2"}
JUNK_ROOMS = {"common", "helper", "helpers", "lib", "misc", "shared", "stuff", "util", "utils"}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(node):
    """Names of the modules that an import statement names."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {node.module or ""} if isinstance(node, ast.ImportFrom) and not node.level else set()


def test_the_trees_are_found():
    """A moved folder: every test below passes over nothing."""
    assert len(MODULES) > 50
    assert all((ROOT / "tasks" / f"{stage}.py").is_file() for stage in STAGES)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_explains_itself_and_stays_small(path):
    """A file that nobody can say the purpose of, grown until nobody dares."""
    tree = tree_of(path)
    assert ast.get_docstring(tree), f"{name_of(path)} has no docstring"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name_of(path)} has {lines} lines, at most {MAX_LINES}: split it"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            members = [item for item in node.body if isinstance(item, ast.FunctionDef)]
        elif node is tree:
            members = [
                item for item in tree.body if isinstance(item, ast.FunctionDef | ast.ClassDef)
            ]
        else:
            continue
        for member in members:
            if not member.name.startswith("_"):
                assert ast.get_docstring(member), (
                    f"{name_of(path)}:{member.lineno} {member.name} has no docstring"
                )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_that_is_read_can_run_code(path):
    """A model file from elsewhere that runs its own code here, or at a consumer's."""
    for node in ast.walk(tree_of(path)):
        found = {module.partition(".")[0] for module in imported(node)} & UNSAFE_MODULES
        assert not found, f"{name_of(path)}:{node.lineno} imports {', '.join(found)}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        place = f"{name_of(path)}:{node.lineno} {called}"
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert given.get("weights_only", "True") == "True", f"{place} reads pickles"
        assert given.get("allow_pickle", "False") == "False", f"{place} reads pickles"
        assert given.get("trust_remote_code", "False") == "False", f"{place} runs remote code"
        assert called not in {"eval", "exec", "os.system"}, f"{place} runs text as code"
        assert given.get("shell", "False") == "False", f"{place} runs text as a command"
        if called == "torch.load":
            assert given.get("weights_only") == "True", f"{place} reads pickles"
        if called in {"yaml.load", "yaml.unsafe_load", "yaml.full_load"}:
            assert name_of(path) == "data_contracts/safe_yaml.py", f"{place}: use load_yaml"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_that_define_flows_keep_real_annotations(path):
    """Prefect reads a flow's types when it is served: as strings, only the served run breaks."""
    tree = tree_of(path)
    nodes = [item for item in tree.body if isinstance(item, ast.ImportFrom)]
    names = {alias.name for node in nodes if node.module == "prefect" for alias in node.names}
    if names & {"flow", "task"}:
        assert not any(node.module == "__future__" for node in nodes), (
            f"{name_of(path)}: remove `from __future__ import annotations`"
        )


def is_for_types_alone(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports_of(node, modules):
    """Our modules that are imported anywhere below `node`, at once or when a function is called."""
    if is_for_types_alone(node):
        return set()
    found = imported(node)
    if isinstance(node, ast.ImportFrom):
        found |= {f"{node.module}.{alias.name}" for alias in node.names}
    below = (imports_of(child, modules) for child in ast.iter_child_nodes(node))
    return (found & modules).union(*below)


def test_imports_go_one_way():
    """Two modules that only work if the right one of them is imported first."""
    paths = {
        name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for path in MODULES
    }
    graph = {name: imports_of(tree_of(path), paths.keys()) - {name} for name, path in paths.items()}
    # A package's own text names its modules; what they import of one another is not its doing.
    graph = {
        name: {other for other in needs if not name.startswith(f"{other}.")}
        for name, needs in graph.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_no_room_is_for_junk():
    """The module where everything ends up that has no place."""
    rooms = {name_of(path): {*path.relative_to(ROOT).with_suffix("").parts} for path in MODULES}
    junk = [name for name, parts in rooms.items() if parts & JUNK_ROOMS]
    assert not junk, f"name the idea instead: {', '.join(junk)}"


def test_test_modules_mirror_the_tree():
    """Tests that are not found when the module they hold is changed."""
    modules = {name_of(path) for path in MODULES}
    strays = []
    for tree in TREES:
        for path in (ROOT / "tests" / tree).rglob("test_*.py"):
            tested = path.relative_to(ROOT / "tests")
            module = tested.with_name(tested.name.removeprefix("test_")).as_posix()
            package = module.removesuffix(".py") + "/__init__.py"
            recipe = (ROOT / module).with_suffix(".yaml")
            if module not in modules and package not in modules and not recipe.exists():
                strays.append(f"tests/{tested.as_posix()} (no {module})")
    assert not strays, ", ".join(strays)
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_security_floors_hold(package, floor):
    """A version with a known way to run code from a model file: here, and in what users install."""
    assert Version(version(package)) >= Version(floor)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = [Requirement(found) for found in re.findall(rf'^  "({package}\b[^"]*)"', text, re.M)]
    assert len(declared) == 1
    below = ".".join([*floor.split(".")[:-1], str(int(floor.split(".")[-1]) - 1)])
    assert not declared[0].specifier.contains(f"{below}.99" if below.count(".") < 2 else below)


def test_layers_hold():
    """The core that cannot run without an orchestrator, one convenient import at a time."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("module", ["flows.recipe.recipe", *(f"tasks.{stage}" for stage in STAGES)])
def test_what_plan_imports_is_light(module):
    """`decant plan` that loads torch: seconds before the first word."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.split() == [], f"{module} imports {child.stdout}"


@pytest.mark.parametrize("stage", STAGES)
def test_stages_share_one_shape(stage):
    """A stage that cannot be read after having read the others."""
    code = f"""
import inspect, json, sys
from tasks import {stage} as module
from tasks.runtime.stages import Stage, StageConfig
assert isinstance(module.VERSION, int) and module.VERSION >= 1
assert isinstance(module.STAGE, Stage) and module.STAGE.version == module.VERSION
assert issubclass(module.Config, StageConfig)
assert module.Config.model_config["frozen"] and module.Config.model_config["extra"] == "forbid"
parameters = list(inspect.signature(module.STAGE.function).parameters)
assert parameters == ["config", "inputs", "workspace"], parameters
"""
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr


def test_every_field_of_a_recipe_is_described():
    """A form in the interface with a number to fill in, and no word on its unit or effect."""
    from flows.recipe.recipe import Recipe

    schema = Recipe.model_json_schema()
    bare = [
        f"{name}.{field}"
        for name, model in {"Recipe": schema, **schema["$defs"]}.items()
        for field, content in model.get("properties", {}).items()
        if not content.get("description") and "const" not in content
    ]
    assert not bare, ", ".join(bare)
    open_models = [
        name
        for name, model in {"Recipe": schema, **schema["$defs"]}.items()
        if model.get("type") == "object" and model.get("additionalProperties") is not False
    ]
    assert not open_models, f"unknown keys pass: {json.dumps(open_models)}"
