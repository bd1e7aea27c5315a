"""Log from a plain Python loop, without any machine learning package: a line fitted by gradient descent.

python train.py
"""

import random

import unitrack


def main():
    rng = random.Random(0)
    points = [(x, 2.0 * x + 1.0 + rng.gauss(0, 0.1)) for x in (rng.uniform(-1, 1) for _ in range(200))]
    with unitrack.init("line", config={"learning_rate": 0.1, "epochs": 50}) as run:
        run.define_metric("loss", goal="minimize", summary="min")
        slope = intercept = 0.0
        for epoch in range(run.config.epochs):
            errors = [(slope * x + intercept - y, x) for x, y in points]
            slope -= run.config.learning_rate * sum(2 * e * x for e, x in errors) / len(points)
            intercept -= run.config.learning_rate * sum(2 * e for e, _ in errors) / len(points)
            run.log({"loss": sum(e * e for e, _ in errors) / len(points), "slope": slope}, step=epoch)
        run.log_histogram("residuals", [e for e, _ in errors], step=epoch)
        run.summary["equation"] = f"y = {slope:.3f} x + {intercept:.3f}"
    print(f"run {run.id}: {run.summary['equation']}")


if __name__ == "__main__":
    main()
