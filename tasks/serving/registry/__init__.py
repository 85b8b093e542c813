"""MLflow: databases, versions, aliases, gates, lineage, tracked runs.

In: a bundle and a report. Out: a version, the alias `champion`, and a record of each change.
"""
