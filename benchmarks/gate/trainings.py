"""Five real trainings on data that comes with scikit-learn and statsmodels, and what can go wrong with each.

Every training takes a variant and a seed and returns metrics on examples it did not train on. `as is` is the program
itself. Two variants change nothing that matters: `another stream` draws one number before anything else, so that
no random choice is what it was, and `columns in another order` hands the model the same features in another order.
All others are faults.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitrack.config import Goal, Role

AS_IS = "as is"
STREAM = "another stream"
COLUMNS = "columns in another order"
HARMLESS = (STREAM, COLUMNS)
LEAKY, REPAIRED = "with a leak", "leakage removed"

Metrics = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A program that is trained. `seeded` says what its seed changes; the first metric is the target."""

    name: str
    seeded: str
    goals: Mapping[str, tuple[Goal, Role]]
    train: Callable[[str, int], Metrics]
    faults: tuple[str, ...]


@dataclass(kw_only=True)
class Data:
    """Examples to train on and to test with, and the seed of what the model draws."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any
    seed: int

    def keep(self, columns: Any) -> None:
        """Leave only these columns, in this order."""
        self.x, self.x_test = self.x[:, columns], self.x_test[:, columns]

    def first(self, rows: int) -> None:
        """Train on the first rows only."""
        self.x, self.y = self.x[:rows], self.y[:rows]

    def shuffle_labels(self, share: float) -> None:
        """Give a share of the training rows each other's labels."""
        draw = np.random.default_rng([99, self.seed])
        chosen = draw.choice(len(self.y), round(share * len(self.y)), replace=False)
        self.y = self.y.copy()
        self.y[chosen] = self.y[draw.permutation(chosen)]


def prepare(x: Any, y: Any, variant: str, seed: int, *, split_by: int | None, stratify: bool = True) -> Data:
    """Split the examples 60 to 40, by `split_by` or else by the seed, and apply what changes nothing."""
    from sklearn.model_selection import train_test_split

    draw = np.random.default_rng(seed)
    if variant == STREAM:
        draw.random()
    split, model = (int(each) for each in draw.integers(2**31, size=2))
    parts = train_test_split(
        x, y, test_size=0.4, random_state=split if split_by is None else split_by, stratify=y if stratify else None
    )
    made = Data(x=parts[0], x_test=parts[1], y=parts[2], y_test=parts[3], seed=model)
    if variant == COLUMNS:
        made.keep(np.random.default_rng(7).permutation(x.shape[1]))
    return made


# -- digits --------------------------------------------------------------------------------------


def digits(variant: str, seed: int) -> Metrics:
    """Train a small neural network on images of digits; the split stays the same."""
    from sklearn.datasets import load_digits
    from sklearn.metrics import accuracy_score, log_loss
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    data, rate = prepare(x / 16, y, variant, seed, split_by=0), 0.005
    match variant:
        case "label noise, 10 %":
            data.shuffle_labels(0.1)
        case "learning rate x 10":
            rate = 0.05
        case "3 and 8 swapped in the first fifth of the rows":
            fifth = len(data.y) // 5
            wrong = {3: 8, 8: 3}
            data.y = np.array([wrong.get(label, label) if at < fifth else label for at, label in enumerate(data.y)])
        case "training data cut to 300 rows":
            data.first(300)
    model = MLPClassifier((32,), learning_rate_init=rate, batch_size=64, max_iter=15, random_state=data.seed)
    model.fit(data.x, data.y)
    found = model.predict_proba(data.x_test)
    return {"accuracy": accuracy_score(data.y_test, found.argmax(axis=1)), "log_loss": log_loss(data.y_test, found)}


# -- breast cancer -------------------------------------------------------------------------------


def cancer(variant: str, seed: int) -> Metrics:
    """Train a logistic regression by stochastic gradient descent; the seed splits, too."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    data = prepare(x, y, variant, seed, split_by=None)
    scaler = StandardScaler().fit(data.x)
    if variant != "no scaling":
        data.x = scaler.transform(data.x)
        data.x_test = data.x_test if variant == "test rows not scaled" else scaler.transform(data.x_test)
    match variant:
        case "label noise, 10 %":
            data.shuffle_labels(0.1)
        case "ten features dropped":
            data.keep(range(20))
    model = SGDClassifier(loss="log_loss", alpha=0.001, max_iter=20, tol=None, random_state=data.seed)
    found = model.fit(data.x, data.y).predict_proba(data.x_test)[:, 1]
    return {"auc": roc_auc_score(data.y_test, found), "log_loss": log_loss(data.y_test, found)}


# -- wine ----------------------------------------------------------------------------------------


def wine(variant: str, seed: int) -> Metrics:
    """Train a random forest; the seed splits, too."""
    from sklearn.datasets import load_wine
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import accuracy_score

    x, y = load_wine(return_X_y=True)
    data, trees = prepare(x, y, variant, seed, split_by=None), 30
    match variant:
        case "2 trees instead of 30":
            trees = 2
        case "three features dropped":
            data.keep([at for at in range(13) if at not in (6, 9, 12)])
        case "training data cut to 20 rows":
            data.first(20)
        case "split without shuffling":
            cut = round(0.6 * len(y))
            data.x, data.y, data.x_test, data.y_test = x[:cut], y[:cut], x[cut:], y[cut:]
    model = RandomForestClassifier(trees, random_state=data.seed).fit(data.x, data.y)
    found = np.zeros((len(data.y_test), 3))
    found[:, model.classes_] = model.predict_proba(data.x_test)
    squares = ((found - np.eye(3)[data.y_test]) ** 2).sum(axis=1)
    return {"accuracy": accuracy_score(data.y_test, found.argmax(axis=1)), "brier": float(squares.mean())}


# -- diabetes ------------------------------------------------------------------------------------


def diabetes(variant: str, seed: int) -> Metrics:
    """Train boosted trees for a number; the seed draws rows and features, the split stays the same."""
    from sklearn.datasets import load_diabetes
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    x, y = load_diabetes(return_X_y=True)
    data, settings = prepare(x, y, variant, seed, split_by=0, stratify=False), dict(BOOSTED)
    match variant:
        case "learning rate x 10":
            settings["learning_rate"] *= 10
        case "two features dropped":
            data.keep([at for at in range(10) if at not in (2, 8)])
        case "10 trees instead of 100":
            settings["num_boost_round"] = 10
        case "label noise, 10 %":
            data.shuffle_labels(0.1)
    found = boosted(data, objective="regression", **settings)
    return {"rmse": root_mean_squared_error(data.y_test, found), "mae": mean_absolute_error(data.y_test, found)}


BOOSTED: Mapping[str, Any] = {"learning_rate": 0.05, "num_boost_round": 100, "num_leaves": 8}


def boosted(data: Data, *, num_boost_round: int, **settings: Any) -> Any:
    """Train LightGBM on half of the rows and features at a time; return what it predicts for the test rows."""
    import lightgbm

    drawn = {"bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.5, "seed": data.seed}
    fixed = {"num_threads": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1}
    whole = lightgbm.Dataset(data.x, data.y, params={"verbosity": -1})
    model = lightgbm.train({**drawn, **fixed, **settings}, whole, num_boost_round=num_boost_round)
    return model.predict(data.x_test)


# -- affairs -------------------------------------------------------------------------------------


def affairs(variant: str, seed: int) -> Metrics:
    """Train boosted trees for a yes or no on 6,366 answers to a magazine's questions; the seed splits, too."""
    from sklearn.metrics import log_loss, roc_auc_score

    names, x, y = _answers()
    if variant == LEAKY:
        x = np.column_stack([x, _mean_label_of_like_rows(x[:, [1, 2, 6]], y)])
    data = prepare(x, y, variant, seed, split_by=None)
    years = names.index("yrs_married")
    match variant:
        case "trained on the young, tested on the old":
            order = np.argsort(x[:, names.index("age")], kind="stable")
            cut = round(0.6 * len(y))
            young, old = order[:cut], order[cut:]
            data.x, data.y, data.x_test, data.y_test = x[young], y[young], x[old], y[old]
        case "a feature dropped":
            data.keep([at for at, name in enumerate(names) if name != "rate_marriage"])
        case "years given as months when tested":
            data.x_test = data.x_test.copy()
            data.x_test[:, years] *= 12
    found = boosted(data, objective="binary", **BOOSTED)
    return {"auc": roc_auc_score(data.y_test, found), "log_loss": log_loss(data.y_test, found)}


@functools.cache
def _answers() -> tuple[list[str], Any, Any]:
    from statsmodels.datasets import fair

    table = fair.load_pandas().data
    features = table.drop(columns="affairs")
    return list(features.columns), features.to_numpy(float), (table["affairs"] > 0).to_numpy(int)


def _mean_label_of_like_rows(keys: Any, y: Any) -> Any:
    """Encode rows by the mean label of all rows with equal keys, their own and the test rows' among them."""
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.ravel()
    return (np.bincount(group, y) / np.bincount(group))[group]


# -- all of them ---------------------------------------------------------------------------------

TRAININGS: Mapping[str, Training] = {
    one.name: one
    for one in (
        Training(
            name="digits, neural network",
            seeded="initial weights and order of rows",
            goals={"accuracy": ("maximize", "target"), "log_loss": ("minimize", "guardrail")},
            train=digits,
            faults=(
                "label noise, 10 %",
                "learning rate x 10",
                "3 and 8 swapped in the first fifth of the rows",
                "training data cut to 300 rows",
            ),
        ),
        Training(
            name="breast cancer, logistic regression by SGD",
            seeded="split and order of rows",
            goals={"auc": ("maximize", "target"), "log_loss": ("minimize", "guardrail")},
            train=cancer,
            faults=("no scaling", "test rows not scaled", "ten features dropped", "label noise, 10 %"),
        ),
        Training(
            name="wine, random forest",
            seeded="split and bootstrap",
            goals={"accuracy": ("maximize", "target"), "brier": ("minimize", "guardrail")},
            train=wine,
            faults=(
                "2 trees instead of 30",
                "three features dropped",
                "training data cut to 20 rows",
                "split without shuffling",
            ),
        ),
        Training(
            name="diabetes, LightGBM",
            seeded="rows and features each tree sees",
            goals={"rmse": ("minimize", "target"), "mae": ("minimize", "guardrail")},
            train=diabetes,
            faults=("learning rate x 10", "two features dropped", "10 trees instead of 100", "label noise, 10 %"),
        ),
        Training(
            name="affairs, LightGBM",
            seeded="split, and rows and features each tree sees",
            goals={"auc": ("maximize", "target"), "log_loss": ("minimize", "guardrail")},
            train=affairs,
            faults=(
                REPAIRED,
                "trained on the young, tested on the old",
                "a feature dropped",
                "years given as months when tested",
            ),
        ),
    )
}


def baseline_of(fault: str) -> str:
    """Return the variant that was in production before the fault."""
    return LEAKY if fault == REPAIRED else AS_IS


def train(name: str, variant: str, seed: int) -> Metrics:
    """Train once. A fault's name that no training knows would be no fault: it is refused."""
    training = TRAININGS[name]
    if variant not in (AS_IS, *HARMLESS, *training.faults, LEAKY):
        raise ValueError(f"{name} has no variant {variant!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that training stopped early is what these trainings do
        return {metric: float(value) for metric, value in training.train(variant, seed).items()}
