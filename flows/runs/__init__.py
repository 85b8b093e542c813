"""What is kept of runs: pointers to their artifacts, results, who is alive, what may be deleted.

In: a store and a run's name. Out: paths and figures for `status`, `report`, `gc`, `rollback`.
"""
