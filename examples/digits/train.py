"""Train a classifier of handwritten digits, epoch by epoch, and log all that a reviewer would ask for.

python train.py --seed 0
"""

import argparse
import pickle
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # figures are logged, not shown

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, f1_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import unitrack


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    return parser.parse_args()


def load_data():
    digits = load_digits()
    images, labels = digits.data / 16.0, digits.target
    return digits.feature_names, *train_test_split(images, labels, test_size=0.4, random_state=0, stratify=labels)


def log_data(run, features, images, labels, split):
    table = np.column_stack([images, labels])
    about = {"timestamp": "1998-07-01", "source": "UCI, handwritten digits"}
    run.log_dataset(table, name="digits", split=split, columns=[*features, "label"], metadata=about, keep=True)


def evaluate(model, images, labels):
    chances = model.predict_proba(images)
    predicted = chances.argmax(axis=1)
    return {
        "val/loss": log_loss(labels, chances, labels=np.arange(10)),
        "val/accuracy": accuracy_score(labels, predicted),
        "val/f1": f1_score(labels, predicted, average="macro"),
    }


def draw_confusion(model, images, labels):
    figure, axes = plt.subplots(figsize=(5, 5))
    ConfusionMatrixDisplay.from_predictions(labels, model.predict(images), ax=axes, colorbar=False)
    axes.set_title("digits mistaken for others")
    return figure


def main():
    arguments = read_arguments()
    features, train_images, val_images, train_labels, val_labels = load_data()
    with unitrack.init("digits", config=arguments) as run:
        run.define_metric("val/accuracy", goal="maximize")
        run.define_metric("val/loss", goal="minimize", summary="min")
        log_data(run, features, train_images, train_labels, "train")
        log_data(run, features, val_images, val_labels, "validation")

        model = MLPClassifier(
            (arguments.hidden,), solver="sgd", momentum=0.9, batch_size=32, alpha=1e-4,
            learning_rate_init=arguments.learning_rate, random_state=arguments.seed,
        )  # fmt: skip
        for epoch in range(arguments.epochs):
            model.partial_fit(train_images, train_labels, classes=np.arange(10))
            run.log({"train/loss": model.loss_, **evaluate(model, val_images, val_labels)}, step=epoch)

        figure = draw_confusion(model, val_images, val_labels)
        run.log_figure("confusion", figure, step=arguments.epochs - 1)
        plt.close(figure)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.pkl"
            path.write_bytes(pickle.dumps(model))
            run.log_model(path, name="model.pkl", metadata={"inputs": features})
    print(f"run {run.id}: {run.path}")


if __name__ == "__main__":
    main()
