"""Train a classifier of handwritten digits; in CI this runs in a container that has no network.

python train.py --seed 0
"""

import argparse
import pickle
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import unitrack

HIDDEN = 64
SCALE = 16.0
EPOCHS = 12


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / SCALE, labels, test_size=0.4, random_state=0, stratify=labels)
    train_images, test_images, train_labels, test_labels = parts
    with unitrack.init("digits", config={"seed": seed, "hidden": HIDDEN, "scale": SCALE, "epochs": EPOCHS}) as run:
        run.log_dataset(np.column_stack([test_images, test_labels]), name="digits", split="test")
        model = MLPClassifier((HIDDEN,), solver="sgd", batch_size=32, learning_rate_init=0.02, random_state=seed)
        for epoch in range(EPOCHS):
            model.partial_fit(train_images, train_labels, classes=np.arange(10))
            chances = model.predict_proba(test_images)
            accuracy = accuracy_score(test_labels, chances.argmax(axis=1))
            run.log({"test/accuracy": accuracy, "test/loss": log_loss(test_labels, chances)}, step=epoch)
        Path("model.pkl").write_bytes(pickle.dumps(model))
        run.log_model("model.pkl", name="model.pkl")


if __name__ == "__main__":
    main()
