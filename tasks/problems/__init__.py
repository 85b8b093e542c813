"""One file a problem type: what a row is, how a model is built for it, scored and read out.

    text_classification.py    one text → one of C classes

A recipe's `problem` picks the module from `PROBLEMS`; adding a type is one file and one line here.
"""

from tasks.problems import text_classification

PROBLEMS = {text_classification.NAME: text_classification}
