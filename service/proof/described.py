"""A chart that a solver has found: in words, and as a request whose cards can be looked at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from service.chart.elements import LEFT
from service.chart.fhir_time import days_before, read_when, years_old
from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import LOCAL_SYSTEM, Knowledge
from service.knowledge_model.quantity import UCUM
from service.proof.formula import ChartFormula, Limit, Number
from service.reasoning.evidence import state, with_unit
from service.reasoning.kernel import Atom

PATIENT = "1"
_SIDES = {"left": "7771000", "bilateral": "51440002"}
_SNOMED = "http://snomed.info/sct"
# Partial dates of so many years back are tried for an interval.
_YEARS = 4


@dataclass(frozen=True, slots=True)
class Bounds:
    """A number by the limits that its two ends reach and do not reach."""

    low: Interval
    high: Interval
    whole: bool
    reaches: Mapping[Limit, tuple[bool, bool]]

    def allows(self, value: Interval) -> bool:
        """Whether this interval reaches the same limits."""
        return all(
            (_beyond(value.low, limit), _beyond(value.high, limit)) == ends for limit, ends in self.reaches.items()
        )


@dataclass(frozen=True, slots=True)
class Described:
    """A chart as it can be documented: findings by their state, numbers by their limits, and what names a side."""

    present: tuple[str, ...]
    absent: tuple[str, ...]
    contradictory: tuple[str, ...]
    numbers: Mapping[str, Bounds]
    sex: str
    # Findings of a leg that are stated with a side, which is left or both.
    sided: tuple[str, ...]
    bilateral: bool


def described(chart: ChartFormula, reads: Callable[[int], int]) -> Described:
    """What a model of the solver documents on this chart."""
    atoms, values = chart.formula.kernel.atoms, chart.values

    def where(atom: Atom, which: int) -> bool:
        return atom in atoms and bool(reads(values[atoms[atom][which]]))

    boolean = chart.formula.boolean
    sided = tuple(finding for finding in chart.formula.of_both_sides if where(Atom(finding, LEFT), 0))
    return Described(
        tuple(finding for finding in boolean if where(Atom(finding), 0)),
        tuple(finding for finding in boolean if where(Atom(finding), 1)),
        tuple(finding for finding in boolean if reads(chart.contradictory[finding])),
        {name: _bounds(number, reads) for name, number in chart.numbers.items() if reads(number.known)},
        next((sex for sex, term in chart.sex.items() if reads(term)), ""),
        sided,
        bool(sided) and bool(reads(chart.bilateral)),
    )


def _bounds(number: Number, reads: Callable[[int], int]) -> Bounds:
    reaches = {limit: (bool(reads(number.low[limit])), bool(reads(number.high[limit]))) for limit in number.limits}
    lows = [_within([(limit, ends[which]) for limit, ends in reaches.items()], number.plausible) for which in (0, 1)]
    return Bounds(lows[0], lows[1], number.whole, reaches)


def _beyond(value: float, limit: Limit) -> bool:
    bound, above = limit
    return value > bound if above else value >= bound


def _within(reached: list[tuple[Limit, bool]], plausible: Interval) -> Interval:
    """Between which values an end lies, by the limits that it reaches and does not reach."""
    low = max((limit[0] for limit, reaches in reached if reaches), default=-inf)
    high = min((limit[0] for limit, reaches in reached if not reaches), default=inf)
    return Interval(max(low, plausible.low), min(high, plausible.high))


def _candidates(within: Interval, *, whole: bool) -> Iterator[float]:
    """Values to try for an end, the plainest first."""
    low = within.low if within.low > -inf else within.high - 2 if within.high < inf else 0.0
    high = within.high if within.high < inf else low + 2
    yield from (low, high - 1, low + 1)
    if not whole:
        yield from ((low + high) / 2, high)


def value_of(bounds: Bounds) -> Interval:
    """An interval with these bounds, a single value where that can be. Raises ValueError where none is found."""
    for value in _candidates(bounds.low, whole=bounds.whole):
        if bounds.allows(Interval(value, value)):
            return Interval(value, value)
    for low in _candidates(bounds.low, whole=bounds.whole):
        for high in _candidates(bounds.high, whole=bounds.whole):
            if low < high and bounds.allows(Interval(low, high)):
                return Interval(low, high)
    raise ValueError("no value has these bounds")


# ---------------------------------------------------------------------------------------------------------------------
# In words


def in_words(knowledge: Knowledge, chart: Described) -> str:
    """The chart in a sentence: what is present, what is absent, and the numbers."""
    parts = []
    for name, bounds in chart.numbers.items():
        title = knowledge.title_of(name)
        finding, value = knowledge.findings.get(name), value_of(bounds)
        parts.append(f"{title}: {with_unit(finding, value) if finding else state(value)}")
    for words, findings in (
        ("present", chart.present),
        ("absent", chart.absent),
        ("present and absent at once", chart.contradictory),
    ):
        parts += [f"{knowledge.title_of(name)}: {words}{_on(chart, name)}" for name in findings]
    if chart.sex:
        parts.append(chart.sex)
    return "; ".join(parts) or "nothing documented"


def _on(chart: Described, name: str) -> str:
    return "" if name not in chart.sided else " on both sides" if chart.bilateral else " on one side"


# ---------------------------------------------------------------------------------------------------------------------
# As a request


def request(knowledge: Knowledge, chart: Described, now: dt.datetime, keys: Mapping[str, Any]) -> dict[str, Any]:
    """A request of the hook patient-view for a patient with this chart. keys: those of the prefetch templates.

    Raises ValueError where a number has bounds that no documentation has.
    """
    resources = [*_observations(knowledge, chart, now)]
    bundles = {key: {"resourceType": "Bundle", "type": "searchset", "total": 0} for key in keys}
    bundles["observations"] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(resources),
        "entry": [
            {"resource": {"resourceType": "Observation", "id": f"observation-{number}", **resource}}
            for number, resource in enumerate(resources, start=1)
        ],
    }
    patient = {"resourceType": "Patient", "id": PATIENT, **({"gender": chart.sex} if chart.sex else {})}
    if "age" in chart.numbers:
        patient["birthDate"] = _birth_date(chart.numbers["age"], now)
    return {
        "hook": "patient-view",
        "hookInstance": "8f0d5a3e-6f0e-5c38-9a3f-2f1c7a1d9b64",
        "context": {"userId": "Practitioner/example", "patientId": PATIENT},
        "prefetch": {**bundles, "patient": patient, "encounter": None},
    }


def _observations(knowledge: Knowledge, chart: Described, now: dt.datetime) -> Iterator[dict[str, Any]]:
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def observation(finding: str, value: dict[str, Any]) -> dict[str, Any]:
        side = {"coding": [{"system": _SNOMED, "code": _SIDES["bilateral" if chart.bilateral else "left"]}]}
        return {
            "status": "final",
            "code": {
                "coding": [{"system": LOCAL_SYSTEM, "code": finding, "display": knowledge.findings[finding].title}]
            },
            "subject": {"reference": f"Patient/{PATIENT}"},
            "effectiveDateTime": time,
            **({"bodySite": side} if finding in chart.sided else {}),
            **value,
        }

    for finding in (*chart.present, *chart.contradictory):
        yield observation(finding, {"valueBoolean": True})
    for finding in (*chart.absent, *chart.contradictory):
        yield observation(finding, {"valueBoolean": False})
    dates = knowledge.engine.derived.days_since
    for name, bounds in chart.numbers.items():
        if name in dates:
            yield observation(dates[name], {"valueDateTime": _date(bounds, now)})
        elif name in knowledge.findings:
            unit = knowledge.findings[name].unit
            # Two measurements of one time that differ are the span between them.
            for value in dict.fromkeys(value_of(bounds)):
                quantity = {"value": value, "unit": unit, "system": UCUM, "code": unit}
                yield observation(name, {"valueQuantity": quantity})


def _dates(now: dt.datetime) -> Iterator[str]:
    """Partial dates, from the present back."""
    for year in range(now.year, now.year - _YEARS, -1):
        yield from (f"{year}-{month:02}" for month in range(12, 0, -1))
        yield f"{year}"


def _date(bounds: Bounds, now: dt.datetime) -> str:
    """The date, or the part of one, since which so many days have passed."""
    days = value_of(bounds)
    exact = (now.date() - dt.timedelta(days=int(days.low))).isoformat()
    for text in [exact] if days.low == days.high else [*_dates(now)]:
        when = read_when(text)
        if when and when.low <= now and bounds.allows(Interval(*map(float, days_before(when, now)))):
            return text
    raise ValueError(f"no date lies between {days.low:g} and {days.high:g} days ago")


def _birth_date(bounds: Bounds, now: dt.datetime) -> str:
    """The date of birth, or its year, of somebody of this age."""
    age = value_of(bounds)
    year = now.year - int(age.low) - (1 if age.low != age.high else 0)
    exact = f"{now.year - int(age.low)}-01-01"
    for text in (exact, f"{year}", f"{year + 1}"):
        born = read_when(text)
        if born and bounds.allows(Interval(*map(float, years_old(born, now)))):
            return text
    raise ValueError(f"no date of birth is that of an age of {age.low:g} to {age.high:g}")
