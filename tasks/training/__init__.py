"""One engine for all training: teacher, student, and every baseline.

    tokens (+ teacher signals)
       ▼
    batching/             rows of Parquet → mapped rows → steps → the tensors of a pass
       ▼
    losses/               pure functions of tensors
    objectives.py         the sum of weighted terms; objective_config.py: as the recipe lists them
    schedules.py          weights and temperatures that move over the steps
    unit_distributions.py answers over the units of a text as answers over classes
    class_weights.py      what a hard label of each class counts
    pass_terms.py         losses over the texts of a pass, which processes would share out
       ▼
    optimization.py       AdamW groups, warm-up and decay; row_updates.py: embeddings by rows
    stepping.py           one step in as many passes as memory asks for; compilation.py, and the
                          loss terms with it: fused_objective.py
    loop.py               steps, validation, early stopping, exact resume through checkpoints.py;
                          meter.py: means of loss terms for the history
    fitting.py            all of it for a stage: rows → a model folder; config.py: its recipe fields
    held_out.py           the labelled rows that choose the step
    student_backbone.py   the encoder that a student starts from
    inference.py          logits of many texts, in row order
    diagnostics.py        what goes wrong without an error: figures at validations, warnings
    gradient_shares.py    how much each loss term pulls
    evaluation_mode.py    a network that is asked between two steps, and goes on as it was
    precision_probe.py    what bf16 is worth on this processor, for the record

    several_teachers/     their opinions as those of one
    companions/           what is trained beside a student: layers compared, adversary, average
    peers/                networks that teach one another
    adaptation/           reading on in unlabelled text
    sequences/            networks that write texts: rows, signals, losses, fitting
    processes/            one training in several processes

Nothing here knows a tracker or an orchestrator; progress goes to a listener.
"""
