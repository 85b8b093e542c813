"""`decant recipes`: the recipes that come with Decant, with a line each."""

from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "recipes"


def recipes() -> None:
    """List the recipes that come with Decant, with the first line of each."""
    paths = sorted(SHIPPED.glob("*.yaml"))
    width = max(len(path.stem) for path in paths)
    for path in paths:
        print(f"{path.stem:<{width}}  {_first_comment(path)}")


def _first_comment(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    told = (line.lstrip("# ") for line in lines if line.startswith("# "))
    return next((line for line in told if not line.startswith("yaml-language-server")), "")
