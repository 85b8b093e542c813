"""The recipe: one model of a whole run, as a YAML file, as command-line settings, as a form.

In: YAML and `--set` values. Out: a checked, frozen `Recipe`, or one refusal with a remedy.
`loading/` reads files, `checks/` compare the sections of a recipe with one another.
"""
