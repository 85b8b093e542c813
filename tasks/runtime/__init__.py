"""The ground under every stage: keys, the artifact store, locks, and `run_stage`.

    fingerprint.py   values → canonical JSON → SHA-256
    locations.py     URI of a model or source → local path, and a digest of its content
    listings.py      what lies behind a URI, listed once while a stage runs
    remote_files.py  files of object stores and of the hub → one copy of each here
    artifacts.py     ArtifactStore: look up, verify, publish
    checkpoints      live in `Workspace.work`, which survives a kill (see stages.py)
    locks.py         one writer a key, released by the kernel when its holder dies
    stages.py        Stage, Workspace, run_stage: the one path by which anything is computed
    shards.py        parts of a stage as artifacts of their own, built here or elsewhere
    children.py      stages in child processes, side by side
    progress.py      what a stage reports while it runs
    disk_errors.py   a full or failing disk, told as one
    redaction.py     secrets out of logs, errors and tracked parameters
    device.py        which device and precision this machine gives, and how many processes
    cpu_quota.py     how many cores a container's quota pays for
    seeding.py       independent random streams from one seed

No prefect, no mlflow: the same path serves `decant run --no-orchestrator`.
"""
