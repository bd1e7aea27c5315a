"""A training that starts nothing beside itself: somebody else sends what it logs."""

import unitrack

with unitrack.init(config={"lr": 0.1}) as run:
    for step in range(100):
        run.log({"loss": 1 / (step + 1)}, step=step)
print(f"run {run.id}")
