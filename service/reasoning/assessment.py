"""A case and the knowledge -> what the knowledge calls for. Pure: the clock is in the case, there is no I/O.

What is decided stands in decision.py, why in evidence.py, what to ask in questions.py; here it is put together. Sides
are judged apart; red flags belong to the patient and also count what has no side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import accumulate, chain
from operator import and_, or_
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from service.chart.assertions import Assertion
from service.chart.case import Case, LeftOut, resolve
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.chart.fhir_time import When, read_when
from service.chart.medicines import Unrecognised
from service.chart.side_chart import Chart, sides_with
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.model import (
    Knowledge,
    Presentation,
    Rating,
    Recommendation,
    Treatment,
)
from service.knowledge_model.vocabulary import (
    CHART_KINDS,
    INDICATORS,
    PRIORITIES,
    RECOMMENDATION_KINDS,
)
from service.reasoning.decision import (
    ByVariant,
    Decision,
    Fact,
    charts_of,
    decide,
    layout,
    ones,
    screen,
    sides_of,
    supposing,
)
from service.reasoning.differential import NO_SIDE_NAMED, Ranking, Weighed, rank, weigh
from service.reasoning.evidence import (
    Evidence,
    EvidenceReader,
    Fired,
    Rule,
    Verdict,
    reads_of,
    stands_on,
    state,
    with_unit,
)
from service.reasoning.kernel import Carrier, Compiled, compiled
from service.reasoning.questions import Asked, Questions, WouldChange


class ImagingCall(msgspec.Struct, frozen=True):
    modality: str
    region: str
    priority: str
    alternative: str
    recommendation: str

    @property
    def key(self) -> str:
        """The key of its order in orders.toml; `none-now` has none there."""
        return f"{self.modality}-{self.region}"


class ReferralCall(msgspec.Struct, frozen=True):
    to: str
    priority: str
    recommendation: str

    @property
    def key(self) -> str:
        """The key of its order in orders.toml."""
        return f"referral-{self.to}"


_Call = TypeVar("_Call", ImagingCall, ReferralCall)


class TreatmentCall(msgspec.Struct, frozen=True):
    id: str
    state: str
    because: tuple[str, ...]
    without: tuple[str, ...]
    # The recommendations that say how to offer it with care.
    cautions: tuple[str, ...] = ()


class Assessment(msgspec.Struct, frozen=True):
    """What the knowledge makes of one case."""

    complaint: str
    side: str
    data: dict[str, str]
    left_out: LeftOut
    fired: tuple[Fired, ...] = ()
    # What makes this the complaint of the knowledge.
    located_by: tuple[Evidence, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    ranking_waits: bool = False
    # Whether the causes of the knowledge are not those of this patient.
    unranked: bool = False
    imaging: tuple[ImagingCall, ...] = ()
    referrals: tuple[ReferralCall, ...] = ()
    treatment: tuple[TreatmentCall, ...] = ()
    ask: tuple[Asked, ...] = ()
    contradictory: tuple[str, ...] = ()
    without_side: tuple[str, ...] = ()
    working_diagnoses: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    # What is recorded and cannot be read; it is neither known nor undocumented.
    not_readable: tuple[Assertion | Unrecognised, ...] = ()
    # The prefetch keys of which nothing, or not all, arrived.
    lacking: frozenset[str] = frozenset()
    # What this was made of, for what is judged by it afterwards.
    case: Case | None = None
    decision: Decision | None = None
    # Whatever fired, also what is said only beside an offer: how to take care with what is not offered.
    all_fired: tuple[Fired, ...] = ()
    # Every call, of which the most urgent ones are in imaging and referrals.
    calls: tuple[ImagingCall | ReferralCall, ...] = ()

    def red_flags(self) -> Iterator[Fired]:
        return (fired for fired in self.fired if fired.recommendation.red_flag)

    def fact(self, variants: Iterable[tuple[Value, int]]) -> Fact:
        """What something in the hook context is in which variants of this chart, as a fact; see Decision."""
        found = ByVariant()
        for value, of in variants:
            found[value] = found.get(value, 0) | of
        # Of a chart that is not about this complaint nothing is asked.
        return found if self.complaint == "present" else found.documented

    def so_in(self, variants: int) -> Fact:
        """The fact that something is so in these variants of this chart, and in no others."""
        decision = self.of_complaint
        return decision.charts.so_in(variants) if decision else bool(variants & 1)

    @property
    def of_complaint(self) -> Decision | None:
        """What was decided of a chart that is about this complaint."""
        return self.decision if self.complaint == "present" else None

    def offered(self) -> frozenset[str]:
        """The treatments that are offered, and that nothing holds."""
        return frozenset(call.id for call in self.treatment if call.state == "offer")

    def changed_since(self, moment: When) -> bool:
        """Whether something urgent is documented that this moment may not have known."""
        return self.began_since(moment) or any(
            self.is_news(item, moment)
            for fired in self.fired
            if fired.indicator != INDICATORS[-1]
            for item in fired.evidence
        )

    def began_since(self, moment: When) -> bool:
        """Whether a later onset or injury is documented."""
        onset = self.onset()
        return onset is not None and onset.low > moment.high

    def is_true(self, criterion: str) -> bool:
        """Whether this named criterion of the knowledge is so on any side."""
        if self.decision is None:
            return False
        of = self.decision.kernel.criteria.get(criterion)
        return of is not None and self.decision.of_patient(of.true)

    def onset(self) -> When | None:
        """The latest onset or injury that is documented, on either side."""
        stated = self.case.assertions.get(self.case.onset, ()) if self.case else ()
        dates = (assertion.value for assertion in stated if isinstance(assertion.value, When))
        return max(dates, key=lambda when: when.high, default=None)

    def called_by(self, call: ImagingCall | ReferralCall) -> frozenset[str]:
        """Every recommendation that calls for this, of which the most urgent one stands in the call."""
        return frozenset(each.recommendation for each in self.calls if each.key == call.key)

    def days_since_onset(self, fired: Fired) -> tuple[Interval, ...]:
        """The days since the onset or injury of each side on which this fired, as far as they are known."""
        if self.decision is None:
            return ()
        met = self.decision.where(self.decision.kernel.recommendations[fired.recommendation.id].fires)
        case, charts = self.decision.charts.case, self.decision.charts.charts
        read = [name for name, date in case.derived.days_since.items() if date == case.onset]
        found = (charts[chart][name] for chart in met for name in read)
        return tuple(days for days in found if isinstance(days, Interval))

    def is_news(self, item: Evidence, moment: When) -> bool:
        """Whether this moment may not have known it. What was known as the same before, and only recorded again, is
        no news; nor is a date by when it was written down, but by the day that it names. What is made of findings on
        both sides is news unless it was so of those that are none.
        """
        if not item.resource and self.case and item.finding in self.case.derived.on_both_sides:
            return self._is_news_of_both_sides(self.case, item.finding, moment)
        if item.resource in ("", "Patient"):
            return False
        finding = self.case.findings.get(item.finding) if self.case else None
        if finding and finding.value == "date":
            day = read_when(item.state)
            return day is None or day.low > moment.high
        if item.when and item.when.low <= moment.high:
            return False
        return not (item.when and self._was_known(item, moment))

    def _is_news_of_both_sides(self, case: Case, name: str, moment: When) -> bool:
        known = {
            side
            for of, sides in sides_with(case, name).items()
            for side in sides
            if (said := case.resolve(of, side, with_sideless=False).assertion)
            and not self.is_news(Evidence(of, state(True), side, "", said.resource, (), said.when), moment)
        }
        return known != {LEFT, RIGHT}

    def _was_known(self, item: Evidence, moment: When) -> bool:
        """Whether the last that was stated of it up to this moment is what is known now."""
        if self.case is None:
            return False
        earlier = resolve(
            assertion
            for assertion in self.case.assertions.get(item.finding, ())
            if assertion.when
            and assertion.when.low <= moment.high
            and (not item.side or assertion.side in (item.side, BILATERAL, NO_SIDE))
        )
        if earlier.value is None:
            return False
        return with_unit(self.case.findings[item.finding], earlier.value) == item.state


class Judgement(msgspec.Struct, frozen=True):
    """What was judged of a draft order or the like: its facts, as recommendations of a kind read them, and what fired.

    assessment: of the chart beside which it was judged; decision: what was decided with these facts, in all variants.
    """

    assessment: Assessment
    kind: str
    facts: Mapping[str, Value]
    fired: tuple[Fired, ...]
    decision: Decision | None = None


class Assessor:
    """Assesses cases by one body of knowledge; made once."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge, self.kernel = knowledge, compiled(knowledge)
        self.locating = tuple(f.id for f in knowledge.findings.values() if f.defines_complaint)
        # Where none of these is stated there is no such complaint.
        self.complaint = knowledge.engine.complaint
        self.sought = frozenset(self.locating) | knowledge.base_findings([self.complaint])
        self.informative = knowledge.informative()
        self.reads = reads_of(knowledge)
        self.flags = [(r, r.red_flag.id, stands_on(knowledge, r)) for r in knowledge.recommendations if r.red_flag]
        self.by_kind = {
            kind: tuple((r, self.kernel.recommendations[r.id]) for r in knowledge.recommendations if r.kind == kind)
            for kind in RECOMMENDATION_KINDS
        }
        self.questions = Questions(knowledge, self.kernel, self.informative)
        # The patient as documented alone, by so many charts.
        self._layouts = {charts: layout(self.kernel, charts) for charts in (1, 2, 4)}

    def assess(self, case: Case, *, asking: bool = True) -> Assessment:
        """The assessment of a case; without the complaint it says nothing but what was looked at.

        Not `asking`, no answer is tried and nothing is asked.
        """
        # Most charts: nothing of this pain, and no condition has to be asked.
        if self.sought.isdisjoint(case.assertions):
            return self._without_complaint(case)
        decision = self.decided(case, asking=asking)
        assembly = _Assembly(self, decision)
        located_by = self._located_by(assembly.reader)
        if not located_by:
            return self._without_complaint(case)
        return assembly.assessment(located_by, asking=asking)

    def decided(self, case: Case, *, asking: bool = True) -> Decision:
        """The decision about a case, be it of this complaint or not; not `asking`, without any answer to a question."""
        charts, informed = _charts_of(case), case.knows(self.informative)
        if asking:
            return decide(self.kernel, self.questions.charts(charts, informed=informed))
        return decide(self.kernel, charts_of(self.kernel, self._layouts[len(charts)], charts, informed=informed))

    def alike(
        self,
        assessment: Assessment,
        read: Iterable[int],
        heard: Iterable[Recommendation],
        apart: Collection[str],
    ) -> Iterator[tuple[int, Assessment]]:
        """The variants with a single answer to what is asked, those together that are alike in all that is read, with
        what fires of the recommendations that are `heard` and what they call for on the chart so answered.

        read: the charts on which each of what is read is so. What is `apart` is read otherwise too, and so each answer
        to it stands by itself.
        """
        if (decision := assessment.of_complaint) is None:
            return
        supposed = self._supposing(assessment, decision, heard)
        for variants in self.questions.alike(decision, read, apart):
            yield variants, supposed((variants & -variants).bit_length() - 1)

    def _supposing(
        self, assessment: Assessment, decision: Decision, heard: Iterable[Recommendation] = ()
    ) -> Callable[[int], Assessment]:
        """What makes of the first chart of a variant what fires of these recommendations and what they call for if that
        were documented; nothing is ranked, offered or asked.
        """
        rules = ((each, self.kernel.recommendations[each.id]) for each in heard)
        firing = [(each, made) for each, made in rules if decision.values[made.fires]]
        before = dict[Hashable, Any]()

        def supposed(first: int) -> Assessment:
            size = decision.charts.layout.charts
            answers = self.questions.answers[first // size - 1].values
            case = decision.charts.case.answered(answers)
            variant = supposing(decision, first, case, self._layouts[size], before)
            if not variant.of_patient(self.kernel.located):
                return self._without_complaint(case)
            assembly = _Assembly(self, variant)
            assembly.gather(firing, treatment=False)
            return Assessment(
                complaint="present",
                side=assessment.side,
                data=assessment.data,
                left_out=case.left_out,
                fired=tuple(fired for fired in assembly.fired if variant.says(fired.recommendation.id) & 1),
                imaging=most_urgent(assembly.imaging),
                referrals=most_urgent(assembly.referrals),
                calls=(*assembly.imaging, *assembly.referrals),
                lacking=case.lacking,
                case=case,
                decision=variant,
            )

        return supposed

    def of_chart(self) -> Iterator[Rule]:
        """The recommendations that the chart alone decides, each as it is compiled."""
        return chain.from_iterable(self.by_kind[kind] for kind in CHART_KINDS)

    def read_of(self, names: Iterable[str]) -> Iterator[tuple[int, ...]]:
        """The places of findings, criteria and of what else conditions name, and of what these are derived of."""
        derived, named = self.knowledge.engine.derived, {*names}
        named |= {of for name in named for of in derived.on_both_sides.get(name, derived.count_of.get(name, ()))}
        criteria = ((node.true, node.false) for name, node in self.kernel.criteria.items() if name in named)
        atoms = (pair for atom, pair in self.kernel.atoms.items() if atom.finding in named)
        # What follows from facts is not decided before they are known.
        yield from ((place,) for pair in (*criteria, *atoms) for place in pair if place < self.kernel.judged_from)

    def _located_by(self, reader: EvidenceReader) -> tuple[Evidence, ...]:
        """What is documented, on any side, that makes this the complaint of the knowledge."""
        found: dict[tuple[str, str], Evidence] = {}
        charts, criterion = reader.decision.charts, self.kernel.criteria.get(self.complaint)
        for number in charts.of_patient:
            known = charts.charts[number].known
            # In the order of the knowledge: that of the chart is how it happened to be sent.
            named: Sequence[str] = [f for f in self.locating if f in charts.case.assertions and known.get(f)]
            if not named and criterion and reader.verdict(criterion, number):
                named = reader.evidence_for(self.kernel.located_by, number)
            for name in named:
                item = reader.used(name, number)
                found[item.finding, item.side] = item
        return tuple(found.values())

    def judge(self, assessment: Assessment, kind: str, facts: Mapping[str, Fact]) -> Judgement:
        """The recommendations of this kind that fire for the hook context, the most important first.

        `facts` say all that the conditions of this kind may read of it, see ADVICE_FACTS. Without the complaint none
        fires.
        """
        documented = {name: fact.documented if isinstance(fact, ByVariant) else fact for name, fact in facts.items()}
        if assessment.decision is None:
            return Judgement(assessment, kind, documented, ())
        decision = assessment.decision.judged(facts)
        reader = EvidenceReader(self.knowledge, self.reads, decision, documented)
        fired = [fired for _compiled, fired in reader.firing(self.by_kind[kind])]
        by_indicator = sorted(fired, key=lambda each: INDICATORS.index(each.indicator))
        return Judgement(assessment, kind, documented, tuple(by_indicator), decision)

    def tiers(self, judgement: Judgement) -> list[int]:
        """The variants in which what fires first has each indicator, the most urgent one first."""
        tiers = dict.fromkeys(INDICATORS, 0)
        if (decision := judgement.decision) is None:
            return [*tiers.values()]
        charts = decision.charts
        for recommendation, made in self.by_kind[judgement.kind]:
            tiers[recommendation.indicator] |= charts.anywhere(decision.values[made.fires])
            tiers[INDICATORS[0]] |= charts.anywhere(decision.values[made.critical])
        graver = accumulate(tiers.values(), or_, initial=0)
        return [variants & ~before for variants, before in zip(tiers.values(), graver, strict=False)]

    def stated_in(self, assessment: Assessment, finding: str, documented: bool) -> int:
        """The variants in which a finding is present, which the chart states to be so or not."""
        if (decision := assessment.of_complaint) is None:
            return int(documented)
        charts = decision.charts
        answers = charts.layout.answers[finding] if finding in charts.open else ()
        present = charts.anywhere(reduce(or_, (of for value, of in answers if value is True), 0))
        return (charts.layout.first & ~charts.answered(finding) if documented else 0) | present

    def still_unread(self, assessment: Assessment, unread: Iterable[Assertion]) -> int:
        """The variants in which not all that could not be read is answered."""
        findings = {each.finding for each in unread}
        if (decision := assessment.of_complaint) is None:
            return int(bool(findings))
        read_as, charts = self.questions.read_date_as, decision.charts
        answered = (charts.answered(read_as.get(finding, finding)) for finding in findings)
        return charts.layout.first & ~reduce(and_, answered, charts.layout.first)

    def rests_on(self, assessment: Assessment, recommendation: Recommendation, resource: str) -> int:
        """The variants in which a recommendation fires, and all that it stands on is of this one resource."""
        decision = assessment.decision
        stated = assessment.case.assertions.values() if assessment.case else ()
        if decision is None or not any(each.resource == resource for found in stated for each in found):
            return 0
        supposed, resting = self._supposing(assessment, decision), 0
        rule = (recommendation, self.kernel.recommendations[recommendation.id])
        for first in ones(decision.fires(recommendation.id)):
            of = supposed(first) if first else assessment
            if of.decision is None:
                continue
            reader = self._reader(of.decision)
            evidence = [item for _made, fired in reader.firing([rule]) for item in fired.evidence]
            resting |= (bool(evidence) and all(item.resource == resource for item in evidence)) << first
        return resting

    def verdicts(
        self, assessment: Assessment, *kinds: str, facts: Mapping[str, Value] = MappingProxyType({})
    ) -> tuple[Verdict, ...]:
        """What comes of each recommendation of these kinds, fired or not, by what is known at the time.

        Nothing is asked of a chart without the complaint. `facts`: as of judge.
        """
        if (decision := assessment.decision) is None:
            return ()
        reader, charts = self._reader(decision, facts), decision.charts
        return tuple(
            reader.verdict_of(recommendation, charts.of_patient if kind == "red-flag" else charts.of_side)
            for kind in kinds
            for recommendation, _made in self.by_kind[kind]
        )

    def weights(self, assessment: Assessment) -> tuple[tuple[str, Weighed], ...]:
        """Each point of the rankings, with its side."""
        if assessment.decision is None or not assessment.rankings:
            return ()
        reader, charts = self._reader(assessment.decision), assessment.decision.charts
        return tuple(
            (charts.charts[chart].side or NO_SIDE_NAMED, each)
            for chart in charts.of_side
            for each in weigh(reader, chart)
        )

    def unanswered_flags(self, assessment: Assessment) -> tuple[Recommendation, ...]:
        """The red flags of which nobody can tell because what would tell was asked and not answered, could not be
        read, or is recorded in two ways. What was never asked leaves no trace on the chart and is not among them.
        """
        if (decision := assessment.decision) is None or not (may_wait := self.may_wait(decision)):
            return ()
        raised = {flag.id for fired in assessment.red_flags() if (flag := fired.recommendation.red_flag)}
        reader, of_patient = self._reader(decision), decision.charts.of_patient
        return tuple(
            recommendation
            for recommendation, flag, _names in may_wait
            if flag not in raised and any(_waits(reader, recommendation, chart) for chart in of_patient)
        )

    def may_wait(self, decision: Decision) -> list[tuple[Recommendation, str, frozenset[str]]]:
        """The red flags that may wait for what was asked and not answered or is recorded in two ways, now or with an
        answer more; each with its id and the findings by whose answers it may.
        """
        charts, found = decision.charts, decision.charts.case.assertions.items()
        asked = charts.contradictory.union(name for name, of in found if any(each.value is None for each in of))
        # Most charts: whatever is on them is known.
        return [each for each in self.flags if not asked.isdisjoint(each[2])] if asked else []

    def carrying(self, decision: Decision, recommendation: Recommendation) -> tuple[int, ...]:
        """The charts on which each finding is evidence of a recommendation that fires; those together on which that is
        an answer, all of which are given now and for the whole of this pain.
        """
        found: dict[object, int] = {}
        made = self.kernel.recommendations[recommendation.id]
        firing, critical = decision.values[made.fires], decision.values[made.critical]
        self._find_carrying(decision, made.evidence[True], firing, found)
        self._find_carrying(decision, made.critical_evidence, critical, found)
        return (firing, critical, *found.values())

    def _find_carrying(
        self, decision: Decision, carriers: Iterable[Carrier], on: int, found: dict[object, int]
    ) -> None:
        """The same of what carries a verdict on these charts."""
        charts, derived = decision.charts, self.knowledge.engine.derived
        for place, name, parts, _contradictory in carriers:
            if not (of := on & decision.values[place]):
                continue
            if parts:
                self._find_carrying(decision, parts, of, found)
                continue
            made_of = (name, *derived.made_of(name))
            answered = of & charts.everywhere(reduce(or_, map(charts.answered, made_of)))
            finding = self.knowledge.findings.get(name)
            alike: object = (name, "answered")
            if finding and name not in derived.on_both_sides:
                alike = (finding.whole_patient, finding.is_context)
            for key, bits in ((name, of & ~answered), (alike, answered)):
                found[key] = found.get(key, 0) | bits

    def holding(self, treatments: Collection[str]) -> list[Recommendation]:
        """The recommendations by which any of these treatments is held."""
        return [
            recommendation
            for recommendation, _made in self.by_kind["treatment"]
            if any(call.state == "hold" and call.id in treatments for call in recommendation.treatment)
        ]

    def screen(
        self, case: Case, treatments: Collection[str], *, by_side: bool = False, beside: Decision | None = None
    ) -> Assessment:
        """What speaks against these treatments on a chart, be it about this complaint or not, and nothing else.

        A medicine that would harm is to be named whatever it was meant for; what can be judged by it afterwards does
        not need the complaint. `by_side`: what is done to one side is held by what is there. `beside`: with the
        variants of this decision.
        """
        charts = sides_of(case, case.sides() if by_side else (NO_SIDE,))
        of, open_ = (beside.charts.layout, beside.charts.open) if beside else (self._layouts[len(charts)], frozenset())
        # Bits of one variant lie in the same places in both.
        charts *= of.charts // len(charts)
        decision = screen(self.kernel, charts_of(self.kernel, of, charts, open_=open_))
        assembly = _Assembly(self, decision)
        assembly.gather((each, self.kernel.recommendations[each.id]) for each in self.holding(treatments))
        return msgspec.structs.replace(
            self._without_complaint(case),
            fired=tuple(assembly.fired),
            treatment=assembly.treatment_calls(),
            decision=decision,
            all_fired=tuple(assembly.fired),
        )

    def would_change_beside(
        self, assessment: Assessment, topic: str, cards: Sequence[tuple[str, Sequence[int]]]
    ) -> tuple[WouldChange, ...]:
        """What a single answer would do to each card about the hook context; see Questions.would_change_beside."""
        decision = assessment.of_complaint
        return tuple(self.questions.would_change_beside(decision, topic, cards)) if decision else ()

    def would_change(
        self, assessment: Assessment, unsaid: Collection[str] = (), topics: Collection[str] | None = None
    ) -> tuple[WouldChange, ...]:
        """What a single answer would do to each card of an assessment, or to those of these topics, on which nothing is
        unsaid.
        """
        if assessment.decision is None:
            return ()
        cards: dict[str, list[str]] = {}
        for fired in assessment.fired:
            topic = self.knowledge.engine.topics.get(fired.indicator, fired.recommendation.topic)
            if topics is None or topic in topics:
                cards.setdefault(topic, []).append(fired.recommendation.id)
        return tuple(self.questions.would_change(assessment.decision, cards, unsaid))

    def _reader(self, decision: Decision, facts: Mapping[str, Value] = MappingProxyType({})) -> EvidenceReader:
        """A reader that also tells why something is not so."""
        return EvidenceReader(self.knowledge, self.reads, decision.told(facts), facts)

    def _without_complaint(self, case: Case) -> Assessment:
        return Assessment(
            self._complaint_not_found(case),
            NO_SIDE_NAMED,
            dict(case.data),
            case.left_out,
            not_readable=tuple(case.not_readable()),
            lacking=case.lacking,
            case=case,
        )

    def _complaint_not_found(self, case: Case) -> str:
        """Absent when all that may tell of it arrived and does not; otherwise it cannot be told."""
        undecided = any(
            assertion.value is None
            for name in self.locating
            if name in case.assertions
            for assertion in case.assertions[name]
        )
        return "unknown" if case.lacks() or case.is_left_out() or undecided else "absent"


class _Assembly:
    """An assessment that is being put together: what fires, recommendation by recommendation, and what it calls for."""

    def __init__(self, assessor: Assessor, decision: Decision) -> None:
        self.assessor, self.decision = assessor, decision
        self.reader = EvidenceReader(assessor.knowledge, assessor.reads, decision)
        self.fired: list[Fired] = []
        self.imaging: list[ImagingCall] = []
        self.referrals: list[ReferralCall] = []
        # Treatment -> what calls for it, holds it or says to take care.
        self.treatment: dict[str, list[tuple[Treatment, Fired]]] = {}

    def gather(self, rules: Iterable[Rule], *, treatment: bool = True) -> None:
        for made, fired in self.reader.firing(rules):
            recommendation = fired.recommendation
            self.fired.append(fired)
            if made.imaging or made.referrals:
                self._collect(recommendation, made, fired.met)
            for call in recommendation.treatment if treatment else ():
                self.treatment.setdefault(call.id, []).append((call, fired))

    def assessment(self, located_by: tuple[Evidence, ...], *, asking: bool) -> Assessment:
        """The whole assessment of a chart with the complaint."""
        assessor, decision, charts = self.assessor, self.decision, self.decision.charts
        case, of_kind, made = charts.case, assessor.by_kind, assessor.kernel.recommendations
        waits = bool(decision.waits & 1)
        unranked = bool(decision.unranked & 1)
        ranked = bool(decision.leads) and not (waits or unranked or decision.insufficient & 1)
        for kind in CHART_KINDS:
            self.gather(of_kind[kind])
        treatment = self.treatment_calls()
        withheld = {what for call in treatment for what in call.without}
        offered = {call.id for call in treatment if call.state == "offer"}
        sides = [charts.charts[chart].side for chart in charts.of_patient]
        return Assessment(
            complaint="present",
            side=BILATERAL if len(sides) > 1 else sides[0] or NO_SIDE_NAMED,
            data=dict(case.data),
            left_out=case.left_out,
            fired=tuple(f for f in self.fired if _is_said(made[f.recommendation.id], withheld, offered)),
            located_by=located_by,
            rankings=tuple([rank(self.reader, chart) for chart in charts.of_side]) if ranked else (),
            ranking_waits=waits,
            unranked=unranked,
            imaging=most_urgent(self.imaging),
            referrals=most_urgent(self.referrals),
            treatment=treatment,
            # What is asked next must not delay an emergency.
            ask=assessor.questions.ask(decision) if asking and not waits else (),
            contradictory=_unique(
                name
                for chart in (charts.charts[number] for number in charts.of_patient if charts.contradictory)
                for name in case.assertions
                if name in chart.contradictory
            ),
            without_side=_without_side(case, sides),
            not_readable=tuple(case.not_readable()),
            known=frozenset(name for name, found in case.assertions.items() for s in found if s.value is not None),
            working_diagnoses=tuple(
                cause
                for cause, place in assessor.kernel.diagnosed.items()
                if any(decision.on(place, chart) for chart in charts.of_side)
            ),
            lacking=case.lacking,
            case=case,
            decision=decision,
            all_fired=tuple(self.fired),
            calls=(*self.imaging, *self.referrals),
        )

    def _collect(self, recommendation: Recommendation, made: Compiled, met: Iterable[int]) -> None:
        values, id_ = self.decision.values, recommendation.id
        for chart in met:
            for imaging, place in zip(recommendation.imaging, made.imaging, strict=True):
                if values[place] & 1 << chart:
                    self.imaging.append(
                        ImagingCall(imaging.modality, imaging.region, imaging.priority, imaging.alternative, id_)
                    )
            for referral, place in zip(recommendation.referrals, made.referrals, strict=True):
                if values[place] & 1 << chart:
                    self.referrals.append(ReferralCall(referral.to, referral.priority, id_))

    def treatment_calls(self) -> tuple[TreatmentCall, ...]:
        """What is called for of each treatment. A hold is never undone by an offer."""
        found = (
            (id_, self.treatment[id_]) for id_ in self.assessor.knowledge.engine.treatments if id_ in self.treatment
        )
        return tuple([call for id_, calls in found if (call := _treatment_call(id_, calls))])


def presentations(
    knowledge: Knowledge, assessment: Assessment, radiograph_at_hand: bool, supposed: str = ""
) -> tuple[tuple[Presentation, Rating], ...]:
    """Every rating whose conditions are true of this chart, with the presentation that it is of; `supposed` is a red
    flag that is taken as raised.
    """
    if assessment.decision is None:
        return ()
    rated = assessment.decision.ratings(
        knowledge.engine.red_flags, radiograph_at_hand=radiograph_at_hand, supposed=supposed
    )
    of = knowledge.presentations
    return tuple((of[number], of[number].ratings[rating]) for number, rating, variants in rated if variants & 1)


def _charts_of(case: Case) -> list[Chart]:
    """The charts of a case: of its one side, or of each with what has no side, and then of each by itself."""
    sides = case.sides()
    charts = [Chart(case, side, with_sideless=True) for side in sides]
    return [*charts, *sides_of(case, sides)] if len(sides) > 1 else charts


def _waits(reader: EvidenceReader, recommendation: Recommendation, chart: int) -> bool:
    """Whether it waits for a finding that was asked and not answered, could not be read, or is recorded in two ways."""
    when = reader.kernel.recommendations[recommendation.id].when
    if reader.verdict(when, chart) is not None:
        return False
    of_chart = reader.decision.charts.charts[chart]
    return any(
        name in of_chart.contradictory
        or any(assertion.value is None for assertion in of_chart.case.assertions.get(name, ()))
        for name in reader.waited_for(when, chart)
    )


def _treatment_call(id_: str, calls: Sequence[tuple[Treatment, Fired]]) -> TreatmentCall | None:
    """What comes of these together; nothing, where all they do is to say how to take care."""
    states = {call.state for call, _fired in calls}
    if states == {"caution"}:
        return None
    holding = [(call, fired) for call, fired in calls if call.state == "hold" or call.without]
    return TreatmentCall(
        id_,
        "hold" if "hold" in states else "offer",
        _unique(name for _call, fired in holding for name in fired.findings()) if holding else (),
        _unique(what for call, _fired in holding for what in call.without) if holding else (),
        # What is held needs no care.
        ()
        if "hold" in states
        else tuple([fired.recommendation.id for call, fired in calls if call.state == "caution"]),
    )


def _without_side(case: Case, sides: Sequence[str]) -> tuple[str, ...]:
    if tuple(sides) != (LEFT, RIGHT):
        return ()
    return tuple(
        name
        for name, found in case.assertions.items()
        if not case.findings[name].whole_patient
        and name != case.onset
        and any(assertion.value is not None and not assertion.side for assertion in found)
    )


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def _is_said(made: Compiled, withheld: set[str], offered: set[str]) -> bool:
    """Not what another recommendation leaves out, nor how to take care with what is not offered."""
    return not made.adds & withheld and (not made.cautions or bool(made.cautions & offered))


def most_urgent(calls: Iterable[_Call]) -> tuple[_Call, ...]:
    """One call of those that are the same, at its highest priority; the most urgent first, then as they
    are called.
    """
    merged: dict[str, _Call] = {}
    for call in calls:
        known = merged.get(call.key)
        if known is None or PRIORITIES.index(call.priority) < PRIORITIES.index(known.priority):
            merged[call.key] = call
    return tuple(sorted(merged.values(), key=lambda call: PRIORITIES.index(call.priority)))
