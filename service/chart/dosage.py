"""How much of a medicine an order allows in 24 hours. What cannot be read makes the answer unknown, never less.

FHIR R4: Dosage, Timing, Ratio.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from math import inf
from typing import Any

from service.chart.elements import as_dict, as_list, as_text, written_in
from service.knowledge_model.quantity import read_number, read_quantity

_INGREDIENTS = re.compile(r"\s*/\s*(?=[A-Za-z])")
_MILLIGRAMS = re.compile(r"([\d.,/-]*\d) ?MG\b", re.IGNORECASE)
# FHIR R4, value set TimingAbbreviation: times a day.
_ABBREVIATIONS = {
    "AM": 1.0,
    "PM": 1.0,
    "BED": 1.0,
    "QD": 1.0,
    "QOD": 0.5,
    "BID": 2.0,
    "TID": 3.0,
    "QID": 4.0,
    **{f"Q{hours}H": 24.0 / hours for hours in (1, 2, 3, 4, 6, 8)},
}
_COUNTED = re.compile(r"\b(?:Tablet|Capsule)", re.IGNORECASE)
# In grams: as much is no dose, however it came to be written, and no number to reckon with.
_A_TON = 1e6


def strength_of(names: Iterable[str], ingredient: Set[str]) -> float | None:
    """Grams of this ingredient in one tablet or capsule, by the names of a product; None where none tells.

    `ingredient`: the words that it is called by, in small letters.
    Of several ingredients ("Acetaminophen 325 MG / Codeine 30 MG Oral Tablet") each has its own; a name that does not
    say which is whose ("300-30 mg tablet") tells nothing.
    """
    for name in filter(_COUNTED.search, names):
        parts = _INGREDIENTS.split(name)
        named = [part for part in parts if len(parts) == 1 or any(word in part.lower() for word in ingredient)]
        found = [amount for part in named for amount in _MILLIGRAMS.findall(part)]
        if len(found) == 1 and re.fullmatch(r"\d+(?:\.\d+)?", found[0]):
            return float(found[0]) / 1000
    return None


def most_in_a_day(order: Mapping[str, Any], strength: float | None) -> float | None:
    """Grams in 24 hours at the most, by the dosage instructions of a MedicationRequest; None where they do not tell.

    `strength` is what one tablet or capsule holds, in grams. Instructions of one sequence number are followed together,
    those of different numbers one after the other.
    """
    together: dict[object, float] = defaultdict(float)
    for instruction in map(as_dict, as_list(order.get("dosageInstruction"))):
        most = _limit(instruction, strength)
        if most is None:
            most = _scheduled(instruction, strength)
        if most is None:
            return None
        together[instruction.get("sequence") if isinstance(instruction.get("sequence"), int) else None] += most
    most = max(together.values(), default=inf)
    return round(most, 6) if most < _A_TON else None


def _amount(quantity: object, strength: float | None) -> float | None:
    """A quantity in grams, also one that counts tablets."""
    grams = read_quantity(as_dict(quantity), "g")
    if grams is None and strength is not None:
        tablets = read_quantity(as_dict(quantity), "{tbl}")
        return tablets.high * strength if tablets else None
    return grams.high if grams else None


def _limit(instruction: Mapping[str, Any], strength: float | None) -> float | None:
    """The limit that the instruction sets itself. Later releases of FHIR have a list of them."""
    limits = instruction.get("maxDosePerPeriod")
    found = []
    for limit in map(as_dict, limits if isinstance(limits, list) else [limits]):
        amount = _amount(limit.get("numerator"), strength)
        days = read_quantity(as_dict(limit.get("denominator")), "d")
        if amount is not None and days is not None and days.low > 0:
            found.append(amount / days.low)
    return min(found, default=None)


def _scheduled(instruction: Mapping[str, Any], strength: float | None) -> float | None:
    """The largest dose, as often as the timing has it."""
    doses = []
    for given in map(as_dict, as_list(instruction.get("doseAndRate"))):
        quantity = given.get("doseQuantity", as_dict(given.get("doseRange")).get("high"))
        doses.append(_amount(quantity, strength))
    known = [dose for dose in doses if dose is not None]
    timing = as_dict(instruction.get("timing"))
    times = _times_a_day(as_dict(timing.get("repeat"))) if timing.get("repeat") else _times_by_code(timing.get("code"))
    if not known or len(known) < len(doses) or times is None:
        return None
    return max(known) * times


def _times_a_day(repeat: Mapping[str, Any]) -> float | None:
    """Each moment that is named counts; where a frequency is given too, the more often of both."""
    period = read_quantity({"value": repeat.get("period"), "code": as_text(repeat.get("periodUnit"))}, "d")
    frequency = read_number(repeat.get("frequencyMax", repeat.get("frequency", 1)))
    moments = len(as_list(repeat.get("timeOfDay"))) or len(as_list(repeat.get("when")))
    if period is None and moments:
        return float(moments)
    if period is None or frequency is None or period.low <= 0:
        return None
    return max(frequency.high, float(moments)) / period.low


def _times_by_code(code: object) -> float | None:
    written = (word.strip().upper() for word in written_in(code))
    return max((_ABBREVIATIONS[word] for word in written if word in _ABBREVIATIONS), default=None)
