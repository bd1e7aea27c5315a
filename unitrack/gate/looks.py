"""Follow the metrics of a gate from look to look until each is decided. Pure numbers; `decide` puts them in words.

After each pair from the second on, everything that can fail a candidate is tested twice: for harm, and for
non-inferiority to its margin. Each test spends its error rate over the looks. The rate for false fails is that of
the whole gate: half for the targets and half for guardrails and budgets (all of it if there is one family), within
a family by Holm's procedure, and what a family that failed entirely leaves goes to the other (Bretz et al., 2009;
with looks: Maurer and Bretz, 2013). Passing needs every metric to pass, so its rate needs no correction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from unitrack.gate.decision import Look, Noise
from unitrack.gate.spending import nominal_levels, spent
from unitrack.gate.statistics import PairedTest, mean_of, paired_test, rounded, spread_of, variance_ratio_tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["RESERVE", "SURE", "Bound", "Family", "Rates", "Series", "State", "Track", "follow"]

Family = Literal["target", "guardrail"]
State = Literal["open", "pass", "fail"]

SURE = 3
"""So many equal results in a row are no accident even of coarse metrics, such as accuracy on few examples."""

RESERVE = 1.15
"""By how much tests for harm are stricter than their level asks for: noise is seldom quite normal."""

_MISFIT = 0.001  # how unlikely a gate's own variance must be for the history to be left aside


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """The one-sided error rates of a whole gate and the most pairs it may train."""

    n_max: int
    pass_level: float = 0.05
    fail_level: float = 0.01

    def passing(self, n: int, before: int = 0) -> float:
        """Return the level of the test for non-inferiority at the look after `n` pairs.

        `before` are the degrees of freedom of earlier noise.
        """
        return nominal_levels(self.pass_level / self._excess(before), self.n_max, "pocock")[n - 2]

    def failing(self, n: int, share: float, before: int = 0) -> float:
        """Return the level of the test for harm at the look after `n` pairs, of a test with this share."""
        return nominal_levels(share / RESERVE / self._excess(before), self.n_max, "obrien_fleming")[n - 2]

    def _excess(self, before: int) -> float:
        """Return how much more often t tests err together than the looks of known variance that levels are made for.

        Simulated for 3 to 20 looks: 1.2 times without earlier noise, 1.01 times with 20 degrees of freedom.
        """
        return 1.0 if self.n_max <= 2 else 1 + 0.2 / (1 + before / 3) ** 1.3


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A limit on the candidate's own mean; `sign` turns a distance within it into a value."""

    word: Literal["minimum", "maximum"]
    value: float

    @property
    def sign(self) -> float:
        """Return 1 for a minimum, which values within it are above, and -1 for a maximum."""
        return 1.0 if self.word == "minimum" else -1.0


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """The oriented differences of one metric, in the order in which seeds were trained, and its margin after each.

    `bound` is the limit that differences are measured from instead of the baseline. A series without a `family` is
    shown and tested, and decides nothing. `equal` tells how many pairs from the first one on are equal on both
    sides, `steady` how many show that the seed changes neither side, `blur` what rounding alone may differ by. Values
    that are `fine` are no simple fractions: they don't come to the same by accident.
    """

    metric: int
    differences: tuple[float, ...]
    margins: tuple[float | None, ...]
    family: Family | None = "target"
    budget: bool = False
    noise: Noise | None = None
    bound: Bound | None = None
    equal: int = 0
    steady: int = 0
    blur: float = 0.0
    fine: bool = False


class Track:
    """How one series went: its looks, its state, and after how many pairs it was decided."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.share = 0.0
        self.state: State = "open"
        self.decided_at: int | None = None
        self.looks: list[Look] = []
        self.test: PairedTest | None = None

    def settle(self, state: State, n: int) -> None:
        """Decide it. A later fail overturns a pass: its error rate is spent over all looks."""
        if self.series.family is not None and self.state not in ("fail", state):
            self.state, self.decided_at = state, n

    def reconsider(self, n: int) -> None:
        """Take a pass back that later pairs belie: equal no more, or beyond the margin on average.

        Gates that train on for other metrics come to this; it makes a false pass rarer, never more frequent.
        """
        series, margin = self.series, self.series.margins[n - 1] or 0.0
        was_equal = self.decided_at is not None and series.equal >= self.decided_at and not self.looks
        lost = mean_of(series.differences[:n]) < -margin - series.blur
        if self.state == "pass" and (lost or (was_equal and series.equal < n)):
            self.state, self.decided_at = "open", None

    def spent(self, rates: Rates, n: int) -> tuple[float, float]:
        """Return the error rates for false passes and false fails that are used up after `n` pairs."""
        done = n / rates.n_max if n > 1 else 0.0
        used = spent(rates.pass_level, done, "pocock"), spent(self.share / RESERVE, done, "obrien_fleming")
        return rounded(used[0]), rounded(used[1])


def follow(all_series: Sequence[Series], rates: Rates, *, whole: bool = True) -> list[Track]:
    """Look after every pair and return how each series went.

    `whole` says that both sides have a value of every metric, so that equal ones may be all there is.
    """
    tracks = [Track(series) for series in all_series]
    _share(tracks, rates.fail_level)
    for n in range(1, max((len(series.differences) for series in all_series), default=0) + 1):
        if n == 1 and whole:
            _first_pair(tracks)
        elif n > 1:
            _look(tracks, n, rates)
    return tracks


def _first_pair(tracks: Sequence[Track]) -> None:
    """Pass what is equal if all metrics but budgets are: one program, no noise to wait for.

    Time and memory differ in any two trainings; where nothing else is measured they have to be equal, too.
    """
    if all(track.series.equal for track in [t for t in tracks if not t.series.budget] or tracks):
        for track in tracks:
            if track.series.equal and track.series.differences[0] >= -track.series.blur:
                track.settle("pass", 1)


def _look(tracks: Sequence[Track], n: int, rates: Rates) -> None:
    noisy = []
    for track in tracks:
        track.reconsider(n)
        track.test = _tested(track.series, n)
        if track.test is None:
            _without_noise(track, n, rates.n_max)
        else:
            noisy.append((track, track.test))
    _fail(noisy, tracks, n, rates)
    for track, test in noisy:
        level = rates.passing(n, test.df - n + 1)
        if track.state == "open" and test.p_pass is not None and test.p_pass <= level:
            track.settle("pass", n)
        track.looks.append(_record(track, test, level, rates))


def _tested(series: Series, n: int) -> PairedTest | None:
    """Test the first `n` differences; None if they don't vary and no noise is known from before."""
    part, noise = series.differences[:n], series.noise
    constant = max(part) - min(part) <= series.blur
    if constant and (noise is None or noise.sd == 0 or series.equal >= n):
        return None
    before, df = (noise.sd, noise.df) if noise else (0.0, 0)
    if noise and variance_ratio_tail(spread_of(part), n - 1, before, df) < _MISFIT:
        before, df = 0.0, 0
    return paired_test(part, margin=series.margins[n - 1], sd_before=before, df_before=df)


def _without_noise(track: Track, n: int, n_max: int) -> None:
    """Judge by the margin alone, as soon as it is no accident that nothing varies."""
    series = track.series
    sure = series.fine or n >= min(SURE, n_max)
    if series.equal >= n and series.bound is None:
        if sure:
            track.settle("pass", n)
    elif series.fine or (sure and series.steady >= n) or n == n_max >= SURE:
        margin = series.margins[n - 1] or 0.0  # None only where nothing can be settled
        within = mean_of(series.differences[:n]) >= -margin - series.blur
        track.settle("pass" if within else "fail", n)


def _fail(noisy: Sequence[tuple[Track, PairedTest]], tracks: Sequence[Track], n: int, rates: Rates) -> None:
    """Fail what is worse and beyond its margin, giving on the error rate of what failed, until nothing more fails."""
    while True:
        _share(tracks, rates.fail_level)
        failed = [track for track, test in noisy if track.state != "fail" and _harmed(track, test, n, rates)]
        if not failed:
            return
        for track in failed:
            track.settle("fail", n)


def _harmed(track: Track, test: PairedTest, n: int, rates: Rates) -> bool:
    margin = track.series.margins[n - 1]
    if track.series.family is None or margin is None or test.mean >= -margin:
        return False
    return test.p_fail <= rates.failing(n, track.share, test.df - n + 1)


def _share(tracks: Iterable[Track], level: float) -> None:
    """Give each test that has not failed its share of the gate's rate for false fails."""
    families: dict[Family, list[Track]] = {}
    for track in tracks:
        if track.series.family is not None and track.state != "fail":
            families.setdefault(track.series.family, []).append(track)
    for family in families.values():
        for track in family:
            track.share = level / len(families) / len(family)


def _record(track: Track, test: PairedTest, level: float, rates: Rates) -> Look:
    return Look(
        n=test.n,
        mean=rounded(test.mean),
        sd=rounded(test.sd),
        df=test.df,
        p_pass=test.p_pass,
        p_fail=test.p_fail,
        pass_level=level,
        fail_level=rates.failing(test.n, track.share, test.df - test.n + 1) if track.series.family else 0.0,
        history=test.df > test.n - 1,
    )
