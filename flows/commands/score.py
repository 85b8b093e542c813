"""`decant score`: answer a file of texts with a registered or exported student."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from data_contracts.errors import UserError
from flows.console.options import Count, Flag, Share
from flows.console.progress import listening, seconds_text
from flows.orchestration.environment import prepare_environment, quieten, stay_offline
from flows.orchestration.servers import find_prefect_api

if TYPE_CHECKING:
    from flows.orchestration.runner import Listener
    from tasks.serving.scoring.scoring import ScoringConfig, ScoringReport

_SHARD_ROWS = 100_000


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
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    probabilities: Flag = False,
    max_unscored_rate: Share = 1.0,
    rows_per_shard: int | None = None,
    shards_on: Literal["here", "processes", "ray"] = "here",
    workers: Count | None = None,
) -> None:
    """Answer files of texts with a student; writes Parquet with its answers or a reason.

    Answers are labels and scores, entities with their places in the text, or stretches of a
    context, as the student's problem is; students that write texts are asked through MLflow. Every
    row of the input is a row of the output; one that cannot be scored (null or empty text, a broken
    line) has no answer but a reason. Memory does not grow with the file, and a run that is killed
    leaves the output as it was.

    With --rows-per-shard or --shards-on the files are scored shard by shard, and OUTPUT is a folder
    of Parquet files with the same rows. A finished shard is kept in the store: the same command
    goes on after a kill, and a new file is scored alone.

    Parameters
    ----------
    model
        models:/name@champion, models:/name/3, or the folder of an exported student.
    source
        File, folder or glob: Parquet, JSON lines, CSV or TSV, also s3:// and hf://datasets/...
    output
        Parquet file to write; a folder, if in shards.
    text_column
        Column of the texts. Default: text; for question answering, context.
    second_column
        Column of what is read with each text. Default: text_b for matching, question for question
        answering.
    id_column
        Column to copy into the output as id, to join answers by. Default: none, there are file and
        line in its place.
    format_
        How the input is written. Default: as its name ends.
    variant
        onnx_int8 is faster on a CPU; safetensors is the evaluated network, on the GPU if any.
    precision
        Arithmetic of safetensors; auto is bf16 where the hardware multiplies it natively.
    probabilities
        Classifiers write the probability of every class too. Default: the answer and its score.
    max_unscored_rate
        Write nothing and fail if a larger share of rows (0 to 1) cannot be scored; 1: never.
    rows_per_shard
        Rows after which a shard ends, rounded up to whole batches of 8,192 rows. A shard ends with
        its file. Default: 100,000 if --shards-on is given, otherwise there are no shards.
    shards_on
        Where shards are scored: here, in processes of this machine, or on the Ray cluster of
        RAY_ADDRESS (or one started here). Changes no answer.
    workers
        Cores, for processes. Default: all. Changes no answer.
    """
    _refuse_empty(
        {
            "MODEL": model,
            "SOURCE": source,
            "--text-column": text_column,
            "--second-column": second_column,
            "--id-column": id_column,
        }
    )
    if output == Path():
        raise UserError(
            "OUTPUT is empty, or the working directory",
            rule="scores replace, as a whole, what OUTPUT names",
            remedy="name a file, or for shards a folder of its own; check the variable if one does",
        )
    prepare_environment()
    quieten()
    if not source.startswith("hf://"):
        stay_offline()
    from tasks.serving.scoring.scoring import ScoringConfig

    config = ScoringConfig(
        variant=variant,
        text_column=text_column,
        second_column=second_column,
        id_column=id_column,
        file_format=format_,
        probabilities=probabilities,
        precision=precision,
        max_unscored_rate=max_unscored_rate,
    )
    with listening() as listener:
        if rows_per_shard is None and shards_on == "here":
            report = _in_one_piece(model, source, output, config, listener)
        else:
            rows = _SHARD_ROWS if rows_per_shard is None else rows_per_shard
            report = _in_shards(
                model, source, output, config, listener, rows, shards_on=shards_on, workers=workers
            )
    print(
        f"{output}: {report.num_scored:,} of {report.num_rows:,} rows scored in "
        f"{seconds_text(report.seconds)}, {report.texts_per_second:,.0f} texts/s"
    )
    if report.num_truncated:
        print(f"  {report.num_truncated:,} texts were cut at the student's length")
    for reason, count in report.unscored.items():
        print(f"  {count:,} without an answer: {reason}")


def _refuse_empty(given: dict[str, str | None]) -> None:
    """Raise UserError for an empty text: as a path it would be the working directory."""
    empty = [name for name, value in given.items() if value is not None and not value.strip()]
    if empty:
        raise UserError(
            f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty",
            rule="models, sources and columns have a name; a shell gives an empty one for a "
            "variable that is not set",
            remedy="check the variable" + ("" if empty[0].isupper() else ", or leave it out"),
        )


def _in_one_piece(
    model: str, source: str, output: Path, config: ScoringConfig, listener: Listener
) -> ScoringReport:
    from tasks.serving.bundle.delivered import delivered_model
    from tasks.serving.scoring.scoring import score as score_texts

    with delivered_model(model) as folder:
        progress = listener.step_started("score")
        return score_texts(folder, source, output, config, progress=progress)


def _in_shards(
    model: str,
    source: str,
    output: Path,
    config: ScoringConfig,
    listener: Listener,
    rows_per_shard: int,
    *,
    shards_on: Literal["here", "processes", "ray"],
    workers: int | None,
) -> ScoringReport:
    if rows_per_shard < 1:
        raise UserError(
            f"--rows-per-shard is {rows_per_shard}",
            rule="a shard has at least one row",
            remedy="give for instance 100000",
        )
    if shards_on == "here":
        from flows.orchestration.scoring import score_in_shards

        return score_in_shards(model, source, output, config, rows_per_shard=rows_per_shard)
    listener.say("starting Prefect")
    wait_until_up = find_prefect_api()
    from flows.scoring import score as score_flow

    wait_until_up()
    return score_flow(
        model,
        source,
        str(output),
        config,
        rows_per_shard=rows_per_shard,
        shards_on=shards_on,
        workers=workers,
    )
