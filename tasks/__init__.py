"""What happens: stages, and the core they stand on. Nothing here knows when things run.

    raw row → corpus/* → ingestion → tokenization → teacher → teacher_signals → distillation
            → export → evaluation → registration
                     └→ adaptation: an encoder reads on before it becomes a teacher or a student

Where the answer is a text, `seq2seq_teacher`, `seq2seq_signals` and `seq2seq_student` stand in for
the three stages in the middle; they leave artifacts of the same names.

    teacher_signals of several teachers → combined_signals → distillation
    tokens of several students → mutual (in place of distillation: they teach one another)

A stage module holds three things of one shape: `Config` (frozen, what defines its result),
`VERSION`, and one function `(config, inputs, workspace) -> StageSummary`, bound as `STAGE`.
Stages never import each other; they meet through the artifacts laid out in each module's docstring.
`policies.py` makes a stage or a shard a Prefect task.

Importing a stage module is cheap (no torch, transformers, prefect, mlflow): those are imported
inside the function, so that `decant plan` can compute every key in well under a second.
"""
