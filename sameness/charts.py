"""Charts for a comparison: every fixture, every named case, and generated ones that draw on the thresholds.

A generated chart has values below, on and above the limits of the knowledge, dates of a day's, a month's and a year's
precision or none, findings of both sides and of none, and findings that are recorded both as present and as absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import Finding
from service.service_ids import (
    ANALGESIC_SAFETY_SIGN,
    APPOINTMENT_TIMING,
    DIAGNOSIS,
    DISCHARGE_ADVICE,
    IMAGING_REFERRAL_SIGN,
)
from tests.charts import SYSTEMS, build_request, named_cases, packaged

FIXTURES = Path(__file__).parents[1] / "fixtures" / "requests"
SEED = 12
# Most are asked about the whole chart, where every recommendation about it can be seen.
SERVICES = (*[DIAGNOSIS] * 6, ANALGESIC_SAFETY_SIGN, APPOINTMENT_TIMING, DISCHARGE_ADVICE, IMAGING_REFERRAL_SIGN)
_SIDES = ("left", "right", "bilateral", "no side")
_PARTIAL = (4, 7, 10)
_MEDICINES = ("Ibuprofen 400 mg", "Acetaminophen 500 mg", "Aspirin 100 mg", "Aspirin 500 mg", "Diclofenac gel")


class Call(NamedTuple):
    """A request to the service of this id."""

    name: str
    service: str
    request: dict[str, Any]


def calls(generated: int, seed: int = SEED) -> Iterator[Call]:
    """All fixtures, all named cases, and so many generated charts, the same ones for a seed."""
    for path in sorted(FIXTURES.rglob("*.json")):
        folder = path.parent.name
        yield Call(
            f"fixture {path.stem}", DIAGNOSIS if folder == "requests" else folder, json.loads(path.read_text("utf-8"))
        )
    for case in named_cases():
        yield Call(f"case {case.name}", case.service, case.request())
    yield from generated_calls(generated, seed)


def generated_calls(count: int, seed: int = SEED) -> Iterator[Call]:
    """So many generated charts, the same ones for a seed."""
    generator = _Generator(Random(seed))  # noqa: S311 - no secret
    for number in range(count):
        yield generator.call(f"generated {number}")


class _Generator:
    def __init__(self, chance: Random) -> None:
        self.chance, knowledge = chance, packaged()
        self.findings = [f for f in knowledge.findings.values() if f.value == "boolean"]
        self.quantities = [f for f in knowledge.findings.values() if f.value == "quantity"]
        self.locating = [f for f in self.findings if f.defines_complaint]
        self.red_flags = sorted(
            knowledge.base_findings(
                name
                for recommendation in knowledge.recommendations
                if recommendation.red_flag
                for condition in recommendation.conditions()
                for name in condition.findings()
            )
            & {finding.id for finding in self.findings}
        )
        self.orders = sorted({(code.system, code.code) for code in knowledge.order_codes if code.match == "exact"})
        prefixes = {system: prefix for prefix, system in SYSTEMS.items()}
        self.orders = [(prefixes[system], code) for system, code in self.orders if system in prefixes]
        onset = knowledge.engine.onset
        self.days_since_onset = next(n for n, date in knowledge.engine.derived.days_since.items() if date == onset)
        # Quantity -> the numbers that conditions compare it with.
        self.limits: dict[str, list[float]] = {}
        for condition in knowledge.recommendation_conditions():
            for leaf in condition.leaves():
                if leaf.word in ("at_least", "at_most"):
                    self.limits.setdefault(leaf.finding, []).append(leaf.operand)

    def call(self, name: str) -> Call:
        service = self.chance.choice(SERVICES)
        case = self._case(service)
        request = build_request(case, name)
        self._blur(request)
        return Call(name, service, request)

    def _near(self, name: str, otherwise: Sequence[float]) -> int:
        """A number below, on or above one of the limits of this quantity."""
        return max(0, int(self.chance.choice(self.limits.get(name, otherwise))) + self.chance.choice((-1, 0, 1)))

    def _case(self, service: str) -> dict[str, Any]:
        chance = self.chance
        share = chance.choice((0.02, 0.05, 0.1, 0.2, 0.4))
        two_sided = chance.random() < 0.3
        side = chance.choice(("left", "right", "bilateral", ""))
        named = [f for f in self.findings if chance.random() < share]
        named += chance.sample(self.locating, chance.choice((0, 1, 1, 1, 2)))
        present, absent, unknown = list[str](), list[str](), list[str]()
        for finding in named:
            # Red flags would be on every chart, and then little else would be seen.
            grave = finding.id in self.red_flags and chance.random() < 0.7
            of = unknown if chance.random() < 0.05 else present if chance.random() < 0.55 and not grave else absent
            of.append(self._entry(finding, two_sided=two_sided))
            if chance.random() < 0.05:
                (absent if of is present else present).append(self._entry(finding, two_sided=two_sided))
        case: dict[str, Any] = {"present": present, "absent": absent, "unknown": unknown, "service": service}
        if side:
            case["side"] = side
        if chance.random() < 0.9:
            case["age"] = chance.choice((self._near("age", (40,)), chance.randint(8, 90)))
        if chance.random() < 0.9:
            case["sex"] = chance.choice(("female", "male"))
        case["quantities"] = {
            finding.id: f"{self._measured(finding)}, {chance.choice((0, 0, 3, 40))} days ago"
            for finding in self.quantities
            if chance.random() < share
        }
        if chance.random() < 0.4:
            case["onset_days_ago"] = self._near(self.days_since_onset, (14,))
        return {**case, **self._drafts(service)}

    def _measured(self, finding: Finding) -> str:
        plausible: Interval = finding.plausible
        value = self.chance.choice(self.limits.get(finding.id, [5])) + self.chance.choice((-1, -0.1, 0, 0.1, 1))
        return f"{min(max(value, plausible.low), plausible.high):g}"

    def _entry(self, finding: Finding, *, two_sided: bool) -> str:
        chance, entry = self.chance, finding.id
        if not finding.whole_patient and two_sided:
            entry += f", {chance.choice(_SIDES)}"
        if chance.random() < 0.1:
            return f"{entry}, undated"
        return f"{entry}, {chance.choice((0, 0, 0, 1, 10, 60))} days ago"

    def _drafts(self, service: str) -> dict[str, Any]:
        chance = self.chance
        if service == ANALGESIC_SAFETY_SIGN:
            medicines = chance.sample(_MEDICINES, chance.choice((1, 1, 2)))
            return {
                "drafts": [
                    {
                        "id": str(number),
                        "medicine": f"words|{medicine}",
                        "dose": "1 {tbl}",
                        "times_a_day": chance.choice((1, 3, 8)),
                    }
                    for number, medicine in enumerate(medicines)
                ]
            }
        if service == IMAGING_REFERRAL_SIGN:
            drafted = chance.sample(self.orders, chance.choice((1, 1, 2)))
            ordered = [self._order(order, chance.choice((0, 20, 200))) for order in chance.sample(self.orders, 2)]
            return {
                "drafts": [{"id": str(number), **self._order(order)} for number, order in enumerate(drafted)],
                "orders": ordered[: chance.choice((0, 0, 1))],
                "imaging": ordered[1 : chance.choice((1, 2))],
            }
        if service == APPOINTMENT_TIMING:
            return {"appointments": [{"in_days": chance.choice((0, 1, 2, 7, 14, 30))}]}
        return {}

    def _order(self, order: tuple[str, str], days_ago: int | None = None) -> dict[str, Any]:
        side = self.chance.choice(("left", "right", ""))
        return {
            "order": "|".join(order),
            **({"side": side} if side else {}),
            **({} if days_ago is None else {"days_ago": days_ago}),
        }

    def _blur(self, request: dict[str, Any]) -> None:
        """Some dates of a month's or a year's precision."""
        chance, prefetch = self.chance, request["prefetch"]
        born = prefetch["patient"]
        if "birthDate" in born and chance.random() < 0.3:
            born["birthDate"] = born["birthDate"][: chance.choice(_PARTIAL)]
        for key in prefetch:
            for entry in (prefetch[key] or {}).get("entry", ()):
                resource = entry["resource"]
                for member in ("effectiveDateTime", "valueDateTime"):
                    if member in resource and chance.random() < 0.1:
                        resource[member] = resource[member][: chance.choice(_PARTIAL)]
