"""Which fields of a recipe an encoder-decoder can use, and which of them go together.

What would stop a run after its teacher is trained, or be passed over, is refused when the recipe is
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows.recipe.checks.problem import check_selection
from flows.recipe.checks.tokenization import check_uses
from tasks.corpus.tokenizers.config import PretrainedTokenizer, Tokenizer
from tasks.modeling.encoder_decoder.config import PretrainedSeq2Seq, Seq2SeqShape
from tasks.problems import SEQ2SEQ_PROBLEMS
from tasks.training.optimization.config import TrainingConfig

if TYPE_CHECKING:
    from flows.recipe.seq2seq import Seq2SeqRecipe


def check_writers(recipe: Seq2SeqRecipe) -> None:
    """Refuse what the sections ask of models that write texts and they cannot do.

    Raises: ValueError saying what to change.
    """
    metrics = SEQ2SEQ_PROBLEMS[recipe.problem].metrics
    for name in ("teacher", "student"):
        training = dict(getattr(recipe, name))["training"]
        _check_training(name, training)
        check_selection(name, training, recipe.problem, metrics)
    _check_reading(recipe)
    _check_languages(recipe)
    _check_vocabularies(recipe)
    _check_targets(recipe)
    _check_similarity(recipe)
    _check_layers(recipe)
    _check_own_texts(recipe)


def with_decoding(values: Any) -> Any:
    """What a recipe's sections spell; those that say nothing of decoding have the problem's.

    Resolved once, where the recipe is read, so that its YAML and JSON forms say how texts are
    written.
    """
    problem = values.get("problem") if isinstance(values, Mapping) else None
    if not isinstance(problem, str) or problem not in SEQ2SEQ_PROBLEMS:
        return values  # refused where its fields are checked
    decoding = SEQ2SEQ_PROBLEMS[problem].decoding
    sections = {name: values[name] for name in ("teacher", "student") if name in values}
    return {
        **values,
        **{
            name: {"decoding": decoding, **section}
            for name, section in sections.items()
            if isinstance(section, Mapping)
        },
    }


def _check_training(name: str, training: TrainingConfig) -> None:
    """Refuse what training an encoder-decoder does not do: ignored, it would look as if it had."""
    fixed = {
        "trainable": "all",
        "class_weights": "none",
        "embedding_updates": ("auto", "dense"),
    }
    for field, value in fixed.items():
        allowed = value if isinstance(value, tuple) else (value,)
        if (given := getattr(training, field)) not in allowed:
            raise ValueError(
                f"{name}.training.{field} is {given}, but all weights of an encoder-decoder are "
                "trained, on tokens without classes: leave it out"
            )


def _check_reading(recipe: Seq2SeqRecipe) -> None:
    check_uses("teacher", dict(recipe.teacher), recipe.problem)


def _check_languages(recipe: Seq2SeqRecipe) -> None:
    """The report is about the source language for the teacher, and the student's for both."""
    tested = dict.fromkeys((recipe.source_language, recipe.target_language))
    if recipe.problem == "translation":
        tested = {recipe.source_language: None}
    if lacking := [language for language in tested if language not in recipe.languages]:
        raise ValueError(
            f"teacher.languages are {', '.join(recipe.languages)}, without {', '.join(lacking)}, "
            f"in which the report tests {recipe.problem}: add {', '.join(lacking)}, or leave "
            "the field out"
        )


def _check_vocabularies(recipe: Seq2SeqRecipe) -> None:
    """Weights that were trained elsewhere read the tokens that they were trained on."""
    own, lent = recipe.student.tokenizer, recipe.teacher.vocabulary
    teacher, student = (dict(one)["architecture"] for one in (recipe.teacher, recipe.student))
    field = "teacher" if own is None else "student"
    _check_vocabulary("teacher", teacher, lent, field="teacher", remedy="leave it out")
    remedy = f"set student.tokenizer to {{kind: pretrained, uri: {getattr(student, 'model', '')}}}"
    _check_vocabulary("student", student, own or lent, field=field, remedy=remedy)


def _check_vocabulary(
    name: str,
    start: Seq2SeqShape | PretrainedSeq2Seq,
    tokenizer: Tokenizer,
    *,
    field: str,
    remedy: str,
) -> None:
    if not isinstance(start, PretrainedSeq2Seq) or start.copies_teacher:
        return
    if not isinstance(tokenizer, PretrainedTokenizer):
        raise ValueError(
            f"{field}.tokenizer is {tokenizer.kind}, but {name}.architecture starts from the "
            f"weights of {start.model}, which know its own tokens alone: {remedy}"
        )


def _check_targets(recipe: Seq2SeqRecipe) -> None:
    """Signals are of the text that is learnt, and baselines of different texts."""
    asked, learnt = dict(recipe.teacher.signals)["targets"], recipe.distillation
    if asked != "gold" and learnt.targets == "gold" and learnt.compares_distributions:
        raise ValueError(
            f"distillation.targets is gold, but the teacher is asked about other texts "
            f"(teacher.signals.targets: {asked}), and its prediction of each token is learnt from "
            "(alpha above 0, or terms that compare distributions): set teacher.signals.targets to "
            "gold, distillation.targets to teacher, or alpha to 0"
        )
    rows = [
        source
        for source in recipe.corpus_config().sources
        if source.role in learnt.train_on and source.language in recipe.languages
    ]
    # Rows of the role train have targets throughout; of transfer rows without one the teacher's
    # own text is learnt, whatever it is asked about elsewhere.
    are_given = all(source.role == "train" for source in rows)
    both = recipe.baselines.pseudo_labels and recipe.baselines.no_kd
    if asked == "gold" and both and are_given:
        raise ValueError(
            "baselines.pseudo_labels learns the texts that the teacher was asked about, and those "
            "are the given ones (teacher.signals.targets: gold): it would be baselines.no_kd under "
            "another name; set baselines.pseudo_labels to false, or teacher.signals.targets to "
            "sequence or interpolation"
        )


def _check_similarity(recipe: Seq2SeqRecipe) -> None:
    """Of one text nothing is the closest: what compares several would be passed over."""
    signals = dict(recipe.teacher.signals)
    field = type(recipe.teacher.signals).model_fields["similarity"]
    if signals["targets"] != "interpolation" and signals["similarity"] != field.default:
        raise ValueError(
            f"teacher.signals.similarity is {signals['similarity']}, but with targets: "
            f"{signals['targets']} no hypotheses are compared: leave it out, or set targets to "
            "interpolation"
        )


def _check_layers(recipe: Seq2SeqRecipe) -> None:
    """A student keeps layers that its teacher has, as far as the recipe says what it has."""
    teacher, student = (dict(one)["architecture"] for one in (recipe.teacher, recipe.student))
    if not student.copies_teacher or isinstance(teacher, PretrainedSeq2Seq):
        return
    for field in ("encoder_layers", "decoder_layers"):
        wanted, available = getattr(student, field), getattr(teacher, field)
        needed = max(wanted) + 1 if isinstance(wanted, tuple) else (wanted or 0)
        if needed > available:
            is_list = isinstance(wanted, tuple)
            given = list(wanted) if is_list else wanted
            remedy = (
                f"choose among 0 to {available - 1}" if is_list else f"take {available} or less"
            )
            raise ValueError(
                f"student.architecture.{field} is {given}, but the teacher has {available} of "
                f"them: {remedy}"
            )


def _check_own_texts(recipe: Seq2SeqRecipe) -> None:
    """A teacher has positions for what a student writes, if it is asked about it or lends them."""
    teacher, student = dict(recipe.teacher), dict(recipe.student)
    is_asked = recipe.distillation.on_policy.share > 0
    if isinstance(teacher["architecture"], PretrainedSeq2Seq) or not (
        is_asked or student["architecture"].copies_teacher
    ):
        return
    written = student["decoding"].max_length_tokens
    room = max(
        teacher["max_length_tokens"],
        teacher["max_target_tokens"],
        teacher["decoding"].max_length_tokens,
    )
    if written > room:
        why = (
            "is asked about the student's texts (distillation.on_policy)"
            if is_asked
            else "gives the student its positions (student.architecture)"
        )
        raise ValueError(
            f"student.decoding.max_length_tokens is {written}, but the teacher, which {why}, has "
            f"{room} positions at most: set it to {room} or less, or "
            f"teacher.decoding.max_length_tokens to {written}"
        )
