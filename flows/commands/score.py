"""`decant score`: answer a file of texts with a registered or exported student."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flows.console import listening, seconds_text
from flows.environment import prepare_environment, quieten, stay_offline


def score(
    model: str,
    source: str,
    output: Path,
    *,
    text_column: str | None = None,
    second_column: str | None = None,
    id_column: str | None = None,
    format_: Annotated[
        Literal["parquet", "jsonl", "csv", "tsv"] | None, Parameter(name="--format")
    ] = None,
    variant: Literal["onnx_int8", "safetensors"] = "onnx_int8",
    probabilities: Annotated[bool, Parameter(negative="")] = False,
    max_unscored_rate: float = 1.0,
) -> None:
    """Answer a file of texts with a student; writes Parquet with its answers or a reason.

    Answers are labels and scores, entities with their places in the text, or stretches of a
    context, as the student's problem is. Every row of the input is a row of the output; one that
    cannot be scored (null or empty text, a broken line) has no answer but a reason. Memory does not
    grow with the file, and a run that is killed leaves the output as it was.

    Parameters
    ----------
    model
        models:/name@champion, models:/name/3, or the folder of an exported student.
    source
        File, folder or glob: Parquet, JSON lines, CSV or TSV, also s3:// and hf://datasets/...
    output
        Parquet file to write.
    text_column
        Column of the texts, `text` if none is given (`context`, for question answering).
    second_column
        Column of what is read with each text: `text_b` (matching) or `question`.
    id_column
        Column to copy into the output as `id`, to join answers by; without it: file and line.
    format_
        How the input is written, if its name does not tell.
    variant
        onnx_int8 is faster on a CPU; safetensors is the evaluated network, on the GPU if any.
    probabilities
        Classifiers write the probability of every class too.
    max_unscored_rate
        Write nothing and fail if a larger share of rows cannot be scored.
    """
    prepare_environment()
    quieten()
    if not source.startswith("hf://"):
        stay_offline()
    from tasks.serving.delivered import delivered_model
    from tasks.serving.scoring import ScoringConfig
    from tasks.serving.scoring import score as score_texts

    config = ScoringConfig(
        variant=variant,
        text_column=text_column,
        second_column=second_column,
        id_column=id_column,
        file_format=format_,
        probabilities=probabilities,
        max_unscored_rate=max_unscored_rate,
    )
    with listening() as listener, delivered_model(model) as folder:
        progress = listener.step_started("score")
        report = score_texts(folder, source, output, config, progress=progress)
    print(
        f"{output}: {report.num_scored:,} of {report.num_rows:,} rows scored in "
        f"{seconds_text(report.seconds)}, {report.texts_per_second:,.0f} texts/s"
    )
    if report.num_truncated:
        print(f"  {report.num_truncated:,} texts were cut at the student's length")
    for reason, count in report.unscored.items():
        print(f"  {count:,} without an answer: {reason}")
