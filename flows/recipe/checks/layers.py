"""Which layers of a student a recipe may compare with its teacher's, told before anything runs.

What the recipe says by itself is checked when it is read (`check_layers`); what its teacher's
config.json says, where that is on this machine, when it is to be run (`check_teacher_layers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_contracts.errors import RecipeError
from flows.recipe.checks.tokenization import WITHOUT_TEXT_VECTORS
from tasks.corpus.tokenizers.config import PretrainedTokenizer, TrainedTokenizer, TrimmedTokenizer
from tasks.modeling.backbones.known_shape import KnownShape, known_shape
from tasks.modeling.config import StaticArchitecture
from tasks.training.auxiliary.matching_config import AnyMatchingTerm, RelationTerm

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe


def check_layers(recipe: Recipe) -> None:
    """Refuse layer terms that compare what one of the two networks does not have.

    Raises: ValueError saying what to change.
    """
    terms = recipe.student.matching
    if not terms:
        return
    if not recipe.student.training.trains_encoder:
        raise ValueError(
            "student.matching is given with student.training.trainable: head: what is compared "
            "lies below the head and is frozen; leave one of them out"
        )
    over_texts = [term.title for term in terms if not term.reads_tokens]
    if recipe.problem in WITHOUT_TEXT_VECTORS and over_texts:
        raise ValueError(
            f"student.matching compares text vectors ({', '.join(over_texts)}), which networks of "
            f"{recipe.problem} do not have: compare tokens (token_mse, token_cosine, relations, "
            "attention), or leave them out"
        )
    shape = recipe.student.architecture
    for number, term in enumerate(terms):
        place = f"student.matching.{number} ({term.title})"
        if term.reads_tokens:
            _check_same_tokens(recipe, place)
        if isinstance(shape, StaticArchitecture) and term.reads_attention:
            raise ValueError(
                f"{place} compares attention, but a student with init: static has none: leave the "
                "term out"
            )
        if isinstance(shape, StaticArchitecture) and term.student_layers:
            raise ValueError(
                f"{place} compares layer {term.student_layers} of the student, but a static "
                "student has layer 0 alone: name pairs [0, n] of it and a layer n of the teacher"
            )
        if term.student_layers > shape.depth:
            raise ValueError(
                f"{place} needs {term.student_layers} layers of the student, which has "
                f"{shape.depth}: correct its layers"
            )
        # Not given, the width is that of the model it is cut out of.
        if isinstance(term, RelationTerm) and (shape.hidden_size or 0) % term.num_relation_heads:
            raise ValueError(
                f"student.matching.{number}.num_relation_heads is {term.num_relation_heads}, which "
                f"does not divide student.architecture.hidden_size {shape.hidden_size}: choose a "
                "divisor of it and of the teacher's width"
            )


def check_teacher_layers(recipe: Recipe) -> None:
    """Refuse layer terms that compare what the teacher does not have, if its shape is known here.

    Raises: RecipeError with the teacher's number of layers, or its width.
    """
    if not recipe.student.matching:
        return
    model = recipe.teacher_config().model
    teacher = known_shape(model)
    if teacher is None:
        return
    student = recipe.student.architecture.depth
    for number, term in enumerate(recipe.student.matching):
        _check_teacher(f"student.matching.{number}", term, student, teacher, model)


def _check_teacher(
    place: str, term: AnyMatchingTerm, student: int, teacher: KnownShape, model: str
) -> None:
    if teacher.num_layers is not None and term.teacher_layers > teacher.num_layers:
        raise RecipeError(
            f"{place} ({term.title}) needs {term.teacher_layers} layers of the teacher, but "
            f"{model} has {teacher.num_layers}",
            rule="layers are counted from 1 to the topmost; {last: k} needs k of both networks",
            remedy=f"correct {place}.layers, or choose a teacher of {term.teacher_layers} layers",
        )
    if teacher.num_layers is not None:
        try:
            term.pairs(student, teacher.num_layers)
        except RecipeError as error:
            fact = f"{place}: {error.fact} ({model})"
            raise RecipeError(fact, rule=error.rule, remedy=error.remedy) from None
    if isinstance(term, RelationTerm) and (teacher.width or 0) % term.num_relation_heads:
        raise RecipeError(
            f"{place}.num_relation_heads is {term.num_relation_heads}, which does not divide the "
            f"width {teacher.width} of the teacher {model}",
            rule="vectors of all heads are cut into pieces of one size, in both networks",
            remedy="choose a divisor of it and of the student's width",
        )


def _check_same_tokens(recipe: Recipe, term: str) -> None:
    """The student reads what the teacher reads: the same tokenizer, language and length."""
    rule = f"{term} compares tokens, so student and teacher must read the same ones"
    tokenizer, model = recipe.student.tokenizer, dict(recipe.teacher)["model"]
    same = PretrainedTokenizer(kind="pretrained", uri=model).uri
    if isinstance(tokenizer, TrainedTokenizer) or tokenizer.uri != same:
        named = tokenizer.kind
        if not isinstance(tokenizer, TrainedTokenizer):
            named = f"{named} from {tokenizer.uri}"
        raise ValueError(
            f"{rule}: the student's tokenizer is {named}, the teacher's that of {model}. Set "
            f"student.tokenizer to {{kind: trimmed, uri: {model}}} (or kind: pretrained), or "
            "compare texts (hidden_mse, cka, ...)"
        )
    if isinstance(tokenizer, TrimmedTokenizer) and tokenizer.vocab_size is not None:
        raise ValueError(
            f"{rule}: a tokenizer trimmed to vocab_size {tokenizer.vocab_size:,} may cut texts "
            "differently. Leave student.tokenizer.vocab_size out"
        )
    of_teacher, of_student = dict(recipe.teacher), dict(recipe.student)
    lengths = [section["max_length_tokens"] for section in (of_teacher, of_student)]
    if lengths[0] != lengths[1]:
        raise ValueError(
            f"{rule}: the teacher reads {lengths[0]} tokens of a text and the student "
            f"{lengths[1]}. Set max_length_tokens of both to one number"
        )
    strides = [section["window_stride_tokens"] for section in (of_teacher, of_student)]
    if strides[0] != strides[1]:
        theirs, own = ("not set" if stride is None else stride for stride in strides)
        raise ValueError(
            f"{rule}, window by window: student.window_stride_tokens is {own}, the teacher's "
            f"{theirs}. Give both the same"
        )
    for source in recipe.corpus_config().sources:
        if source.role not in recipe.distillation.train_on:
            continue
        offered = {source.language, source.parallel_language}
        read = [
            next((one for one in languages if one in offered), None)
            for languages in (recipe.teacher_languages, recipe.student_languages)
        ]
        if read[1] is not None and read[0] != read[1]:
            raise ValueError(
                f"{rule}: of source {source.name} the teacher reads the text in {read[0]}, the "
                f"student that in {read[1]}. Give a teacher that reads {read[1]} first "
                "(teacher.languages), leave the source out, or compare texts (hidden_mse, cka, ...)"
            )
