"""Log from many processes into one run: four spawned workers share the work of one training.

    python train.py

Each process writes a journal of its own; readers see one run.
"""

import multiprocessing

import unitrack


def simulate(run, worker):
    """Run in a process of its own: a pickled run joins as one more writer."""
    with run:
        for step in range(100):
            run.log({f"worker-{worker}/reward": (step * (worker + 1)) ** 0.5}, step=step)


def main():
    context = multiprocessing.get_context("spawn")
    with unitrack.init("workers", config={"workers": 4}) as run:
        workers = [context.Process(target=simulate, args=(run, number)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    view = unitrack.get_run(run.id)
    print(f"run {view.id}: {len(view.writers)} writers, {sum(info.count for info in view.metrics.values())} points")


if __name__ == "__main__":
    main()
