"""How steps run: under Prefect, without it, in processes, on servers, on a schedule.

In: a list of steps. Out: their artifacts, a report of each step, a plan before any of it.
Prefect is imported here, in the flows themselves and in `tasks.policies` alone.
"""
