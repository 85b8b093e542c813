"""Every error that Decant raises on purpose, with its exit code and whether a retry can help.

    DecantError
    ├── UserError                 exit 2    what a user wrote is wrong; never retried
    │   ├── RecipeError                     the recipe cannot be read, or its fields contradict
    │   └── SourceError                     a source, model or artifact cannot be found or read
    ├── ContractViolation         exit 3    a table breaks its contract, or too many rows do
    ├── GateRefused               exit 4    the student did not pass the recipe's gates
    ├── CorruptArtifact           exit 5    bytes on disk do not match their manifest
    ├── ResourceExhausted         exit 6    memory or disk ran out
    │   └── MachineExhausted                the disk is full or fails, or a process was killed
    ├── TrainingDiverged          exit 7    the loss is not finite
    ├── TransientError            exit 75   network or server away: the only kind that is retried
    └── Preempted                 exit 143  stopped by a signal after a checkpoint was saved

A message has three parts: the fact with numbers, the rule it breaks, and the remedy. Anything that
is not a DecantError is a bug of ours: it exits 1 with its traceback.
"""

# ruff: noqa: N818  # the names say what happened; "Error" would add nothing


class DecantError(Exception):
    """An error told as a fact, the rule it breaks and the remedy.

    Args:
        fact: what happened, with numbers and names.
        rule: what was expected instead.
        remedy: what the reader can do now.
    """

    exit_code = 1
    transient = False

    def __init__(self, fact: str, *, rule: str = "", remedy: str = "") -> None:
        """Keep the three parts, so that the console and Prefect can lay them out."""
        self.fact, self.rule, self.remedy = fact, rule, remedy
        super().__init__("\n".join(part for part in (fact, rule, remedy) if part))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive a process boundary with all three parts (exceptions drop keyword arguments)."""
        return (_rebuild, (type(self), self.fact, self.rule, self.remedy))


def _rebuild(kind: type[DecantError], fact: str, rule: str, remedy: str) -> DecantError:
    return kind(fact, rule=rule, remedy=remedy)


class UserError(DecantError):
    """Something a user wrote is wrong: retrying the same input cannot help."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe cannot be read, holds an unknown field, or its fields contradict each other."""


class SourceError(UserError):
    """A source file, model or artifact cannot be found or read."""


class ContractViolation(DecantError):
    """A table breaks its contract, or more rows were quarantined than the contract allows."""

    exit_code = 3


class GateRefused(DecantError):
    """The student did not pass the registration gates that the recipe declares."""

    exit_code = 4


class CorruptArtifact(DecantError):
    """Bytes on disk do not match the sizes or digests of their manifest."""

    exit_code = 5


class ResourceExhausted(DecantError):
    """Memory or disk ran out; the run resumes once there is room."""

    exit_code = 6


class MachineExhausted(ResourceExhausted):
    """The disk is full or fails, or the kernel ended a process: what runs next meets the same.

    Unlike a pass that does not fit the device, it says nothing about what was being computed.
    """


class TrainingDiverged(DecantError):
    """The loss is not finite: the model is worthless and is not registered."""

    exit_code = 7


class TransientError(DecantError):
    """A network or a server was away: the same call may succeed a moment later."""

    exit_code = 75
    transient = True


class Preempted(DecantError):
    """A signal stopped training after its checkpoint was saved; the same command resumes it."""

    exit_code = 143
