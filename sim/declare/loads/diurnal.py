"""A load of independent events that follows the day."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.declare.declared import Floats
from sim.declare.loads.kind import LoadKind
from sim.declare.loads.poisson_process import PiecewiseRate

HOUR_S = 3600.0
_HOURS = 24
_DAYS_MAX = 10_000
_OF_SINUSOID = ("amplitude", "period_s", "peak_at_s")
_OF_HOURS = ("starts_at_h", "time_scale")


class DiurnalLoad(LoadKind):
    """Events at random, independent of each other, at a rate that comes back every day.

    Either it is a sinusoid: `mean_rate_per_s` on average, by the share `amplitude` of that higher at `peak_at_s`, and
    as much lower half a period later; the period is `period_s`. Or `hourly_rates_per_s` lists the rates of the 24 hours
    of a day, the first one from midnight on. `starts_at_h` is the hour when the load begins. `time_scale` stretches the
    clock: with 0.001, an hour takes 3.6 s. The rates stay as they are listed, so each hour is as busy as it really is.
    """

    kind: Literal["diurnal"]
    mean_rate_per_s: float | None = Field(default=None, gt=0)
    amplitude: float = Field(default=1.0, ge=0, le=1)
    period_s: float = Field(default=24 * HOUR_S, gt=0, le=1e8)
    peak_at_s: float = Field(default=0.0, ge=0, le=1e8)
    hourly_rates_per_s: tuple[float, ...] | None = None
    starts_at_h: float = Field(default=0.0, ge=0, lt=24)
    time_scale: float = Field(default=1.0, gt=0, le=1e3)
    duration_s: float = Field(gt=0, le=1e6)

    grows_with: ClassVar = ("rates", "duration_s")

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.mean_rate_per_s is None) == (self.hourly_rates_per_s is None):
            raise ValueError("needs mean_rate_per_s, for a sinusoid, or hourly_rates_per_s, a list; give one of them")
        is_sinusoid = self.mean_rate_per_s is not None
        fields, own = type(self).model_fields, "mean_rate_per_s" if is_sinusoid else "hourly_rates_per_s"
        for name in _OF_HOURS if is_sinusoid else _OF_SINUSOID:
            if getattr(self, name) != fields[name].default:
                raise ValueError(f"{name}: says nothing beside {own}; leave it out")
        if self.hourly_rates_per_s is not None:
            self._check_hours(self.hourly_rates_per_s)
        return self

    def _check_hours(self, rates_per_s: tuple[float, ...]) -> None:
        if len(rates_per_s) != _HOURS:
            raise ValueError(f"hourly_rates_per_s: {len(rates_per_s)} rates; give one for each of the 24 hours")
        if min(rates_per_s) < 0:
            raise ValueError(f"hourly_rates_per_s: {min(rates_per_s):g} is no rate; give 0 or more")
        if not any(rates_per_s):
            raise ValueError("hourly_rates_per_s: all are 0; nothing would be sent")
        if self.duration_s / (_HOURS * HOUR_S * self.time_scale) > _DAYS_MAX:
            raise ValueError(f"the load would have over {_DAYS_MAX:,} days; raise time_scale or lower duration_s")

    def arrivals_s(self, rng: np.random.Generator) -> Floats:
        if self.mean_rate_per_s is None:
            return self.hours().draw(rng)
        # Thinning: of events at the highest rate, each is kept with the share that the rate of its time is of that.
        # Source: Lewis, Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", Naval Research
        # Logistics Quarterly 26(3), 1979.
        most_per_s = self.mean_rate_per_s * (1.0 + self.amplitude)
        at_s = rng.uniform(0.0, self.duration_s, rng.poisson(most_per_s * self.duration_s))
        kept = rng.random(at_s.size) * most_per_s < self.sinusoid_per_s(at_s)
        return np.sort(at_s[kept])

    def sinusoid_per_s(self, at_s: Floats) -> Floats:
        """The rate of a sinusoid at these times, shape (n,)."""
        phase = 2.0 * np.pi * (at_s - self.peak_at_s) / self.period_s
        return np.asarray((self.mean_rate_per_s or 0.0) * (1.0 + self.amplitude * np.cos(phase)))

    def hours(self) -> PiecewiseRate:
        """The rate over time where the hours' rates are listed."""
        hour_s = HOUR_S * self.time_scale
        first = self.starts_at_h
        last = first + self.duration_s / hour_s
        hours = np.arange(np.floor(first), np.ceil(last))
        edges_s = np.append((np.maximum(hours, first) - first) * hour_s, self.duration_s)
        rates_per_s = np.array(self.hourly_rates_per_s or (0.0,) * _HOURS)
        return PiecewiseRate(edges_s, rates_per_s[hours.astype(np.int64) % _HOURS])

    def expected_events(self) -> float:
        if self.mean_rate_per_s is None:
            return float(self.hours().expected_until()[-1])
        # The integral of the rate over the load.
        turn = 2.0 * np.pi / self.period_s
        swing = np.sin(turn * (self.duration_s - self.peak_at_s)) + np.sin(turn * self.peak_at_s)
        return float(self.mean_rate_per_s * (self.duration_s + self.amplitude / turn * swing))

    def in_words(self) -> str:
        if self.hourly_rates_per_s is not None:
            low, high = min(self.hourly_rates_per_s), max(self.hourly_rates_per_s)
            hours = f"{low:g} to {high:g} a second by the hours of a day from {self.starts_at_h:g} h on"
            speed = f" at {1 / self.time_scale:g} times the clock's speed" if self.time_scale != 1 else ""
            return f"{hours}{speed}, for {self.duration_s:g} s, at random (Poisson)"
        mean = self.mean_rate_per_s or 0.0
        low, high = mean * (1.0 - self.amplitude), mean * (1.0 + self.amplitude)
        wave = f"{low:g} to {high:g} a second in waves of {self.period_s:g} s with a peak at {self.peak_at_s:g} s"
        return f"{wave}, for {self.duration_s:g} s, at random (Poisson)"
