"""Under every stage: keys, the artifact store, locks, and `run_stage`.

In: a stage, its configuration and inputs. Out: a published artifact, or the one already there.
No prefect, no mlflow: the same path serves `decant run --no-orchestrator`.
"""
