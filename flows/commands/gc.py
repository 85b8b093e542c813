"""`decant gc`: remove what nothing uses any more; by default only say what that is."""

from flows.console.options import Days, Flag
from flows.runs.garbage import find_garbage
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home


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
        Age in days at which an unused artifact, an abandoned checkpoint or a copy of remote files
        that nothing read counts as garbage; copies read within a day never do.
    delete
        Remove it. Default: list it.
    """
    removable = 0
    for item in find_garbage(ArtifactStore(home()), days=days):
        kept = delete and not item.remove()
        removable += 0 if kept else item.size_bytes
        reason = "in use again: kept" if kept else item.reason
        print(f"{item.size_bytes:>14,} bytes  {item.path}  ({reason})")
    print(f"{removable:,} bytes {'removed' if delete else 'to remove (add --delete)'}")
