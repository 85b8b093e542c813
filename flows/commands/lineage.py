"""`decant lineage`: what a registered model was made from."""

from typing import Any

from rich.text import Text
from rich.tree import Tree

from flows.console.progress import output
from flows.orchestration.environment import answer_soon, prepare_environment, quieten

_SHORT = 12


def lineage(model: str, *, version: str = "champion") -> None:
    """Show what a registered model was made from, down to the sources.

    Parameters
    ----------
    model
        Registered name; decant status lists them.
    version
        Number or alias of the version.
    """
    prepare_environment()
    answer_soon()
    quieten()
    from tasks.registration import lineage as read_lineage

    found = read_lineage(model, version)
    artifacts = {entry["key"]: entry for entry in found["artifacts"]}
    title = f"{model}, version {found['model_version']}, content {found['digest'][:_SHORT]}"
    tree = Tree(Text(title, style="bold"))
    used = {key for entry in artifacts.values() for key in entry.get("upstream", {}).values()}
    shown: set[str] = set()
    for key, entry in artifacts.items():
        if key not in used:
            _grow(tree, entry["name"], key, artifacts, shown)
    output().print(tree)


def _grow(
    tree: Tree, name: str, key: str, artifacts: dict[str, dict[str, Any]], shown: set[str]
) -> None:
    """Hang an artifact and all it was made from below `tree`; what was shown before, by name."""
    entry = artifacts.get(key)
    label = f"{name}  {key[:_SHORT]}"
    if entry is None or entry.get("collected"):
        tree.add(Text(f"{label}  (no longer in the store)"))
        return
    if key in shown:
        tree.add(Text(f"{label}  (see above)", style="dim"))
        return
    shown.add(key)
    branch = tree.add(Text(f"{label}  {entry['stage']} v{entry['version']}, {entry['created_at']}"))
    for uri, digest in sorted(entry.get("locations", {}).items()):
        branch.add(Text(f"{uri}  content {digest[:_SHORT]}", style="cyan"))
    for upstream, upstream_key in sorted(entry.get("upstream", {}).items()):
        _grow(branch, upstream, upstream_key, artifacts, shown)
