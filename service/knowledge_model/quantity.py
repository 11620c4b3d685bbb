"""Quantities with UCUM units. A unit that is not known makes the value unknown: never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite, nextafter
from types import MappingProxyType

from service.knowledge_model.conditions import Interval

# The code system of units; see FHIR R4, Quantity.
UCUM = "http://unitsofmeasure.org"
# unit -> how to get from another unit to it: value * factor + offset. Synonyms are how EHRs write the same UCUM unit.
_MONTH = 365.25 / 12
_CONVERSIONS: Mapping[str, Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "d": {
            "d": (1, 0),
            "day": (1, 0),
            "days": (1, 0),
            "wk": (7, 0),
            "week": (7, 0),
            "weeks": (7, 0),
            "mo": (_MONTH, 0),
            "month": (_MONTH, 0),
            "months": (_MONTH, 0),
            **dict.fromkeys(("a", "year", "years", "yr"), (365.25, 0)),
            "h": (1 / 24, 0),
        },
        "wk": {
            "wk": (1, 0),
            "week": (1, 0),
            "weeks": (1, 0),
            "d": (1 / 7, 0),
            "day": (1 / 7, 0),
            "days": (1 / 7, 0),
            "mo": (_MONTH / 7, 0),
            "month": (_MONTH / 7, 0),
            "months": (_MONTH / 7, 0),
        },
        "mm": {"mm": (1, 0), "cm": (10, 0), "m": (1000, 0), "[in_i]": (25.4, 0)},
        "mL": {"mL": (1, 0), "ml": (1, 0), "cc": (1, 0), "cm3": (1, 0), "L": (1000, 0), "l": (1000, 0)},
        "Cel": {
            "Cel": (1, 0),
            "°C": (1, 0),
            "C": (1, 0),
            "[degC]": (1, 0),
            "degC": (1, 0),
            "deg C": (1, 0),
            "[degF]": (5 / 9, -160 / 9),
            "degF": (5 / 9, -160 / 9),
            "°F": (5 / 9, -160 / 9),
            "F": (5 / 9, -160 / 9),
        },
        "mL/min/{1.73_m2}": {
            "mL/min/{1.73_m2}": (1, 0),
            "mL/min/1.73m2": (1, 0),
            "mL/min/1.73 m2": (1, 0),
            "mL/min/1.73_m2": (1, 0),
            "mL/min/1.73m²": (1, 0),
            "mL/min/{1.73m2}": (1, 0),
            "mL/min/1.73": (1, 0),
        },
        "kg": {"kg": (1, 0), "g": (0.001, 0), "[lb_av]": (0.45359237, 0), "lb": (0.45359237, 0)},
        "10*9/L": {
            **dict.fromkeys(("10*9/L", "10^9/L", "x10*9/L", "x10^9/L", "x10E9/L", "10E9/L", "G/L"), (1, 0)),
            **dict.fromkeys(("10*3/uL", "10^3/uL", "x10*3/uL", "x10^3/uL", "x10E3/uL", "10E3/uL"), (1, 0)),
            **dict.fromkeys(("10*3/mm3", "10^3/mm3", "K/uL", "K/mm3", "10*3/mcL", "Thousand/uL", "thou/uL"), (1, 0)),
            **dict.fromkeys(("/uL", "{cells}/uL", "/mm3", "/mcL"), (0.001, 0)),
        },
        # A ratio: as pure numbers, below.
        "{INR}": {"{INR}": (1, 0), "INR": (1, 0), "1": (1, 0), "": (1, 0), "{ratio}": (1, 0), "ratio": (1, 0)},
        # A share that is called by its number: the unit is left out where it is shown.
        "{percent}": {"%": (1, 0), "{percent}": (1, 0)},
        "g": {"g": (1, 0), "gram": (1, 0), "grams": (1, 0), "mg": (0.001, 0), "ug": (1e-6, 0), "mcg": (1e-6, 0)},
        # How orders count what is swallowed.
        "{tbl}": dict.fromkeys(
            (
                *("{tbl}", "{tablet}", "tablet", "tablets", "tablet(s)", "tab", "tabs", "TAB", "{TAB}", "Tablet"),
                *("{capsule}", "capsule", "capsules", "cap", "caps", "CAP", "{CAP}", "Capsule"),
            ),
            (1, 0),
        ),
        # Pure numbers: no unit at all is their usual form.
        "{score}": {"{score}": (1, 0), "1": (1, 0), "": (1, 0), "score": (1, 0), "/10": (1, 0)},
        "{count}": {"{count}": (1, 0), "1": (1, 0), "": (1, 0)},
    }
)

UNITS = frozenset(_CONVERSIONS)


# How units are written for people where UCUM writes them otherwise; an annotation such as {score} is not written.
_WRITTEN = MappingProxyType(
    {
        "d": "days",
        "wk": "weeks",
        "a": "years",
        "Cel": "°C",
        "mL/min/{1.73_m2}": "mL/min/1.73 m²",
        "{percent}": "%",
        "10*9/L": "× 10⁹/L",  # noqa: RUF001 - as people write it
    }
)


def in_words(value: float, unit: str) -> str:
    """A limit as a clinician reads it."""
    return f"{value:g} {unit_in_words(unit)}".strip()


def unit_in_words(unit: str) -> str:
    """A UCUM unit as people write it; empty for a pure number."""
    return _WRITTEN.get(unit, "" if unit.startswith("{") else unit)


def read_number(value: object, comparator: str | None = None) -> Interval | None:
    """A JSON number, with the comparator of a FHIR Quantity, as the interval it may mean; None when it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not isfinite(number):
        return None
    if comparator is None:
        return Interval(number, number)
    bounds = {
        "<": (-inf, nextafter(number, -inf)),
        "<=": (-inf, number),
        ">": (nextafter(number, inf), inf),
        ">=": (number, inf),
    }
    return Interval(*bounds[comparator]) if comparator in bounds else None


def read_quantity(quantity: Mapping[str, object], unit: str) -> Interval | None:
    """A FHIR Quantity in the wanted unit; None when value or unit cannot be trusted.

    The code is read before the text of the unit, which an EHR may localise.
    """
    comparator = quantity.get("comparator")
    if comparator is not None and not isinstance(comparator, str):
        return None
    number = read_number(quantity.get("value"), comparator)
    given = quantity.get("code") or quantity.get("unit") or ""
    known = _CONVERSIONS[unit]
    if number is None or not isinstance(given, str) or given.strip() not in known:
        return None
    factor, offset = known[given.strip()]
    if (factor, offset) == (1, 0):
        return number
    # Rounded below any clinical precision, so that 100.4 [degF] is 38.0 Cel and not a hair less.
    return Interval(*(round(bound * factor + offset, 9) if isfinite(bound) else bound for bound in number))
