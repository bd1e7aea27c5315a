"""Train a classifier of flowers as an MLflow Project, and keep it as an MLflow Model with signature and flavour.

mlflow run . --env-manager=local -P seed=0
"""

import argparse
import os
import tempfile
from pathlib import Path

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

import unitrack


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=float, default=0)  # MLflow Projects has no whole numbers
    parser.add_argument("--strength", type=float, default=1.0)
    arguments = parser.parse_args()
    data = load_iris(as_frame=True)
    train_x, test_x, train_y, test_y = train_test_split(data.data, data.target, test_size=0.4, random_state=0)
    with unitrack.init("flowers", config={"seed": int(arguments.seed), "strength": arguments.strength}) as run:
        run.capture("mlflow", {"run_id": os.environ.get("MLFLOW_RUN_ID")})
        run.log_dataset(train_x, name="flowers", split="train")
        rows = train_x.sample(frac=0.8, random_state=run.config.seed)
        model = LogisticRegression(C=run.config.strength, max_iter=1000).fit(rows, train_y[rows.index])
        run.log({"accuracy": accuracy_score(test_y, model.predict(test_x))})
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            signature = mlflow.models.infer_signature(test_x, model.predict(test_x))
            mlflow.sklearn.save_model(
                model, folder, signature=signature, input_example=test_x.head(2), pip_requirements=[]
            )
            run.log_model(folder, name="flowers")
    print(f"run {run.id}: {run.path}")


if __name__ == "__main__":
    main()
