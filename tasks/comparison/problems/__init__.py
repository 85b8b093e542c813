"""One file a problem type: which rows are compared, what each system answers, which floors it has.

    classification.py          one of C classes: labels, softmax confidences, linear floors

`COMPARED` picks the class by the recipe's `problem`; its interface is `tasks.comparison.problem`.
"""

from __future__ import annotations

from collections.abc import Callable

from tasks.comparison.material import Material
from tasks.comparison.problem import ComparedProblem, Settings
from tasks.comparison.problems.classification import TextClassification

COMPARED: dict[str, Callable[[Material, Settings], ComparedProblem]] = {
    "text_classification": TextClassification,
}
