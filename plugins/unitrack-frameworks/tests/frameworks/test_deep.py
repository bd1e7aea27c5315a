"""Lightning, Transformers, Accelerate and Keras for real, on the CPU, with models made here."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import accelerate
import keras
import lightning
import numpy as np
import pytest
import torch
import transformers
from torch.utils.data import DataLoader, TensorDataset

import unitrack
from unitrack_frameworks.accelerate import UnitrackTracker
from unitrack_frameworks.keras import UnitrackCallback as KerasCallback
from unitrack_frameworks.lightning import UnitrackLogger
from unitrack_frameworks.transformers import UnitrackCallback as TransformersCallback

pytestmark = pytest.mark.filterwarnings("ignore")  # frameworks warn on their own account


def only():
    (view,) = unitrack.runs()
    return view


def points(view, name):
    found = view.series(name)
    return list(found.steps), list(found.values)


# -- Lightning -----------------------------------------------------------------------------------


class Line(lightning.LightningModule):
    def __init__(self, lr=0.1, fails=False):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, _):
        if self.hparams.fails:
            raise RuntimeError("out of luck")
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch, _):
        self.log("val/loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def test_step(self, batch, batch_idx):
        self.log("test/loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


def loader():
    torch.manual_seed(0)
    x = torch.randn(32, 3)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)


def trainer(logger, **options):
    fixed = {"max_epochs": 2, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 1, "enable_progress_bar": False}
    return lightning.Trainer(logger=logger, enable_model_summary=False, **{**fixed, **options})


def test_lightning_logs_metrics_at_its_steps_hyperparameters_and_checkpoints():
    logger = UnitrackLogger(project="line", log_model=True)
    trainer(logger).fit(Line(), loader(), loader())
    view = only()
    assert (view.status, view.project, view.id) == ("finished", "line", logger.version or view.id)
    assert points(view, "loss")[0] == list(range(8))
    assert points(view, "val/loss")[0] == [3, 7]
    assert view.params["lr"] == 0.1
    assert {one.kind for one in view.artifacts} == {"model"}
    assert "best" in {alias for one in view.artifacts for alias in one.aliases}


def test_a_test_after_the_fit_goes_into_the_same_run():
    logger = UnitrackLogger(project="line")
    with_it = trainer(logger)
    model = Line()
    with_it.fit(model, loader(), loader())
    with_it.test(model, loader())
    view = only()
    assert view.status == "finished"
    assert {"loss", "val/loss", "test/loss"} <= set(view.metrics)


def test_a_training_that_fails_is_failed():
    with pytest.raises(RuntimeError):
        trainer(UnitrackLogger(project="line")).fit(Line(fails=True), loader())
    assert only().status == "failed"


def test_a_run_that_is_open_is_logged_into_and_left_open():
    with unitrack.init(id="mine") as run:
        logger = UnitrackLogger(run=run)
        trainer(logger).fit(Line(), loader(), loader())
        assert logger.experiment is run
        assert unitrack.current() is run
    assert only().id == "mine"


def test_a_run_and_how_to_begin_one_are_not_both_taken():
    with unitrack.init() as run, pytest.raises(TypeError, match="give a run, or what a new one is begun with"):
        UnitrackLogger(run=run, project="x")


# -- Transformers --------------------------------------------------------------------------------


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, at):
        generator = torch.Generator().manual_seed(at)
        ids = torch.randint(0, 50, (8,), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor(at % 2)}


def hugging_face(tmp_path, callback, **options):
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=6, logging_steps=2, eval_strategy="steps", eval_steps=3,
        report_to="none", use_cpu=True, per_device_train_batch_size=4, disable_tqdm=True, save_strategy="no", **options,
    )  # fmt: skip
    return transformers.Trainer(
        model=transformers.BertForSequenceClassification(config), args=args, train_dataset=Pairs(),
        eval_dataset=Pairs(), callbacks=[callback],
    )  # fmt: skip


def test_transformers_logs_training_and_evaluation_arguments_configuration_and_model(tmp_path):
    done = hugging_face(tmp_path, TransformersCallback(project="bert", log_model=True)).train()
    view = only()
    assert (view.status, view.project) == ("finished", "bert")
    assert points(view, "train/loss")[0] == [2, 4, 6]
    assert points(view, "eval/loss")[0] == [3, 6]
    assert view.summary["train/runtime"] > 0
    assert view.params["args"]["max_steps"] == 6
    assert view.params["model"]["hidden_size"] == 16
    assert [one.kind for one in view.artifacts] == ["model"]
    assert done.global_step == 6


def test_an_evaluation_after_training_goes_into_the_same_run(tmp_path):
    made = hugging_face(tmp_path, TransformersCallback(project="bert"))
    made.train()
    made.evaluate()
    view = only()
    assert view.status == "finished"
    assert len(points(view, "eval/loss")[0]) == 3


# -- Accelerate ----------------------------------------------------------------------------------


def test_accelerate_logs_through_its_tracker():
    accelerator = accelerate.Accelerator(cpu=True, log_with=UnitrackTracker("line"))
    accelerator.init_trackers("ignored", config={"lr": 0.5})
    for step in range(3):
        accelerator.log({"loss": torch.tensor(1.0 / (step + 1)), "note": "going well"}, step=step)
    run = accelerator.get_tracker("unitrack", unwrap=True)
    assert isinstance(run, unitrack.Run)
    accelerator.end_training()
    view = only()
    assert (view.status, view.project, view.params["lr"]) == ("finished", "line", 0.5)
    assert points(view, "loss") == ([0, 1, 2], [1.0, 0.5, pytest.approx(1 / 3)])
    assert view.summary["note"] == "going well"


# -- Keras ---------------------------------------------------------------------------------------


def test_keras_logs_epochs_batches_how_it_trains_and_the_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    x = np.random.default_rng(0).normal(size=(32, 3))
    history = model.fit(
        x, x.sum(1), epochs=3, batch_size=8, validation_split=0.25, verbose=0,
        callbacks=[KerasCallback(project="line", log_every=3, log_model=True)],
    )  # fmt: skip
    view = only()
    assert (view.status, view.project) == ("finished", "line")
    assert points(view, "train/loss") == ([0, 1, 2], pytest.approx(history.history["loss"]))
    assert points(view, "val/mae") == ([0, 1, 2], pytest.approx(history.history["val_mae"]))
    assert points(view, "batch/loss")[0] == [3, 6, 9]
    assert view.params["optimizer"]["learning_rate"] == pytest.approx(0.1)
    assert view.params["fit"]["epochs"] == 3
    assert [one.kind for one in view.artifacts] == ["model"]
