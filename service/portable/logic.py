"""The knowledge -> definitions of CQL: the sibling of reasoning.kernel and proof.formula, over case features.

A statement is one feature. A patient has one chart, or with two sides on record two: A and B. Red flags also count what
names no side (A+, B+), what follows them does not, unless there is one side alone. What is held of a finding on a chart
is its newest statement; what disagrees at the same time makes it unknown, or a number the span of both. Without the
marker of features of this reader every verdict is null.
Specification: chart.case, chart.side_chart, reasoning.decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, floor
from typing import NamedTuple

from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.features.resources import AGE, READ, SEX, SIDE_SYSTEM, SYSTEM, reader_of
from service.knowledge_model.conditions import CONTRADICTORY, UNKNOWN, Condition
from service.knowledge_model.model import AFTER_PLAN, RADIOGRAPH_AT_HAND, Knowledge, Recommendation
from service.knowledge_model.vocabulary import CHART_KINDS
from service.portable.elm import (
    FALSE,
    TRUE,
    Definitions,
    Elm,
    alias,
    as_fhir,
    binary,
    equal,
    every,
    exists,
    first,
    if_,
    is_false,
    is_null,
    is_true,
    least,
    list_,
    literal,
    member,
    most,
    no,
    query,
    ref,
    retrieve,
    some,
    total,
    tuple_,
    unknown,
)
from service.reasoning.kernel import OF_PATIENT, OF_PLAN, charts_of

# Farther than any number of a chart: an end that is open.
_FAR = 1e12
READ_BY_US, NOT_READ, COMPLAINT = "Read", "Not read", "Complaint"
_TWO_SIDES, _SIDE_A = "Two sides", "Side A"


def side_name(side: str) -> str:
    """The definition that says whether this pain is of that side."""
    return f"Side is {side or 'not named'}"


class Chart(NamedTuple):
    """A chart of the patient: its name, the flag of the statements that count on it, and that of dates."""

    name: str
    counts: str
    dates: str


A, B = Chart("A", "a", "da"), Chart("B", "b", "db")
A_WITH, B_WITH = Chart("A+", "aw", "da"), Chart("B+", "bw", "db")
# The sides by themselves, for what is derived of both.
_LEFT, _RIGHT = Chart("left", "l", ""), Chart("right", "r", "")
_LEFT_WITH, _RIGHT_WITH = Chart("left+", "lw", ""), Chart("right+", "rw", "")
OF_SIDE, OF_WHOLE = (A, B), (A_WITH, B_WITH)


class NotExportedError(Exception):
    """A condition that the export cannot say, and why."""


@dataclass(frozen=True, slots=True)
class NotExported:
    """Something of the knowledge that another engine does not get, and why."""

    what: str
    why: str


class Logic:
    """The definitions of one body of knowledge. `remarks`: what stands above a definition in the text."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge, self.derived = knowledge, knowledge.engine.derived
        self.definitions = Definitions()
        self.remarks: dict[str, str] = {}
        self.not_exported = [*not_exported(knowledge)]
        self._flags = dict[str, Callable[[Chart], Elm]]()
        self.exported = tuple(r for r in knowledge.recommendations if r.kind in CHART_KINDS)
        self._write()
        self.not_exported += self._unread()

    # -- what is written ----------------------------------------------------------------------------------------------

    def define(self, name: str, expression: Elm) -> Elm:
        return self.definitions.define(name, expression)

    def public(self, name: str, expression: Elm) -> None:
        """A definition that is null where no features were read."""
        self.entry(name, if_(ref(READ_BY_US), expression, unknown()))

    def entry(self, name: str, expression: Elm) -> None:
        """A definition that is meant to be read."""
        self.define(name, expression)
        self.definitions.entries.add(name)

    def _write(self) -> None:
        self._write_statements()
        located = [self._located(chart) for chart in OF_WHOLE]
        self.public(COMPLAINT, self._of_patient(located))
        for side in (LEFT, RIGHT, BILATERAL, NO_SIDE):
            alone = equal(ref(_SIDE_A), literal(side))
            of_pain = some((ref(_TWO_SIDES), alone)) if side == BILATERAL else every((no(ref(_TWO_SIDES)), alone))
            self.public(side_name(side), every((ref(COMPLAINT), of_pain)))
        by_kind = {kind: [r for r in self.exported if r.kind == kind] for kind in CHART_KINDS}
        for recommendation in by_kind["red-flag"]:
            self._write_recommendation(recommendation, OF_WHOLE)
        self._write_red_flags(by_kind["red-flag"])
        self._write_ranking()
        for recommendation in by_kind["plan"]:
            self._write_recommendation(recommendation, OF_SIDE)
        self._write_plan([*by_kind["red-flag"], *by_kind["plan"]])
        for kind in CHART_KINDS[2:]:
            for recommendation in by_kind[kind]:
                self._write_recommendation(recommendation, OF_SIDE)
        self._write_outcome()

    def _unread(self) -> Iterator[NotExported]:
        """The named criteria that nothing reads of what is exported."""
        charts = [chart.name for chart in (*OF_SIDE, *OF_WHOLE)]
        for name in self.knowledge.definitions:
            if not any(f"{name} ({chart})" in self.definitions for chart in charts):
                yield NotExported(f"criterion {name}", "only what is not exported reads it")

    def _of_patient(self, parts: Sequence[Elm]) -> Elm:
        """Of the charts of a patient, the second of which is there with two sides alone."""
        on_a, on_b = parts
        return some((on_a, every((ref(_TWO_SIDES), on_b))))

    # -- statements ---------------------------------------------------------------------------------------------------

    def _write_statements(self) -> None:
        coded = first(member(member(alias("O"), "code"), "coding"))
        code = member(coded, "code", "value")
        is_feature = equal(member(coded, "system", "value"), literal(SYSTEM))
        marker = every(
            (
                is_feature,
                equal(code, literal(READ)),
                equal(
                    member(as_fhir(member(alias("O"), "value"), "string"), "value"), literal(reader_of(self.knowledge))
                ),
            )
        )
        self.define(READ_BY_US, exists(query(retrieve("Observation"), "O", marker)))
        self.entry(NOT_READ, no(ref(READ_BY_US)))
        value = member(alias("O"), "value")
        days = as_fhir(member(first(member(alias("O"), "component")), "value"), "Range")
        span = if_(is_null(as_fhir(value, "Range")), days, as_fhir(value, "Range"))
        site = first(member(member(alias("O"), "bodySite"), "coding"))
        side = if_(
            equal(member(site, "system", "value"), literal(SIDE_SYSTEM)), member(site, "code", "value"), literal("")
        )
        effective = as_fhir(member(alias("O"), "effective"), "Period")

        def end(name: str, far: float) -> Elm:
            known = member(span, name, "value", "value")
            return if_(is_null(span), known, if_(is_null(known), literal(far), known))

        self.define(
            "Stated",
            query(
                retrieve("Observation"),
                "O",
                every((ref(READ_BY_US), is_feature, no(is_null(value)))),
                tuple_(
                    code=code,
                    side=side,
                    low=member(effective, "start", "value"),
                    high=member(effective, "end", "value"),
                    present=member(as_fhir(value, "boolean"), "value"),
                    least=end("low", -_FAR),
                    most=end("high", _FAR),
                    until=member(as_fhir(value, "Period"), "end", "value"),
                    coded=member(first(member(as_fhir(value, "CodeableConcept"), "coding")), "code", "value"),
                ),
            ),
        )
        self._write_sides()
        s = alias("S")
        on = member(s, "side")

        def among(*sides: str) -> Elm:
            return some(equal(on, literal(each)) for each in sides)

        two, side_a = ref(_TWO_SIDES), ref(_SIDE_A)
        of_a = some((equal(side_a, literal(NO_SIDE)), equal(on, side_a), among(BILATERAL, NO_SIDE)))
        flags = {
            "aw": of_a,
            "bw": every((two, among(RIGHT, BILATERAL, NO_SIDE))),
            "a": if_(two, among(LEFT, BILATERAL), of_a),
            "b": every((two, among(RIGHT, BILATERAL))),
            "l": among(LEFT, BILATERAL),
            "r": among(RIGHT, BILATERAL),
            "lw": among(LEFT, BILATERAL, NO_SIDE),
            "rw": among(RIGHT, BILATERAL, NO_SIDE),
            "da": some((equal(side_a, literal(BILATERAL)), of_a)),
            "db": every((two, among(RIGHT, BILATERAL, NO_SIDE))),
        }
        kept = {name: member(s, name) for name in ("code", "low", "high", "present", "least", "most", "until", "coded")}
        self.define("Statements", query(ref("Stated"), "S", None, tuple_(**kept, **flags)))

    def _write_sides(self) -> None:
        """The sides of this pain; see Case.sides."""
        telling = [
            f.id for f in self.knowledge.findings.values() if not (f.whole_patient or f.is_context or f.ignore_side)
        ]
        s = alias("S")
        tells = binary("In", member(s, "code"), list_(map(literal, telling)))
        sided = self.define(
            "Sided", query(ref("Stated"), "S", every((no(equal(member(s, "side"), literal(""))), tells)))
        )

        def of(side: str, *where: Elm) -> Elm:
            return exists(query(sided, "S", every((equal(member(s, "side"), literal(side)), *where))))

        not_absent = no(is_false(member(s, "present")))
        present = {side: self.define(f"Pain {side}", of(side, not_absent)) for side in (LEFT, RIGHT, BILATERAL)}
        named = {side: self.define(f"Named {side}", of(side)) for side in (LEFT, RIGHT, BILATERAL)}
        two = some(
            (
                every((present[LEFT], present[RIGHT])),
                every((present[BILATERAL], some((named[LEFT], named[RIGHT])))),
            )
        )
        self.define(_TWO_SIDES, two)
        alone = literal(NO_SIDE)
        for side, others in ((BILATERAL, (LEFT, RIGHT)), (RIGHT, (LEFT, BILATERAL)), (LEFT, (RIGHT, BILATERAL))):
            alone = if_(every((named[side], *(no(named[other]) for other in others))), literal(side), alone)
        for side in (BILATERAL, RIGHT, LEFT):
            alone = if_(present[side], literal(side), alone)
        self.define(_SIDE_A, if_(ref(_TWO_SIDES), literal(LEFT), alone))

    def _of_code(self, code: str) -> Elm:
        name = f"{code}: statements"
        if name not in self.definitions:
            self.define(name, query(ref("Statements"), "S", equal(member(alias("S"), "code"), literal(code))))
        return ref(name)

    def _chart(self, finding: str, chart: Chart) -> tuple[str, list[Elm], list[Elm]]:
        """How the chart is called for this finding, and by which flag a statement S, and one T, counts on it."""
        if self.knowledge.findings[finding].whole_patient:
            return finding, [], []
        return (
            f"{finding} ({chart.name})",
            [member(alias("S"), chart.counts)],
            [member(alias("T"), chart.counts)],
        )

    def _counting(self, finding: str, chart: Chart) -> tuple[str, Callable[..., Elm]]:
        """A query of the statements that count: no older than the newest, or without a date."""
        name, on_s, on_t = self._chart(finding, chart)
        stated, s, t = self._of_code(finding), alias("S"), alias("T")
        since = f"{name}: since"
        if since not in self.definitions:
            latest = most(query(stated, "T", every((*on_t, no(is_null(member(t, "high"))))), member(t, "high")))
            newest = first(query(stated, "S", every((*on_s, equal(member(s, "high"), latest)))))
            self.define(since, member(newest, "low"))
        counts = some(
            (
                is_null(member(s, "high")),
                is_null(ref(since)),
                binary("GreaterOrEqual", member(s, "high"), ref(since)),
            )
        )
        return name, lambda *more, returned=None: query(stated, "S", every((*on_s, *more, counts)), returned)

    # -- what is held of a finding ------------------------------------------------------------------------------------

    def _said(self, finding: str, chart: Chart) -> tuple[Elm, Elm]:
        """Whether anything that counts says that it is present, and that it is absent."""
        name, counting = self._counting(finding, chart)
        present = member(alias("S"), "present")
        for state, stated in (("present", present), ("absent", no(present))):
            if f"{name}: stated {state}" not in self.definitions:
                self.define(f"{name}: stated {state}", exists(counting(stated)))
        return ref(f"{name}: stated present"), ref(f"{name}: stated absent")

    def _stated(self, finding: str, chart: Chart) -> Elm:
        """What is held of a finding by its own statements."""
        present, absent = self._said(finding, chart)
        return if_(equal(present, absent), unknown(), present)

    def finding(self, finding: str, chart: Chart) -> Elm:
        """Whether a finding is present, as far as it is known."""
        derived = self.derived
        of_chart = finding in (*derived.on_both_sides, *derived.on_the_other_side)
        either_side = self.knowledge.findings[finding].bilateral_if_either and chart in (*OF_SIDE, *OF_WHOLE)
        name = self._chart(finding, chart)[0]
        if of_chart or either_side:
            name = f"{finding} ({chart.name})"
        if name in self.definitions:
            return ref(name)
        held = self._stated(finding, chart)
        if finding in derived.on_both_sides:
            sides = [
                some(is_true(self.finding(of, side)) for of in derived.on_both_sides[finding])
                for side in (_LEFT, _RIGHT)
            ]
            held = some((held, every(sides)))
        elif finding in derived.on_the_other_side:
            held = some((held, self._on_the_other_side(finding, chart)))
        elif finding in derived.on_either_side:
            either = self._on_either_side(derived.on_either_side[finding])
            stated = self.define(f"{finding}: stated", held)
            held = if_(is_true(stated), TRUE, if_(is_null(either), stated, either))
        elif either_side:
            held = if_(equal(ref(_SIDE_A), literal(BILATERAL)), self._on_either_side(finding), held)
        return self.define(name, held)

    def _on_either_side(self, finding: str) -> Elm:
        name = f"{finding} (either side)"
        if name not in self.definitions:
            left, right = (self.finding(finding, side) for side in (_LEFT_WITH, _RIGHT_WITH))
            self.define(name, some((left, is_true(right))))
        return ref(name)

    def _on_the_other_side(self, finding: str, chart: Chart) -> Elm:
        of = self.derived.on_the_other_side[finding]
        here = A_WITH if chart in (A, A_WITH) else B_WITH

        def so(on: Chart) -> Elm:
            return some(is_true(self.finding(each, on)) for each in of)

        side_a = ref(_SIDE_A)
        other = (
            some((every((equal(side_a, literal(LEFT)), so(_RIGHT))), every((equal(side_a, literal(RIGHT)), so(_LEFT)))))
            if here is A_WITH
            else so(_LEFT)
        )
        return every((other, no(so(here))))

    def contradictory(self, finding: str, chart: Chart) -> Elm:
        """Whether a finding is recorded both as present and as absent at the same time."""
        if self.knowledge.findings[finding].bilateral_if_either or finding in self.derived.on_either_side:
            raise NotExportedError(f"contradictory({finding}): of a finding that is on either side")
        recorded = every(self._said(finding, chart))
        if finding in (*self.derived.on_both_sides, *self.derived.on_the_other_side):
            return every((recorded, no(is_true(self.finding(finding, chart)))))
        return recorded

    def ends(self, name: str, chart: Chart) -> tuple[Elm, Elm]:
        """The lower and the upper end of a quantity, null where it is unknown."""
        dates = self.derived.days_since
        if name in dates:
            called = f"{name} ({chart.name[0]})"
            if f"{called}: least" not in self.definitions:
                on_s, on_t = (member(alias(each), chart.dates) for each in "ST")
                stated = self._of_code(dates[name])
                until = member(alias("T"), "until")
                latest = most(query(stated, "T", every((on_t, no(is_null(until)))), until))
                newest = first(query(stated, "S", every((on_s, equal(member(alias("S"), "until"), latest)))))
                for end in ("least", "most"):
                    self.define(f"{called}: {end}", member(newest, end))
        elif name == AGE:
            called = name
            if f"{called}: least" not in self.definitions:
                for end in ("least", "most"):
                    self.define(f"{called}: {end}", member(first(self._of_code(AGE)), end))
        else:
            called, counting = self._counting(name, chart)
            if f"{called}: least" not in self.definitions:
                s = alias("S")
                self.define(f"{called}: least", least(counting(returned=member(s, "least"))))
                self.define(f"{called}: most", most(counting(returned=member(s, "most"))))
        return ref(f"{called}: least"), ref(f"{called}: most")

    # -- conditions ---------------------------------------------------------------------------------------------------

    def condition(self, condition: Condition, chart: Chart) -> Elm:
        """A condition on this chart: true, false or null. Raises NotExportedError."""
        if condition.finding:
            return self._comparison(condition, chart)
        parts = [self.condition(part, chart) for part in condition.parts]
        if condition.word == "all":
            return every(parts)
        return some(parts) if condition.word == "any" else no(some(parts))

    def _comparison(self, leaf: Condition, chart: Chart) -> Elm:
        name, word, operand = leaf.finding, leaf.word, leaf.operand
        if word == "is":
            return self._state(name, operand, chart)
        if word == "one_of":
            if name != SEX:
                raise NotExportedError(f"{name} in (…): is told beside the chart")
            coded = member(first(self._of_code(SEX)), "coded")
            return some(equal(coded, literal(each)) for each in sorted(operand))
        counted = self.derived.count_of.get(name)
        if counted:
            present = [self.finding(of, chart) for of in counted]
            if word == "at_least":
                return _at_least(ceil(operand), present)
            return no(_at_least(floor(operand) + 1, present))
        if self.knowledge.value_of(name) != "quantity" or not self._is_of_chart(name):
            raise NotExportedError(f"{name}: is told beside the chart")
        low, high = self.ends(name, chart)
        bound = literal(float(operand))
        if word == "at_least":
            # Where the bound lies between both ends nobody can tell.
            reached, may_reach = (binary("GreaterOrEqual", end, bound) for end in (low, high))
        else:
            reached, may_reach = (binary("LessOrEqual", end, bound) for end in (high, low))
        return some((reached, every((may_reach, unknown()))))

    def _is_of_chart(self, name: str) -> bool:
        return name in self.knowledge.findings or name == AGE or name in self.derived.days_since

    def _state(self, name: str, state: str, chart: Chart) -> Elm:
        if state == CONTRADICTORY:
            return self.contradictory(name, chart)
        if state == UNKNOWN and self.knowledge.value_of(name) == "quantity":
            if name in self.derived.count_of:
                return every(is_null(self.finding(of, chart)) for of in self.derived.count_of[name])
            return is_null(self.ends(name, chart)[0])
        held = self.value(name, chart)
        return {
            "present": lambda: held,
            "absent": lambda: no(held),
            "not-absent": lambda: no(is_false(held)),
            "not-present": lambda: no(is_true(held)),
            UNKNOWN: lambda: is_null(held),
        }[state]()

    def value(self, name: str, chart: Chart) -> Elm:
        """Whether a finding, a criterion or what a stage has made is so on this chart. Raises NotExportedError."""
        if name in self.knowledge.definitions:
            return self._criterion(name, chart)
        if name in self.knowledge.findings and self.knowledge.findings[name].value == "boolean":
            return self.finding(name, chart)
        if name in self._flags:
            return self._flags[name](chart)
        raise NotExportedError(f"{name}: is told beside the chart")

    def _criterion(self, name: str, chart: Chart) -> Elm:
        called = f"{name} ({chart.name})"
        if called not in self.definitions:
            self.define(called, self.condition(self.knowledge.definitions[name][1], chart))
            self.remarks[called] = self.knowledge.definitions[name][0]
        return ref(called)

    def _located(self, chart: Chart) -> Elm:
        found = [
            is_true(self.finding(f.id, chart)) if f.value == "boolean" else no(is_null(self.ends(f.id, chart)[0]))
            for f in self.knowledge.findings.values()
            if f.defines_complaint
        ]
        if complaint := self.knowledge.engine.complaint:
            found.append(is_true(self._criterion(complaint, chart)))
        return self.define(f"Located ({chart.name})", some(found))

    # -- recommendations ----------------------------------------------------------------------------------------------

    def _write_recommendation(self, r: Recommendation, charts: tuple[Chart, Chart]) -> None:
        of = charts_of(r)
        may_fire = [no(ref("ranking-waits"))] if of == OF_PLAN else []
        if (of == OF_PATIENT) is not (charts is OF_WHOLE):
            raise NotExportedError(f"{r.id}: is about other charts")
        verdicts, fires, critical = [], [], []
        for chart in charts:
            when = self.define(f"{r.id}: when ({chart.name})", self.condition(r.when, chart))
            fired = self.define(f"{r.id}: fires ({chart.name})", every((is_true(when), *may_fire)))
            grave = TRUE if r.indicator == "critical" else FALSE
            if r.critical_when:
                grave = is_true(self.condition(r.critical_when, chart))
            verdicts.append(when)
            fires.append(fired)
            both = FALSE if grave == FALSE else every((fired, grave))
            critical.append(self.define(f"{r.id}: critical ({chart.name})", both))
        complaint = ref(COMPLAINT)
        self.public(f"Verdict {r.id}", self._of_patient(verdicts))
        self.remarks[f"Verdict {r.id}"] = r.when_then
        self.public(f"Fires {r.id}", every((complaint, self._of_patient(fires))))
        self.public(f"Critical {r.id}", every((complaint, self._of_patient(critical))))
        for kind, conditions in (("imaging", [c.when for c in r.imaging]), ("referral", [c.when for c in r.referrals])):
            for number, condition in enumerate(conditions, start=1):
                on = [
                    self.define(
                        f"{r.id}: {kind} {number} ({chart.name})",
                        every((fired, is_true(self.condition(condition, chart)))) if condition else fired,
                    )
                    for chart, fired in zip(charts, fires, strict=True)
                ]
                self.public(f"Calls {r.id} {kind} {number}", every((complaint, self._of_patient(on))))

    def _any(self, name: str, recommendations: Iterable[Recommendation]) -> Elm:
        """Whether any of these does this on any chart; `name`: of its definitions, such as fires."""
        found = []
        for r in recommendations:
            charts = OF_WHOLE if r.kind == "red-flag" else OF_SIDE
            found.append(self._of_patient([ref(f"{r.id}: {name} ({chart.name})") for chart in charts]))
        return some(found)

    def _made(self, name: str, expression: Elm) -> Elm:
        """What a stage makes of the whole patient."""
        made = self.define(name, expression)
        self._flags[name] = lambda _chart: made
        return made

    def _write_red_flags(self, flags: Sequence[Recommendation]) -> None:
        self._made("critical-red-flag", self._any("critical", flags))
        blocking = {r.id: r.red_flag.blocks for r in flags if r.red_flag}
        for block in self.knowledge.engine.blocks:
            names = {r.id: "fires" if block in blocking.get(r.id, ()) else "critical" for r in flags}
            self._made(f"{block}-red-flag", some(self._any(names[r.id], [r]) for r in flags))
        self.define("ranking-waits", self._any("critical", [r for r in flags if "ranking" in blocking.get(r.id, ())]))
        self.define("any-red-flag", self._any("fires", flags))
        informative = list_(map(literal, sorted(self.knowledge.informative())))
        self.define(
            "informed", exists(query(ref("Statements"), "S", binary("In", member(alias("S"), "code"), informative)))
        )
        self._made("insufficient-data", no(some((ref("any-red-flag"), ref("informed")))))

    def _write_plan(self, recommendations: Sequence[Recommendation]) -> None:
        called = {name: list[Elm]() for name in AFTER_PLAN}
        for r in recommendations:
            for number, call in enumerate(r.imaging, start=1):
                so = self._any(f"imaging {number}", [r])
                called["imaging-called-for"].append(so)
                if call.modality == "mri":
                    called["mri-called-for"].append(so)
        for name, parts in called.items():
            self._made(name, some(parts))

    def _write_outcome(self) -> None:
        treatments: dict[tuple[str, str], list[Recommendation]] = {}
        left_out: dict[str, list[Recommendation]] = {}
        for r in self.exported:
            for treatment in r.treatment:
                treatments.setdefault((treatment.state, treatment.id), []).append(r)
                if treatment.state != "caution":
                    for what in treatment.without:
                        left_out.setdefault(what, []).append(r)
        complaint = ref(COMPLAINT)
        for id_ in self.knowledge.engine.treatments:
            held, offered = (self._any("fires", treatments.get((state, id_), ())) for state in ("hold", "offer"))
            self.public(f"Holds {id_}", every((complaint, held)))
            self.public(f"Offers {id_}", every((complaint, offered, no(ref(f"Holds {id_}")))))
        for r in self.exported:
            adds = sorted({what for treatment in r.treatment for what in treatment.adds})
            left = [no(self._any("fires", left_out[what])) for what in adds if what in left_out]
            cautions = sorted({treatment.id for treatment in r.treatment if treatment.state == "caution"})
            beside = [some(ref(f"Offers {treatment}") for treatment in cautions)] if cautions else []
            self.entry(f"Said {r.id}", every((ref(f"Fires {r.id}"), *left, *beside)))

    # -- the ranking --------------------------------------------------------------------------------------------------

    def _write_ranking(self) -> None:
        ranking = self.knowledge.differential
        unranked = [
            is_true(self.condition(ranking.unranked, chart)) if ranking.unranked else FALSE for chart in OF_SIDE
        ]
        self.define("unranked", self._of_patient(unranked))
        self.define("ranked", no(some((ref("ranking-waits"), ref("insufficient-data"), ref("unranked")))))
        for chart in OF_SIDE:
            for cause in self.knowledge.causes:
                parts = [*self._points(cause, chart)]
                self.define(f"points of {cause} ({chart.name})", total(parts) if parts else literal(0))
        for cause in self.knowledge.causes:
            for chart in OF_SIDE:
                leads = self.define(f"leads {cause} ({chart.name})", self._leads(cause, chart))
                diagnosis = f"diagnosed-{cause}"
                diagnosed = is_true(self.finding(diagnosis, chart)) if diagnosis in self.knowledge.findings else FALSE
                self.define(f"considers-{cause} ({chart.name})", some((leads, diagnosed)))
            self._flags[f"considers-{cause}"] = partial(_on_chart, f"considers-{cause}")
            self.public(f"Points {cause} A", ref(f"points of {cause} (A)"))
            self.public(f"Points {cause} B", if_(ref(_TWO_SIDES), ref(f"points of {cause} (B)"), {"type": "Null"}))
            for chart in OF_SIDE:
                there = [ref(_TWO_SIDES)] if chart is B else []
                self.public(
                    f"Leads {cause} {chart.name}",
                    every((ref(COMPLAINT), *there, ref(f"leads {cause} ({chart.name})"))),
                )

    def _leads(self, cause: str, chart: Chart) -> Elm:
        """Enough points, far enough from the next, and nothing that keeps it from leading."""
        ranking = self.knowledge.differential
        if ranking.lead_by <= 0:
            raise NotExportedError("lead_by: several causes could lead at once")
        points = {each: ref(f"points of {each} ({chart.name})") for each in self.knowledge.causes}
        others = [points[each] for each in points if each != cause]
        vetoes = [is_true(self.condition(veto.when, chart)) for veto in ranking.vetoes if veto.cause == cause]
        return every(
            (
                ref("ranked"),
                binary("GreaterOrEqual", points[cause], literal(int(ranking.lead_at_least))),
                *(
                    [
                        binary(
                            "GreaterOrEqual",
                            binary("Subtract", points[cause], most(list_(others))),
                            literal(int(ranking.lead_by)),
                        )
                    ]
                    if others
                    else []
                ),
                *([no(some(vetoes))] if vetoes else []),
            )
        )

    def _points(self, cause: str, chart: Chart) -> Iterator[Elm]:
        ranking = self.knowledge.differential
        for entry in ranking.points:
            if entry.cause == cause:
                yield if_(is_true(self.condition(entry.when, chart)), literal(int(entry.points)), literal(0))
        for (of, _family), (tests, caps) in ranking.families.items():
            if of != cause:
                continue
            results: list[tuple[int, Elm]] = []
            for test in tests:
                positive = self.value(test.finding, chart)
                negative = (
                    is_true(self.condition(test.negative_when, chart)) if test.negative_when else is_false(positive)
                )
                results += [(w, so) for w, so in ((test.positive, is_true(positive)), (test.negative, negative)) if w]
            counted = literal(0)
            # Of the tests of a family the one with the largest weight counts, of two alike the first.
            weightiest_first = sorted(results, key=lambda result: -abs(result[0]))
            for weight, so in weightiest_first[::-1]:
                points = literal(int(weight))
                for cap in sorted(caps, key=lambda cap: -cap.at_most):
                    capped = literal(int(min(weight, cap.at_most)))
                    if capped != literal(int(weight)):
                        points = if_(is_true(self.condition(cap.when, chart)), capped, points)
                counted = if_(so, points, counted)
            yield counted


def _on_chart(name: str, chart: Chart) -> Elm:
    return ref(f"{name} ({chart.name})")


def _at_least(count: int, of: Sequence[Elm]) -> Elm:
    """Whether at least so many of these are so: what is unknown may be either."""
    if count <= 0:
        return TRUE
    if len(of) < count:
        return FALSE
    rest, so = _at_least(count, of[1:]), _at_least(count - 1, of[1:])
    return some((rest, every((of[0], so))))


def not_exported(knowledge: Knowledge) -> Iterator[NotExported]:
    """What of the knowledge another engine does not get, and why."""
    judged = "is about what the clinician has in hand (a draft, an appointment, a discharge), which is no case feature"
    for r in knowledge.recommendations:
        if r.kind not in CHART_KINDS:
            yield NotExported(f"recommendation {r.id}", f"it {judged}")
    for r in knowledge.retired:
        yield NotExported(f"recommendation {r.id}", "it is retired")
    for presentation in knowledge.presentations:
        yield NotExported(
            f"rating {presentation.id}",
            f"it is read for draft orders of imaging, beside {RADIOGRAPH_AT_HAND} and what they are",
        )
    for question in knowledge.questions:
        yield NotExported(
            f"question {', '.join(question.findings)}",
            "what to ask next is decided by what each answer would change: every answer would have to be evaluated",
        )


def explained(found: Iterable[NotExported]) -> Mapping[str, list[str]]:
    """Each reason with what it is of."""
    by_reason: dict[str, list[str]] = {}
    for each in found:
        by_reason.setdefault(each.why, []).append(each.what)
    return by_reason
