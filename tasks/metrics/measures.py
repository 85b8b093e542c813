"""Primary metrics by name: who reads statistics of another run finds their score here."""

from __future__ import annotations

from tasks.metrics.class_answers import ACCURACY
from tasks.metrics.statistics import Measure

PRIMARY: dict[str, Measure] = {measure.name: measure for measure in (ACCURACY,)}
