"""Why a recommendation fires, or cannot be told: the findings that carry a verdict, read from the verdicts at hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from math import isinf
from types import MappingProxyType

import msgspec

from service.chart.fhir_time import When
from service.knowledge_model.conditions import CONTRADICTORY, Interval, Value
from service.knowledge_model.model import OF_THE_PATIENT, Finding, Knowledge, Recommendation, RedFlag
from service.reasoning.decision import Decision, ones
from service.reasoning.kernel import Carrier, Compiled, Kernel, Node, Weight

# A recommendation, and how it is compiled.
Rule = tuple[Recommendation, Compiled]
# More than a card can list is not gathered.
UNKNOWN_AT_MOST = 6


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """A finding as it was used: where it came from, so that a clinician can look."""

    finding: str
    state: str
    side: str
    date: str
    resource: str
    remarks: tuple[str, ...]
    when: When | None = None


class Fired:
    """A recommendation whose condition is met on these charts, with what met it and what was unknown and could change
    it: these are looked for where somebody asks.
    """

    def __init__(
        self, recommendation: Recommendation, indicator: str, reader: EvidenceReader, met: Sequence[int]
    ) -> None:
        self.recommendation, self.indicator = recommendation, indicator
        self._reader, self.met = reader, met
        self._evidence: tuple[Evidence, ...] | None = None

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """What met it, each finding once a side."""
        # No cached_property, which waits for a lock.
        if self._evidence is None:
            self._evidence = self._reader.met_by(self.recommendation, self.met)
        return self._evidence

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """What of all that it reads is unknown."""
        return self._reader.unknown_on(self.recommendation, self.met)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fired) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self.recommendation.id)

    def _compared(self) -> tuple[object, ...]:
        return self.recommendation, self.indicator, self.evidence, self.unknown

    def findings(self) -> tuple[str, ...]:
        return tuple(item.finding for item in self.evidence)


class Verdict(msgspec.Struct, frozen=True):
    """What comes of the condition of a recommendation: yes (True), no (False), cannot tell (None).

    `evidence` is what makes it so; with None, what of it is known, and `unknown` what it waits for.
    """

    recommendation: Recommendation
    is_true: bool | None
    evidence: tuple[Evidence, ...]
    unknown: tuple[str, ...]


def reads_of(knowledge: Knowledge) -> dict[str, tuple[str, ...]]:
    """What each recommendation reads, to say what of it is unknown: neither a working diagnosis nor a circumstance."""
    return {
        r.id: tuple(
            sorted(
                name
                for name in knowledge.base_findings(n for c in r.conditions() for n in c.findings())
                if knowledge.findings[name].kind != "diagnosis" and not knowledge.findings[name].is_context
            )
        )
        for r in knowledge.recommendations
    }


def stands_on(knowledge: Knowledge, recommendation: Recommendation) -> frozenset[str]:
    """All that can tell of a recommendation: findings, and what they follow from."""
    names: set[str] = set()
    left = [leaf.finding for condition in recommendation.conditions() for leaf in condition.leaves()]
    while left:
        name = left.pop()
        if name not in names:
            names.add(name)
            criterion = knowledge.definitions.get(name)
            left += (leaf.finding for leaf in criterion[1].leaves()) if criterion else ()
            left += knowledge.engine.derived.made_of(name)
    return frozenset(names)


class EvidenceReader:
    """Reads the evidence of one decision.

    facts: what is known of what is judged beside the chart; reads: see reads_of.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        reads: Mapping[str, Sequence[str]],
        decision: Decision,
        facts: Mapping[str, Value] = MappingProxyType({}),
    ) -> None:
        self.knowledge, self.reads, self.decision, self.facts = knowledge, reads, decision, facts
        self.kernel: Kernel = decision.kernel
        self.derived = knowledge.engine.derived
        # Many recommendations stand on one finding.
        self._used: dict[tuple[str, int], Evidence] = {}
        # Points are added up of what speaks for a cause, too.
        self._counting: dict[int, list[Weight]] = {}
        self._speaks: dict[int, Mapping[tuple[str, bool], Iterable[str]]] = {}

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def verdict(self, node: Node, chart: int) -> bool | None:
        values, bit = self.decision.values, 1 << chart
        return True if values[node.true] & bit else False if values[node.false] & bit else None

    def value(self, name: str, chart: int) -> Value:
        """What is known of a finding, or of what is judged beside the chart."""
        return self.facts[name] if name in self.facts else self.decision.charts.charts[chart].known.get(name)

    # -- names --------------------------------------------------------------------------------------------------------

    def evidence_for(self, carriers: Iterable[Carrier], chart: int) -> list[str]:
        """The findings of the chart among what carries a verdict, and behind it."""
        names: list[str] = []
        self._gather(names, carriers, chart)
        return names

    # No function within another: it would hold itself, and the chart, until the garbage collector comes.
    def _gather(self, names: list[str], carriers: Iterable[Carrier], chart: int) -> None:
        findings, made = self.knowledge.findings, self.kernel.made
        known, values, bit = self.decision.charts.charts[chart].known, self.decision.values, 1 << chart
        for place, name, parts, contradictory in carriers:
            if values[place] & bit:
                if parts:
                    self._gather(names, parts, chart)
                elif name in findings:
                    if contradictory or name in known:
                        names.append(name)
                elif name in made:
                    names.extend(self._behind_made(name))
                # What is not so about what is judged is no reason.
                elif self.value(name, chart) not in (None, False):
                    names.extend(self._behind(name, known))

    def _behind(self, name: str, known: Collection[str]) -> Iterable[str]:
        """The findings that something is made of beside the named criteria."""
        if name in self.derived.count_of:
            return [counted for counted in self.derived.count_of[name] if counted in known]
        return [self.derived.days_since.get(name, name)]

    def _behind_made(self, name: str) -> Iterator[str]:
        cause = name.removeprefix("considers-")
        return self._behind_cause(cause) if cause in self.kernel.considered else self._behind_flag(name)

    def _behind_flag(self, name: str) -> Iterator[str]:
        """The findings of the red flags that block this, or are critical; nothing is behind a call for imaging."""
        block = name.removesuffix("-red-flag")
        for flag, indicator, findings in self._red_flags if name in self.kernel.red_flags else ():
            if indicator == "critical" or block in flag.blocks:
                yield from findings

    @cached_property
    def _red_flags(self) -> list[tuple[RedFlag, str, tuple[str, ...]]]:
        """Of each red flag that fires how urgent it is and its findings: not what holds this reader, which would then
        hold itself, and the chart, until the garbage collector comes.
        """
        rules = [(r, self.kernel.recommendations[r.id]) for r in self.knowledge.recommendations if r.red_flag]
        firing = (fired for _made, fired in self.firing(rules))
        return [(flag, each.indicator, each.findings()) for each in firing if (flag := each.recommendation.red_flag)]

    def _behind_cause(self, cause: str) -> Iterator[str]:
        """What speaks for a cause that leads, and that it is the working diagnosis."""
        for chart in self.decision.charts.of_side:
            if self.decision.leads[cause] >> chart & 1:
                yield from self.speaks(chart).get((cause, True), ())
            if self.decision.on(self.kernel.diagnosed[cause], chart):
                yield f"diagnosed-{cause}"

    def waited_for(self, node: Node, chart: int) -> Iterator[str]:
        """The findings by which a condition cannot be told, named criteria opened."""
        if self.verdict(node, chart) is None:
            if criterion := self.kernel.criteria.get(node.finding):
                yield from self.waited_for(criterion, chart)
            elif node.finding:
                yield self.derived.days_since.get(node.finding, node.finding)
            for part in node.parts:
                yield from self.waited_for(part, chart)

    def unknown(self, recommendation: Recommendation, chart: int) -> list[str]:
        """What of all that a recommendation reads is unknown. What is asked of some only, such as pregnancy, is not
        missing on the charts of others.
        """
        of_chart, asked = self.decision.charts.charts[chart], self.kernel.asked_when
        unknown: list[str] = []
        for name in self.reads[recommendation.id]:
            # A finding of which nothing is known may still have a date, which conditions read in another form.
            if name in of_chart.known or name in of_chart.dated:
                continue
            if name not in asked or self.verdict(asked[name], chart) is not False:
                unknown.append(name)
                if len(unknown) == UNKNOWN_AT_MOST:
                    break
        return unknown

    # -- points -------------------------------------------------------------------------------------------------------

    def counting(self, chart: int) -> list[Weight]:
        """The weights that count on this chart of a side."""
        if chart not in self._counting:
            values, bit = self.decision.values, 1 << chart
            self._counting[chart] = [weight for weight in self.kernel.weights if values[weight.place] & bit]
        return self._counting[chart]

    def speaks(self, chart: int) -> Mapping[tuple[str, bool], Iterable[str]]:
        """The findings that give each cause points on this chart of a side, and those that take some."""
        if chart not in self._speaks:
            found: dict[tuple[str, bool], dict[str, None]] = {}
            for weight in self.counting(chart):
                names = found.setdefault((weight.cause, weight.points > 0), {})
                names |= dict.fromkeys(self.named(weight, chart))
            self._speaks[chart] = found
        return self._speaks[chart]

    def named(self, weight: Weight, chart: int) -> tuple[str, ...]:
        """The findings behind a weight that counts."""
        return weight.named or tuple(self._named(weight, chart))

    def _named(self, weight: Weight, chart: int) -> Iterator[str]:
        findings, known = self.knowledge.findings, self.decision.charts.charts[chart].known
        if weight.evidence:
            for name in self.evidence_for(weight.evidence, chart):
                # What is absent speaks for or against a cause only where its absence is what counts.
                if name in findings and (name in weight.absences or known.get(name) is not False):
                    yield name
        else:
            # Of a group, the tests that came out that way.
            for name in sorted(self.knowledge.base_findings([weight.test])):
                if name in findings and self.value(name, chart) is (weight.points > 0):
                    yield name

    # -- evidence -----------------------------------------------------------------------------------------------------

    def used(self, name: str, chart: int) -> Evidence:
        """A finding as it is on this chart."""
        key = (name, chart)
        used = self._used.get(key)
        if used is None:
            used = self._used[key] = self._evidence(name, chart)
        return used

    def _evidence(self, name: str, number: int) -> Evidence:
        chart, value = self.decision.charts.charts[number], self.value(name, number)
        if name not in self.knowledge.findings:
            return Evidence(name, state(value), "", "", "Patient" if name in OF_THE_PATIENT else "", ())
        resolved = chart.resolved.get(name)
        assertion = resolved.assertion if resolved else None
        if assertion is None:
            # Made from other assertions, as leg symptoms on both sides are.
            return Evidence(name, state(value), "", "", "", ())
        stated = with_unit(self.knowledge.findings[name], value if value is not None else assertion.value)
        return Evidence(
            name,
            CONTRADICTORY if name in chart.contradictory else stated,
            assertion.side,
            assertion.when.text if assertion.when else "",
            assertion.resource,
            assertion.remarks,
            assertion.when,
        )

    def of(self, carrying: Iterable[tuple[Iterable[Carrier], int]]) -> tuple[Evidence, ...]:
        """What carries verdicts, each on a chart; each finding once a side."""
        found: dict[tuple[str, str], Evidence] = {}
        for carriers, chart in carrying:
            for name in self.evidence_for(carriers, chart):
                item = self.used(name, chart)
                found.setdefault((item.finding, item.side), item)
        return tuple(found.values())

    def firing(self, rules: Iterable[Rule]) -> Iterator[tuple[Compiled, Fired]]:
        """Those of these that fire, on the charts on which they do."""
        values, documented = self.decision.values, self.decision.charts.documented
        for recommendation, compiled in rules:
            # Most do not, whatever is answered.
            if (fires := values[compiled.fires]) and (met := fires & documented):
                # It is critical on none but these.
                critical = values[compiled.critical] & documented
                indicator = "critical" if critical else recommendation.indicator
                yield compiled, Fired(recommendation, indicator, self, ones(met))

    def met_by(self, recommendation: Recommendation, met: Sequence[int]) -> tuple[Evidence, ...]:
        """What a recommendation stands on that fires on these charts."""
        made = self.kernel.recommendations[recommendation.id]
        carrying = ((made.evidence[True], made.fires), (made.critical_evidence, made.critical))
        evidence = self.of(
            (carriers, chart) for chart in met for carriers, place in carrying if self.decision.on(place, chart)
        )
        return _without_the_other_side(evidence) if len(met) > 1 else evidence

    def unknown_on(self, recommendation: Recommendation, charts: Iterable[int]) -> tuple[str, ...]:
        """What of all that a recommendation reads is unknown on these charts."""
        return tuple(dict.fromkeys(name for chart in charts for name in self.unknown(recommendation, chart)))

    def verdict_of(self, recommendation: Recommendation, charts: Iterable[int]) -> Verdict:
        """The verdict of all sides: yes where it is on one, no where it is on each."""
        compiled = self.kernel.recommendations[recommendation.id]
        sides = [(self.verdict(compiled.when, chart), chart) for chart in charts]
        is_true = next((verdict for verdict in (True, None) if any(of is verdict for of, _chart in sides)), False)
        of_verdict = [chart for of, chart in sides if of is is_true]
        unknown: list[str] = []
        for chart in of_verdict:
            if is_true is None:
                unknown += self.waited_for(compiled.when, chart)
            elif is_true:
                unknown += self.unknown(recommendation, chart)
        evidence = self.of((compiled.evidence[is_true], chart) for chart in of_verdict)
        return Verdict(recommendation, is_true, evidence, tuple(dict.fromkeys(unknown)))


def _without_the_other_side(items: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    """What is known of one side is not also listed as unknown of the other."""
    known = {item.finding for item in items if item.state != "unknown"}
    return tuple(item for item in items if item.state != "unknown" or item.finding not in known)


def with_unit(finding: Finding, value: object) -> str:
    """How a value is named with its unit; a UCUM annotation such as {score} is no unit that a clinician reads."""
    return f"{state(value)} {finding.unit}" if finding.unit and not finding.unit.startswith("{") else state(value)


def state(value: object) -> str:
    """How a value is named in the evidence of a card: the state of a finding, its number, or its date."""
    if isinstance(value, bool):
        return "present" if value else "absent"
    if isinstance(value, Interval):
        return _in_words(value)
    if isinstance(value, When):
        return value.text
    return value if isinstance(value, str) else "unknown"


def _in_words(value: Interval) -> str:
    if value.low == value.high:
        return f"{value.low:g}"
    if isinf(value.low):
        return f"up to {value.high:g}"
    return f"from {value.low:g}" if isinf(value.high) else f"{value.low:g} to {value.high:g}"
