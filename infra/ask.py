"""Ask the quickstart's champion two questions, as any consumer of the registry would."""

import mlflow
import pandas as pd

from tasks.serving.registry import tracking_uri

TEXTS = ["打开客厅的灯", "卧室现在多少度"]

mlflow.set_tracking_uri(tracking_uri())
model = mlflow.pyfunc.load_model("models:/quickstart-en-zh@champion")
answers = model.predict(pd.DataFrame({"text": TEXTS}))
for text, answer in zip(TEXTS, answers.to_dict("records"), strict=True):
    print(f"{text} → {answer['label']} ({answer['score']:.0%})")
