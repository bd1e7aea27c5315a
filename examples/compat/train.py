"""A script written for W&B: only its import says that it logs through unitrack now."""

import random

import unitrack.compat.wandb as wandb  # noqa: PLR0402 - the one line that changes

with wandb.init(project="line", config={"learning_rate": 0.3, "epochs": 20}, tags=["example"]) as run:
    wandb.define_metric("loss", goal="minimize", summary="min")
    points = [(x / 10, 2 * x / 10 + 1 + random.Random(x).gauss(0, 0.01)) for x in range(10)]
    slope = offset = 0.0
    for _ in range(wandb.config.epochs):
        errors = [(slope * x + offset - y, x) for x, y in points]
        slope -= wandb.config.learning_rate * sum(2 * error * x for error, x in errors) / len(points)
        offset -= wandb.config.learning_rate * sum(2 * error for error, _ in errors) / len(points)
        wandb.log({"loss": sum(error**2 for error, _ in errors) / len(points)}, commit=False)
        wandb.log({"slope": slope, "offset": offset})
    wandb.log({"fit": wandb.Table(columns=["x", "y", "fitted"], data=[[x, y, slope * x + offset] for x, y in points])})
    run.summary["equation"] = f"y = {slope:.2f} x + {offset:.2f}"
print(f"run {run.id}: {run.summary['equation']}")
