"""Say how good a model is that `train.py` kept: any model of MLflow's, by its folder or `models:/` address."""

import sys

import mlflow
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score


def main():
    data = load_iris(as_frame=True)
    print(f"accuracy {accuracy_score(data.target, mlflow.pyfunc.load_model(sys.argv[1]).predict(data.data)):.3f}")


if __name__ == "__main__":
    main()
