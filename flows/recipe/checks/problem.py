"""Which fields of a recipe its problem can use, and which gates its report can answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.recipe.checks.sentence_embedding import check_sentence_embedding
from flows.recipe.checks.tokenization import check_reading, readers_of
from flows.recipe.multi_teacher import place_of
from tasks.modeling.config import EncoderProblem
from tasks.problems import PROBLEMS
from tasks.training.objectives.config import SoftenedTerm
from tasks.training.optimization.config import TrainingConfig

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe

_EMBEDDING_TERMS = frozenset({"embedding_mse", "embedding_contrast"})
# Losses that compare classes of one distribution make no sense of labels that do not exclude one
# another; losses that take the mean over all logits would count the filler of shorter windows.
_FITTING_TERMS: dict[EncoderProblem, frozenset[str]] = {
    "multilabel_classification": frozenset({"hard", "kl", "logit_mse"}),
    "question_answering": frozenset(
        {
            "hard", "kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "total_variation",
            "soft_cross_entropy",
        }
    ),
    "sentence_embedding": _EMBEDDING_TERMS,
}  # fmt: skip

_FLOORS_LEARN = frozenset(
    {"text_classification", "matching", "multilabel_classification", "token_classification"}
)


def check_problem(recipe: Recipe) -> None:
    """Refuse what the sections ask of a problem that does not have it.

    Raises: ValueError saying what to leave out.
    """
    if recipe.problem == "sentence_embedding":
        check_sentence_embedding(recipe)
    teachers = {
        place_of(name): dict(section)["training"] for name, section in recipe.teachers.items()
    }
    if untrained := [name for name, training in teachers.items() if training is None]:
        if recipe.problem != "sentence_embedding":
            raise ValueError(
                f"{untrained[0]}.training is missing: a teacher of {recipe.problem} is fine-tuned, "
                "because its head is drawn at random; set num_epochs, batch_size and learning_rate"
            )
        teachers = {}
    trained = {**teachers, "student": recipe.student.training}
    for name, training in trained.items():
        check_selection(name, training, recipe.problem, PROBLEMS[recipe.problem].metrics)
        if recipe.problem == "question_answering" and training.class_weights != "none":
            raise ValueError(
                f"{name}.training.class_weights is {training.class_weights}, but answers to "
                "questions have no classes: set it to none"
            )
        if recipe.problem == "question_answering" and training.label_smoothing:
            # Its mass would go to the filler of shorter windows, whose logits are constants.
            raise ValueError(
                f"{name}.training.label_smoothing is {training.label_smoothing:g}, but windows "
                "of a question differ in how many units can answer: set it to 0"
            )
    check_reading(recipe)
    _check_pairs(recipe)
    _check_target_rows(recipe)
    fit = _FITTING_TERMS.get(recipe.problem)
    kinds = [term.kind for term in recipe.distillation.terms]
    if fit is not None and (unfit := [kind for kind in kinds if kind not in fit]):
        raise ValueError(
            f"distillation.terms holds {', '.join(unfit)}, which {recipe.problem} cannot use: "
            f"terms there are of kind {', '.join(sorted(fit))}"
        )
    if fit is None and (unfit := [kind for kind in kinds if kind in _EMBEDDING_TERMS]):
        raise ValueError(
            f"distillation.terms holds {', '.join(unfit)}, which compares vectors of sentences, "
            f"but the answers of {recipe.problem} are classes: use it with sentence_embedding"
        )
    if recipe.problem == "question_answering":
        _check_unsoftened(recipe)


def with_defaults_of_problem(values: Any) -> Any:
    """A recipe's fields with the temperature that its problem has, where they leave it out.

    Answers to questions are never softened (`_check_unsoftened`), so the default of the other
    problems would refuse every recipe that does not state it.
    """
    if not isinstance(values, Mapping) or values.get("problem") != "question_answering":
        return values
    loss = values.get("distillation", {})
    if not isinstance(loss, Mapping) or loss.get("terms") or "temperature" in loss:
        return values
    return {**values, "distillation": {**loss, "temperature": 1.0}}


def check_selection(
    name: str, training: TrainingConfig, problem: str, metrics: Sequence[str]
) -> None:
    """Refuse to choose the best step by a figure that no validation has.

    Raises: ValueError naming those that it has.
    """
    known = ("auto", "loss", "last", *metrics)
    if training.selection not in known:
        raise ValueError(
            f"{name}.training.selection is {training.selection}, which {problem} does not "
            f"measure: set it to one of {', '.join(known)}"
        )


def _check_unsoftened(recipe: Recipe) -> None:
    """A window's slot stands for all units outside of it, summed up before anything is softened.

    The sum of softened masses is another one: what the slot learns would depend on where windows
    are cut.
    """
    for term in recipe.distillation.objective.loss_terms:
        if isinstance(term, SoftenedTerm) and term.temperature != 1.0:
            number = isinstance(term.temperature, float)
            told = f"of {term.temperature:g}" if number else "that follows a schedule"
            raise ValueError(
                f"distillation softens {term.title} by a temperature {told}, but of answers "
                "outside its window a student learns the teacher's summed probability, which has "
                "none: set distillation.temperature, or that of the term, to 1.0"
            )


def _check_target_rows(recipe: Recipe) -> None:
    """The student learns from rows in the target language where the report is about them.

    Floors learn from those rows, and so does what is said of labels that the teacher chose.
    """
    roles, target = recipe.distillation.train_on, recipe.target_language
    if recipe.problem not in _FLOORS_LEARN:
        return
    sources = recipe.corpus_config().sources
    if not any(
        one.role in roles and target in (one.language, one.parallel_language) for one in sources
    ):
        raise ValueError(
            f"no source has the role {' or '.join(roles)} and the language {target}, so the "
            "student would learn from no text in the language that it is tested in: add one to "
            "data.sources, or its role to distillation.train_on (baselines.zero_shot measures a "
            "student of source-language labels beside it)"
        )


def _check_pairs(recipe: Recipe) -> None:
    """Pairs are read apart by networks that are trained by themselves."""
    readers = {name: dict(section) for name, section in readers_of(recipe).items()}
    apart = [name for name, reader in readers.items() if reader["pairs"] == "apart"]
    beside = {
        "student.matching": recipe.student.matching,
        **{f"{name}.adversary": one.get("adversary") for name, one in readers.items()},
    }
    for name, value in beside.items():
        reader = name.rpartition(".")[0]
        # Both look at one vector a row; a bi-encoder has two. Layers are compared with the teacher.
        compares = reader in apart or (name == "student.matching" and "teacher" in apart)
        if value and compares:
            raise ValueError(
                f"{name} looks at one vector a row, but with pairs: apart there are two: leave "
                f"{name} out, or read pairs together"
            )


def unmeasured_gates(recipe: Recipe) -> dict[str, str]:
    """Fields of `registration.gates` that the report cannot answer, and what the recipe lacks."""
    lacks = {}
    vectors = recipe.problem == "sentence_embedding"
    if vectors and not recipe.baselines.linear:  # other problems have a floor that is not learned
        lacks["min_gain_over_floor"] = "scores no floor (baselines.linear)"
    if not recipe.baselines.pseudo_labels:
        why = ", as there are no labels" if vectors else " (baselines.pseudo_labels)"
        lacks["min_gain_over_no_kd"] = f"trains no student without distillation{why}"
    return lacks
