"""One engine for all training: teacher, student, and every baseline.

    tokens (+ teacher signals)
       │ mapped_examples.py  Parquet → flat files that are mapped (examples.py: what
       │                     they are, and their tensors; ragged.py: ids in one buffer)
       │ signal_join.py      signals joined by example id, never by position
       ▼
    order.py              each epoch a permutation, sorted by length inside windows
    batches.py            which examples form step s: a pure function of (seed, epoch, lengths)
    language_sampling.py  which rows an epoch reads, if rare languages are to be seen more often
    layouts.py            padded, bucketed, packed; layout_choice.py: which is fastest here
    passes.py             the tensors of each pass of a step (packing.py: where packed texts lie)
    prefetching.py        laid out by a thread, ahead of the device
       ▼
    losses/               pure functions of tensors; projections.py bridges widths for them
    objectives.py         the sum of weighted terms; objective_config.py: as the recipe lists them
    schedules.py          weights and temperatures that move over the steps
    unit_distributions.py answers over the units of a text as answers over classes
    sequence_losses.py    the same a token, from sparse signals; vocabulary_chunks.py: over large
                          vocabularies, chunk by chunk
    class_weights.py      what a hard label of each class counts
       ▼
    optimization.py       AdamW groups, warm-up and decay; row_updates.py: embeddings by rows
       ▼
    stepping.py           one step in as many passes as memory asks for; compilation.py, and the
                          loss terms with it: fused_objective.py
    loop.py               steps, validation, early stopping, exact resume through checkpoints.py
    fitting.py            all of it for a stage: rows → a model folder; config.py: its recipe fields
    mutual.py             networks that teach one another: their rows, their objective
    mutual_fitting.py     fitting.py for them, and a teacher's drift; mutual_config.py
    companions.py         a student and what is trained beside it, as one network that reads once
    companion_objective.py  the task's terms plus those of all companions; their shares
    ema.py                a student beside the running average of itself; ema_config.py
    inference.py          logits of many texts, in row order
    diagnostics.py        what goes wrong without an error: figures at validations, warnings
    gradient_shares.py    how much each loss term pulls
    evaluation_mode.py    a network that is asked between two steps, and goes on as it was
    precision_probe.py    what bf16 is worth on this processor, for the record

    mapped_texts.py       unlabelled texts → flat files that are mapped, with their words
    masked_texts.py       some words of them hidden, by (seed, step)
    masked_language.py    objective, scores and folder of an encoder that reads them
    adversary.py          a classifier of languages or domains that the encoder learns to mislead;
                          adversary_config.py: its recipe fields
    layer_matching.py     layers of the student against those of the teacher, which reads beside it;
                          layer_views.py: what is read out of a layer; projections.py: bridges of
                          widths; matching_config.py: recipe fields
    token_alignment.py    whether both read the same tokens, which some of these terms need
    student_backbone.py   the encoder that a student starts from

    seq2seq_tokens.py     encoder-decoders: sizes and end mark of what they read
    seq2seq_mapping.py    their rows on disk: sources, targets, signals → seq2seq_examples.py
    seq2seq_init.py       a network before its first step; seq2seq_objective.py: its loss
    sequence_objective_config.py  terms of that loss as the recipe lists them
    seq2seq_fitting.py    all of it for a stage; seq2seq_asking.py: a teacher's texts and opinions
    sequence_probe.py     how much each term pulls, at validations
    writing.py            texts for many sources

    teacher_opinions.py   several teachers' signals side by side
    combined_thresholds.py  what decides beside the largest logit of their mean
    teacher_averaging.py  and as one
    teacher_languages.py  what they count by how near their languages are: language_similarity.py,
                          by cosines, language_identification.py, as a trained identifier has it

    token_signals.py      what a seq2seq teacher says of each token: k likeliest and the rest
    topk_signals.py       the same in few bytes, for Parquet
    sequence_targets.py   which of the texts a teacher writes a student learns
    on_policy.py          steps that learn from texts the student wrote itself

    distributed.py        one step over several processes: DDP or FSDP2, the gradient of one process
    launching.py          torchrun around a stage's function; ranks.py is what each process runs
    pass_terms.py         losses over the texts of a pass, which processes would share out

Nothing here knows a tracker or an orchestrator; progress goes to a listener.
"""
