"""What crosses a boundary: table contracts, artifact handles, and the exception tree.

    corpus.odcs.yaml ─ quarantine ─ tokens ─ teacher_signals ─ predictions     one ODCS file a table
    teacher_signals_seq2seq                                                where tokens have signals
    contracts.py   reads those files; tables.py: checks Arrow tables against them
    artifacts.py   Manifest, Artifact, RowCounts: the small typed handles that stages hand on
    errors.py      every error Decant raises on purpose, and which of them are worth a retry

This package lies under everything else: it imports pyarrow, pydantic and YAML, never a stage.
"""
