"""Charts for a comparison of engines: whole ones, and for each condition the truth table of what it reads.

A condition's charts are drawn on its thresholds (below, on and above them, and a span over them), as random charts
leave a bound that is off by one unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import product
from math import prod
from random import Random
from typing import Any

import msgspec
import orjson

from cds_hooks import CdsHooksError
from cds_hooks.request import read_envelope, request_for
from sameness.charts import calls
from service.chart.assertions import Assertion
from service.chart.case import Case
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.chart.fhir_time import When
from service.features.resources import bundle, reader_of
from service.knowledge_model.conditions import Condition, Interval
from service.knowledge_model.model import Knowledge
from service.portable.expected import Value, criterion, expected
from service.portable.logic import Logic
from service.reasoning.assessment import Assessor
from service.reasoning.decision import Decision
from service.reasoning.kernel import Node
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from tests.charts import CLOCK, packaged
from tests.portable.engines import Asked

PATIENT = "example"
# A table of more rows is sampled.
ROWS = 24
SEED = 18


class Charts:
    """The charts of one body of knowledge, with what this service decides of each."""

    def __init__(self, knowledge: Knowledge | None = None) -> None:
        self.knowledge = knowledge or packaged()
        self.evaluator = Evaluator(self.knowledge, lambda: CLOCK)
        self.assessor: Assessor = self.evaluator.assessor
        self._published = services_by(self.evaluator)
        self._services = self._published.first_of_hooks()
        self._reader = reader_of(self.knowledge)
        self._days = self.knowledge.engine.derived.days_since

    def bundle(self, case: Case) -> dict[str, Any]:
        return bundle(case, PATIENT, self._reader)

    def asked(self, name: str, case: Case) -> Asked:
        """A whole chart: every definition that is meant to be read."""
        return Asked(name, self.bundle(case), expected(self.assessor, case))

    def read(self, request: Mapping[str, Any]) -> Case:
        """The case of a request. Raises CdsHooksError for what is refused."""
        envelope = read_envelope(orjson.dumps(request))
        hook = str(envelope["hook"])
        service = self._published.find(self._services[hook], hook)
        return self.evaluator.read(request_for(envelope, service, correlation_id=PATIENT))

    def whole(self, generated: int, kinds: tuple[str, ...] = ("fixture", "case", "generated")) -> Iterator[Asked]:
        """Every fixture and named case, and so many generated charts, but for requests that are refused."""
        for call in calls(generated):
            if call.name.startswith(kinds):
                try:
                    case = self.read(call.request)
                except CdsHooksError:
                    continue
                yield self.asked(call.name, case)

    # -- the truth table of a condition -------------------------------------------------------------------------------

    def conditions(self) -> Iterator[tuple[str, Condition, Callable[[Case], dict[str, Value]]]]:
        """Each condition that is exported: its name, itself, and what is expected of the definitions that it makes."""
        definitions = Logic(self.knowledge).definitions
        for r in self.knowledge.recommendations:
            names = tuple(
                each
                for each in definitions.made
                if each.partition(" ")[2].partition(" ")[0] == r.id and not each.startswith("Said")
            )
            if names:
                # Together, for they are read together: when, when critical, and when each call is made.
                parts = tuple(r.conditions())
                yield r.id, Condition("all", "", None, parts), partial(self._named, names)
        for name, (_title, condition) in self.knowledge.definitions.items():
            if any(f"{name} ({chart})" in definitions for chart in ("A", "A+")):
                yield name, condition, partial(self._criterion, name, definitions.made)
        ranking = self.knowledge.differential
        for cause in self.knowledge.causes:
            weights = [(each.cause, each.when) for each in ranking.points]
            limits = [(cap.cause, cap.when) for cap in ranking.caps] + [(of.cause, of.when) for of in ranking.vetoes]
            parts = tuple(when for of, when in (*weights, *limits) if of == cause)
            names = (f"Points {cause} A", f"Points {cause} B", f"Leads {cause} A", f"Leads {cause} B")
            yield cause, Condition("all", "", None, parts), partial(self._named, names)

    def _named(self, names: tuple[str, ...], case: Case) -> dict[str, Value]:
        of_case = expected(self.assessor, case)
        return {name: of_case[name] for name in names}

    def _criterion(self, name: str, made: Mapping[str, Any], case: Case) -> dict[str, Value]:
        decision = self.assessor.decided(case)
        of_whole, of_side = decision.charts.of_patient, decision.charts.of_side
        numbers = {"A+": of_whole[0], "A": of_side[0]}
        if len(of_side) > 1:
            numbers |= {"B+": of_whole[1], "B": of_side[1]}
        return {
            f"{name} ({chart})": criterion(decision, name, number)
            for chart, number in numbers.items()
            if f"{name} ({chart})" in made
        }

    def tables(self, rows: int = ROWS, only: frozenset[str] = frozenset()) -> Iterator[Asked]:
        """The charts of every condition, or of those of these names alone."""
        for name, condition, of_case in self.conditions():
            if only and name not in only:
                continue
            for number, case in enumerate(self.table(name, condition, rows)):
                yield Asked(f"{name} {number}", self.bundle(case), of_case(case))

    def table(self, name: str, condition: Condition, rows: int) -> Iterator[Case]:
        """The rows of the truth table of what a condition reads, or so many of them."""
        chance = Random(f"{SEED} {name}")  # noqa: S311 - no secret
        read = sorted(self._read_by(condition))
        limits = self._limits(condition)
        values = [self._values(each, limits.get(each, {1.0})) for each in read]
        if prod(map(len, values)) <= rows:
            yield from (self._case(dict(zip(read, row, strict=True)), chance) for row in product(*values))
            return
        # Of a longer one: a row that holds, or nearly, with each value of one name changed, quantities first.
        base = self._climbed(name, dict(zip(read, values, strict=True)), chance)
        yield self._plain(base)
        changed = [(each, value) for each, of in zip(read, values, strict=True) for value in of if value != base[each]]
        chance.shuffle(changed)
        changed.sort(key=lambda pair: not isinstance(pair[1], Interval))
        yield from (self._plain({**base, each: value}) for each, value in changed[: max(rows - rows // 4 - 1, 0)])
        yield from (
            self._case(dict(zip(read, map(chance.choice, values), strict=True)), chance) for _ in range(rows // 4)
        )

    def _climbed(self, name: str, values: Mapping[str, list[Any]], chance: Random) -> dict[str, Any]:
        """A row in which as much of a condition holds as can be had by changing one value at a time."""
        row: dict[str, Any] = dict.fromkeys(values)
        best = self._holds(name, row)
        for each in chance.sample([*values], len(values)) * 2:
            for value in values[each]:
                if best == 1:
                    return row
                if (held := self._holds(name, {**row, each: value})) > best:
                    row, best = {**row, each: value}, held
        return row

    def _holds(self, name: str, row: Mapping[str, Any]) -> float:
        """How much of the condition of this name holds, from 0 to 1; of a cause, how many points it has."""
        decision = self.assessor.decided(self._plain(row))
        kernel = decision.kernel
        if name in self.knowledge.causes:
            points = [w.points for w in kernel.weights if w.cause == name and decision.on(w.place, 0)]
            return min(sum(points) / 100, 0.99)
        node = kernel.criteria[name] if name in kernel.criteria else kernel.recommendations[name].when
        return _share(decision, node)

    def _plain(self, row: Mapping[str, Any]) -> Case:
        """A case of one side in which this is documented once, now."""
        found: dict[str, tuple[Assertion, ...]] = {}
        now = When(CLOCK, CLOCK, "")
        for each, value in {"buttock-pain": True, **row}.items():
            if value is None or each in ("age", "sex"):
                continue
            finding = self._days.get(each, each)
            side = NO_SIDE if self.knowledge.findings[finding].whole_patient else LEFT
            said = self._day(value) if each in self._days else value
            found[finding] = (Assertion(finding, said, side, now, f"Observation/{finding}"),)
        patient = msgspec.structs.replace(self._empty.patient, age=row.get("age"), sex=row.get("sex"))
        return msgspec.structs.replace(self._empty, patient=patient, assertions=found)

    @staticmethod
    def _day(days: Interval) -> When:
        low, high = (CLOCK - timedelta(days=number) for number in (days.high, days.low))
        return When(_midnight(low), _midnight(high), "")

    def _read_by(self, condition: Condition) -> frozenset[str]:
        """What of a chart a condition reads: findings, age, sex, days since a date."""
        found = self.knowledge.opened(condition.findings())
        counted = {of for name in found for of in self.knowledge.engine.derived.count_of.get(name, ())}
        both = {of for name in found for of in self.knowledge.engine.derived.on_both_sides.get(name, ())}
        readable = {*self.knowledge.findings, *self._days, "age", "sex"}
        return frozenset((found | counted | both) & readable)

    def _limits(self, condition: Condition) -> dict[str, set[float]]:
        """Quantity -> the numbers that a condition, and the criteria that it names, compare it with."""
        named = self.knowledge.opened(condition.findings())
        opened = [self.knowledge.definitions[name][1] for name in sorted(named) if name in self.knowledge.definitions]
        found: dict[str, set[float]] = {}
        for leaf in (leaf for each in (condition, *opened) for leaf in each.leaves()):
            if leaf.word in ("at_least", "at_most"):
                found.setdefault(leaf.finding, set()).add(float(leaf.operand))
        return found

    def _values(self, name: str, limits: Iterable[float]) -> list[Any]:
        """The values that are tried: of a quantity, those below, on and above each limit, and a span over it."""
        if name == "sex":
            return ["female", "male", None]
        if name in self.knowledge.findings and self.knowledge.findings[name].value == "boolean":
            return [True, False, None]
        if name in self.knowledge.findings and self.knowledge.findings[name].value == "date":
            return [None]
        step = 1 if name == "age" or name in self._days else 0.1
        found: list[Any] = [None]
        for limit in sorted(limits):
            found += [Interval(each, each) for each in (limit - step, limit, limit + step) if each >= 0]
            found.append(Interval(max(limit - 1, 0), limit + 1))
        return found

    def _case(self, values: Mapping[str, Any], chance: Random) -> Case:
        """A case in which this is documented: mostly on one side, and now and then twice, undated or on both."""
        two_sided = chance.random() < 0.25
        side = chance.choice((LEFT, RIGHT, NO_SIDE, BILATERAL))
        stated = dict(values)
        if chance.random() < 0.25:
            # What stages make of the rest is read as well.
            other = chance.choice([f.id for f in self.knowledge.findings.values() if f.value == "boolean"])
            stated.setdefault(other, True)
        if chance.random() < 0.8:
            stated.setdefault("buttock-pain", True)
        assertions: dict[str, list[Assertion]] = {}
        for name, value in stated.items():
            if value is None or name in ("age", "sex"):
                continue
            for one in self._assertions(name, value, chance, side, two_sided=two_sided):
                assertions.setdefault(one.finding, []).append(one)
        return msgspec.structs.replace(
            self._empty,
            patient=msgspec.structs.replace(self._empty.patient, age=stated.get("age"), sex=stated.get("sex")),
            assertions={name: tuple(found) for name, found in assertions.items()},
        )

    def _assertions(self, name: str, value: Any, chance: Random, side: str, *, two_sided: bool) -> Iterator[Assertion]:
        finding = self._days.get(name, name)
        if name in self._days:
            value = self._day(value)
        of = chance.choice((LEFT, RIGHT, NO_SIDE, BILATERAL)) if two_sided else side
        if self.knowledge.findings[finding].whole_patient:
            of = NO_SIDE
        for again in range(1 + (chance.random() < 0.1)):
            other = not value if again and isinstance(value, bool) else value
            yield Assertion(finding, other, of, self._when(chance), f"Observation/{finding}")

    @staticmethod
    def _when(chance: Random) -> When | None:
        if chance.random() < 0.1:
            return None
        at = CLOCK - timedelta(days=chance.choice((0, 0, 0, 1, 30)))
        if chance.random() < 0.15:
            return When(_midnight(at.replace(day=1)), at, "")
        return When(at, at, "")

    @cached_property
    def _empty(self) -> Case:
        request = {
            "hook": "patient-view",
            "hookInstance": "8f0d5a3e-6f0e-5c38-9a3f-2f1c7a1d9b64",
            "context": {"userId": "Practitioner/example", "patientId": PATIENT},
            "prefetch": {"patient": {"resourceType": "Patient", "id": PATIENT}},
        }
        return self.read(request)


def _share(decision: Decision, node: Node) -> float:
    """How much of a condition is true on the first chart; what is unknown counts half."""
    if decision.on(node.true, 0):
        return 1
    if node.finding:
        if node.finding in decision.kernel.criteria and node.operand == "present":
            return min(_share(decision, decision.kernel.criteria[node.finding]), 0.99)
        return 0 if decision.on(node.false, 0) else 0.5
    parts = [_share(decision, part) for part in node.parts]
    if node.word == "all":
        return sum(parts) / len(parts) * 0.99
    return (max(parts) if node.word == "any" else 1 - max(parts)) * 0.99


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
