"""Ask a registered champion as any consumer does: with MLflow and its name, nothing of ours.

python infra/ask.py [--model quickstart-en-zh] [TEXT ...]
"""

import argparse
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
answers = model.predict(pd.DataFrame({"text": arguments.texts}))
for text, answer in zip(arguments.texts, answers.to_dict("records"), strict=True):
    print(f"{text} → {answer['label']} ({answer['score']:.0%})")
