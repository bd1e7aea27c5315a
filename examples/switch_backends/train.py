"""Train with no word of any tracker: which one sees the run is configuration.

python train.py                                        # the local journal only
cp with-mlflow.toml unitrack.toml && python train.py   # and MLflow, the file untouched
"""

import math

import unitrack


def main():
    with unitrack.init(config={"learning_rate": 0.3}) as run:
        for step in range(30):
            run.log({"loss": math.exp(-run.config.learning_rate * step)}, step=step)
    print(f"run {run.id}")


if __name__ == "__main__":
    main()
