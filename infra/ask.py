"""Ask a registered champion as any consumer does: with MLflow and its name, nothing of ours.

python infra/ask.py [--model quickstart-en-zh] [TEXT ...]

A model that reads several texts at once (question and context, text and text_b) takes them in turn,
in the order of its signature.
"""

import argparse
import json
import os
from pathlib import Path

import mlflow
import pandas as pd

parser = argparse.ArgumentParser(description="Ask the champion of a registered model.")
parser.add_argument("--model", default="quickstart-en-zh", help="registered name")
parser.add_argument("texts", nargs="*", default=["打开客厅的灯", "卧室现在多少度"], metavar="TEXT")
arguments = parser.parse_args()

home = Path(os.environ.get("DECANT_HOME", ".decant")).absolute()
mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}")
model = mlflow.pyfunc.load_model(f"models:/{arguments.model}@champion")
columns = model.metadata.get_input_schema().input_names()
if len(arguments.texts) % len(columns):
    parser.error(f"this model reads {len(columns)} texts at once: {', '.join(columns)}")
asked = [
    arguments.texts[start : start + len(columns)]
    for start in range(0, len(arguments.texts), len(columns))
]
answers = model.predict(pd.DataFrame(asked, columns=columns)).to_dict("records")
for texts, answer in zip(asked, answers, strict=True):
    if "label" in answer:
        said = f"{answer['label']} ({answer['score']:.0%})"
    else:
        said = json.dumps(answer, ensure_ascii=False, default=float)
    print(f"{' | '.join(texts)} → {said}")
