"""When things run: the pipeline of steps, the ways to walk it, and the `decant` command.

recipe.yaml ─► recipe_files.py ─► Recipe ─► pipeline.run_steps(recipe, step)      one line a step
                                                 │ step is one of
                   ┌─────────────────────────────┼──────────────────────────────┐
           running.Runner                running.Runner                 planning.Planner
           calls run_stage               calls a Prefect task           looks keys up, runs nothing
           (--no-orchestrator)           (distillation.distill)         (decant plan)

recipe_base.py   what every recipe has; recipe.py: of an encoder, seq2seq_recipe.py: of a model
                 that writes texts, whose steps are in seq2seq_pipeline.py; delivery.py: the last
                 steps of both
recipe_sections.py  sections of an encoder's recipe
recipe_text.py   a recipe that extends another; recipe_fields.py: what fields there are
fit/             whether the sections of a recipe fit one another, its data and its models
before_run.py    that, and what else is looked up before anything runs
several_teachers.py  teachers beside the first; mutual_steps.py: students that teach one another
side_by_side.py  small students in child processes, several at once
sharding.py      shards as Prefect tasks, in processes or on Ray
partial.py       one step with those it needs; for studies and designs
studies/         tuning: many students of one recipe, judged by its validation rows
design.py        what a student will cost, before it is trained (costs.py: what a network costs)
runs.py          what a recipe's steps used last, under <home>/runs: for `plan` and `status`
garbage.py       what `gc` may remove
results.py       tables of a report
console.py       progress and tables for a terminal, plain lines elsewhere
environment.py   variables that must stand before prefect, mlflow or transformers are imported
servers.py       Prefect's and MLflow's servers, for as long as a command runs
embedded.py      the small Prefect server of a single run
orphans.py       what a killed run left behind in Prefect's database
liveness.py      telling a running process from a killed one
deployment.py    a recipe as a served Prefect deployment
commands/        one module a command, imported only when it is called
"""
