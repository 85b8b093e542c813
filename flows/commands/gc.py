"""`decant gc`: remove what nothing uses any more; by default only say what that is."""

from flows.commands.options import Days, Flag
from flows.garbage import find_garbage
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.locations import home


def gc(
    *,
    days: Days = 14.0,
    delete: Flag = False,
) -> None:
    """Remove leftovers and artifacts that nothing uses any more; without --delete, only list them.

    Kept are: what any recipe's last run used, what any registered model was made from, whatever is
    younger than --days, and everything that a running process holds.

    Parameters
    ----------
    days
        Age in days at which an unused artifact or an abandoned checkpoint counts as garbage.
    delete
        Remove it. Default: list it.
    """
    found = find_garbage(ArtifactStore(home()), days=days)
    for item in found:
        print(f"{item.size_bytes:>14,} bytes  {item.path}  ({item.reason})")
        if delete:
            item.remove()
    total = sum(item.size_bytes for item in found)
    verb = "removed" if delete else "to remove (add --delete)"
    print(f"{total:,} bytes in {len(found)} folders {verb}")
