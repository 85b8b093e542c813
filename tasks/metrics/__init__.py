"""Measuring: pure functions of arrays, and a clock.

    labels, predictions ─► classification   precision, recall, F1, support; accuracy; confusions
    probabilities       ─► calibration      ECE and the bins of a reliability diagram
    examples            ─► statistics       sums a score is made of: one bootstrap serves all
    decided classes     ─► class_answers    their statistics, class table, confusions
    two systems         ─► intervals        bootstrap intervals of a difference or a ratio; p-values
                        ─► systems          answers → scores, comparisons, retention, groups
    a metric's name     ─► measures         the score of its sums

    tags of units       ─► entities         spans of characters; entity-level F1, per type
    start, end logits   ─► answer_spans     the best span, or none
    answers             ─► answer_texts     exact match and F1 by the language's rules
    sets of classes     ─► multilabel       F1, subset accuracy; thresholds from validation rows
    embeddings          ─► retrieval        accuracy@k, MRR
    graded similarity   ─► similarity       Spearman's and Pearson's correlation
    translations        ─► translation      BLEU and chrF++ with signatures
    summaries           ─► rouge            in any script
    any written text    ─► generation       distinct-n, repetition, length
    a text              ─► words            what counts as a word in any script
    signals, answers    ─► diagnostics      how far a student followed its teacher
    texts, labels       ─► floors           majority class and a linear TF-IDF classifier
                        ─► entity_floors, answer_floors, pair_floors
    a network           ─► cost             operations a text, milliseconds of the network alone
    texts, an answerer  ─► latency          p50, p95 and throughput of it, bounded in seconds

Nothing here reads files of a run, logs or trains a neural network.
"""
