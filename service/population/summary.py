"""Rows -> what of them is counted: how often each recommendation would be said, on whom, and what data there was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.knowledge_model.vocabulary import INDICATORS

NO_TIER = "none"
HIDDEN = None


@dataclass(slots=True)
class Summary:
    """Counts of patients. Of the deceased and of those that failed nothing but their number is counted.

    fired: recommendation -> tier -> patients; bands: age band -> most urgent tier of a patient, or none -> patients;
    data: type of resource -> state -> patients; lost, new: as fired.
    """

    patients: int = 0
    deceased: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    complaint: Counter[str] = field(default_factory=Counter)
    fired: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    bands: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    data: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    calls: Counter[str] = field(default_factory=Counter)
    lead: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    lost: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    new: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    changed: int = 0

    @property
    def judged(self) -> int:
        """Of how many patients it is counted what would be said."""
        return self.patients - self.deceased - self.failed.total()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count these rows, as they lie in Parquet."""
        for row in rows:
            self.patients += 1
            if row["failed"]:
                self.failed[row["failed"]] += 1
            elif row["deceased"]:
                self.deceased += 1
            else:
                self._add(row)

    def _add(self, row: Mapping[str, Any]) -> None:
        self.complaint[row["complaint"]] += 1
        for name, found in (("fired", self.fired), ("lost", self.lost), ("new", self.new)):
            for each in row.get(name) or ():
                found[each["id"]][each["tier"]] += 1
        tiers = {each["tier"] for each in row["fired"]}
        self.bands[row["age_band"]][next((tier for tier in INDICATORS if tier in tiers), NO_TIER)] += 1
        for kind, state in row["data"].items():
            self.data[kind][state] += 1
        self.calls.update({f"{each['key']}, {each['priority']}" for each in (*row["imaging"], *row["referrals"])})
        self.lead.update(row["lead"])
        self.left_out.update(name for name, number in row["left_out"].items() if number)
        self.changed += bool(row.get("lost") or row.get("new"))


def shown(counts: Sequence[int], smallest: int) -> list[int | None]:
    """Counts of patients that add up to a number that is known, with HIDDEN for each from 1 to below `smallest`.

    Where that hides one, the next larger one is hidden too: otherwise it is what the others leave of the sum.
    """
    hidden = {place for place, count in enumerate(counts) if 0 < count < smallest}
    if len(hidden) == 1:
        others = [(count, place) for place, count in enumerate(counts) if count and place not in hidden]
        hidden |= {min(others)[1]} if others else set()
    return [HIDDEN if place in hidden else count for place, count in enumerate(counts)]
