"""Many charts and the compiled knowledge -> what is decided of each. Pure, and without evidence.

A patient has one chart, or with two sides on record four: each side with what names no side, for red flags, and each
side by itself, for what follows them. These charts stand beside each other as bits, and so does each variant of the
patient in which a question is answered: bit = number of the variant times the charts of a patient, plus the chart.
Variant 0 is the patient as documented.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from math import inf
from operator import or_
from typing import Any

import msgspec

from service.chart.case import Case
from service.chart.elements import BILATERAL, LEFT, RIGHT
from service.chart.side_chart import Chart
from service.knowledge_model.conditions import CONTRADICTORY, Interval, Value
from service.knowledge_model.model import AFTER_PLAN, RADIOGRAPH_AT_HAND
from service.reasoning.kernel import (
    ALWAYS,
    CHART,
    FLAGGED,
    INFORMED,
    JUDGED,
    KNOWN,
    NEVER,
    OF_PATIENT,
    OF_PLAN,
    OF_SIDE,
    PLANNED,
    TOLD,
    Atom,
    Kernel,
    Places,
)

_NOTHING: frozenset[str] = frozenset()
# The places of what no condition reads.
_NOWHERE: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


class Layout(msgspec.Struct, frozen=True):
    """Where the bits of so many variants with so many charts each stand, and what is answered in them.

    first: the first chart of each variant; every: all charts; answered: the charts in which a name has an answer;
    answers: of a name each answer with its charts.
    """

    charts: int
    first: int
    every: int
    values: tuple[int, ...]
    answered: Mapping[str, int]
    answers: Mapping[str, Sequence[tuple[Value, int]]]


def layout(
    kernel: Kernel, charts: int, answers: Sequence[Mapping[str, Value]] = (), informative: Collection[str] = ()
) -> Layout:
    """The patient as documented, and a variant for each of these answers; `informative`: see Assessor."""
    values = [0] * kernel.size
    answered: dict[str, int] = {}
    given: dict[str, list[tuple[Value, int]]] = {}
    of_one = (1 << charts) - 1
    for number, variant in enumerate(answers, start=1):
        bits = of_one << number * charts
        for name, value in variant.items():
            _state(kernel, values, name, value, bits)
            answered[name] = answered.get(name, 0) | bits
            given.setdefault(name, []).append((value, bits))
        if not variant.keys().isdisjoint(informative):
            values[kernel.present[INFORMED].true] |= bits
    first = sum(1 << number * charts for number in range(len(answers) + 1))
    values[ALWAYS] = first * of_one
    return Layout(charts, first, values[ALWAYS], tuple(values), answered, given)


def _state(kernel: Kernel, values: list[int], name: str, value: Value, bits: int) -> None:
    """States a value of a finding on these charts."""
    if isinstance(value, bool):
        for place in kernel.stated.get(name, _NOWHERE)[value]:
            values[place] |= bits
        return
    for word, operand, true, false in kernel.of_finding.get(name, ()):
        verdict = _compared(word, operand, value)
        if verdict is not None:
            values[true if verdict else false] |= bits


def _compared(word: str, operand: Any, value: Value) -> bool | None:
    if isinstance(value, Interval):
        if word == "at_least":
            return True if value.low >= operand else False if value.high < operand else None
        if word == "at_most":
            return True if value.high <= operand else False if value.low > operand else None
    if operand == KNOWN:
        return value is not None or None
    if isinstance(value, str) and isinstance(operand, frozenset):
        return value in operand
    return None


class ByVariant(dict[Value, int]):
    """A fact that an answer can change: each value that it has, and the variants in which it has it."""

    @property
    def documented(self) -> Value:
        """What it is of the patient as documented."""
        return next((value for value, variants in self.items() if variants & 1), None)


# What is found out about the hook context.
Fact = Value | ByVariant


class Charts(msgspec.Struct, frozen=True):
    """The charts of one case in their places. of_patient: those by which red flags are judged; of_side: all else."""

    case: Case
    layout: Layout
    charts: Sequence[Chart]
    of_patient: range
    of_side: range
    # What is not known of the case, and is answered in some of the variants.
    open: frozenset[str]
    values: tuple[int, ...]
    # What may be recorded in two ways on a chart by which red flags are judged.
    contradictory: frozenset[str]
    # The variants that answer alone what is known.
    closed: int = 0

    @property
    def documented(self) -> int:
        """The bits of the patient as documented."""
        return (1 << self.layout.charts) - 1

    @property
    def patient(self) -> int:
        """Of these the bits by which red flags are judged: those of the first charts."""
        return (1 << len(self.of_patient)) - 1

    def anywhere(self, bits: int) -> int:
        """The variants in which this is so on any chart, as the bits of their first charts."""
        if self.layout.charts == 1:
            return bits
        found = 0
        for chart in range(self.layout.charts):
            found |= bits >> chart
        return found & self.layout.first

    def everywhere(self, variants: int) -> int:
        """Every chart of these variants."""
        return variants * self.documented if self.layout.charts > 1 else variants

    def as_documented(self, bits: int) -> int:
        """These bits as they would be if every variant were the patient as documented."""
        return (bits & self.documented) * self.layout.first

    def so_in(self, variants: int) -> ByVariant:
        """The fact that something is so in these variants, and in no others."""
        return ByVariant({True: variants, False: self.layout.first & ~variants})

    def answered(self, name: str) -> int:
        """The variants in which this has an answer that is not known of the case."""
        return self.anywhere(self.layout.answered[name]) if name in self.open else 0


def sides_of(case: Case, sides: Sequence[str]) -> list[Chart]:
    """A chart for each side; with two, what has no side is used for neither."""
    return [Chart(case, side, with_sideless=len(sides) == 1) for side in sides]


def charts_of(
    kernel: Kernel,
    layout: Layout,
    charts: Sequence[Chart],
    *,
    informed: bool = False,
    open_: frozenset[str] = frozenset(),
) -> Charts:
    """These charts of one case, one or two sides or first two with what has no side and then two without, laid out.

    `informed`: something is known that may tell of the pain; `open_`: what the variants answer.
    """
    case, values = charts[0].case, list(layout.values)
    of_patient = range(2) if len(charts) == 4 else range(len(charts))
    of_side = range(2, 4) if len(charts) == 4 else of_patient
    for name in layout.answered.keys() - open_:
        for _word, _operand, true, false in kernel.of_finding[name]:
            values[true] = values[false] = 0
    for number, chart in enumerate(charts):
        _state_chart(kernel, values, layout, chart, open_=open_, bits=layout.first << number)
    _state_sides(kernel, values, layout, charts, open_)
    for atom, numbers in ((OF_PATIENT, of_patient), (OF_SIDE, of_side)):
        values[kernel.present[atom].true] = sum(layout.first << number for number in numbers)
    if informed:
        values[kernel.present[INFORMED].true] = layout.every
    contradictory = _NOTHING.union(*(charts[number].contradictory for number in of_patient))
    return Charts(case, layout, tuple(charts), of_patient, of_side, open_, tuple(values), contradictory)


def _state_chart(
    kernel: Kernel, values: list[int], layout: Layout, chart: Chart, *, open_: Collection[str], bits: int
) -> None:
    """What is known of one chart, at these bits, but for the variants in which it is answered."""

    def not_answered(name: str) -> int:
        return bits & ~layout.answered[name] if name in open_ else bits

    for name, value in chart.known.items():
        if name not in kernel.on_both_sides:
            _state(kernel, values, name, value, not_answered(name) if name in open_ else bits)
    for name in chart.contradictory:
        _contradict(kernel, values, name, not_answered(name))
    for name in kernel.on_both_sides:
        if name in chart.case.assertions:
            # As it is stated: what follows from the others follows in the kernel.
            stated = chart.case.resolve(name, chart.side, with_sideless=chart.with_sideless)
            if isinstance(stated.value, bool):
                _state(kernel, values, name, stated.value, not_answered(name))
            elif stated.contradictory:
                _contradict(kernel, values, name, not_answered(name))


def _contradict(kernel: Kernel, values: list[int], name: str, bits: int) -> None:
    if places := kernel.atoms.get(Atom(name, "is", CONTRADICTORY)):
        values[places.true] |= bits


def _state_sides(
    kernel: Kernel, values: list[int], layout: Layout, charts: Sequence[Chart], open_: frozenset[str]
) -> None:
    """On which side that is present by which a finding is on both; an answer is about all of this pain."""
    asked = charts[0].side if len(charts) == 1 else BILATERAL
    for name, others in kernel.on_both_sides.items():
        for of, sides in charts[0].on_both_sides[name].items():
            for side in sides:
                values[kernel.atoms[Atom(of, side)].true] = layout.every & ~(layout.answered[of] if of in open_ else 0)
        for of in open_.intersection(others):
            for side in (LEFT, RIGHT):
                if asked in (side, BILATERAL):
                    values[kernel.atoms[Atom(of, side)].true] |= layout.values[kernel.present[of].true]


# A rating of imaging: the number of its presentation, its own in that, and the variants in which both are true.
Rated = tuple[int, int, int]


class Decision(msgspec.Struct, frozen=True):
    """The verdicts of all conditions on all charts, by their places in the kernel, and what the stages made.

    waits, insufficient, unranked: the variants in which no cause is ranked, and why; leads: the charts on which a cause
    leads.
    """

    kernel: Kernel
    charts: Charts
    values: Sequence[int]
    waits: int = 0
    insufficient: int = 0
    unranked: int = 0
    leads: Mapping[str, int] = {}
    # See ratings: what was found once of these values.
    rated: dict[Hashable, list[Rated]] = {}

    def on(self, place: int, chart: int) -> bool:
        """Whether this is so on this chart of the patient as documented."""
        return bool(self.values[place] & 1 << chart)

    def on_any(self, place: int) -> bool:
        """Whether this is so on any chart of the patient as documented."""
        return bool(self.values[place] & self.charts.documented)

    def of_patient(self, place: int) -> bool:
        """Whether this is so on any chart of the patient as documented by which red flags are judged."""
        return bool(self.values[place] & self.charts.patient)

    def where(self, place: int) -> list[int]:
        """The charts of the patient as documented on which this is so."""
        return ones(self.values[place] & self.charts.documented)

    def read(self, places: Iterable[tuple[int, ...]]) -> Iterator[int]:
        """On which charts any of these places is so, for each group of them."""
        for of in places:
            bits = 0
            for place in of:
                bits |= self.values[place]
            yield bits

    def outcome(self, term: str, name: str) -> int:
        """The variants in which this is so of what an answer can change; see Kernel.outcome."""
        return self.charts.anywhere(self.values[self.kernel.outcome.get((term, name), NEVER)])

    def offered(self, treatment: str) -> int:
        """The variants in which a treatment is offered, and nothing holds it."""
        return self.outcome("offer", treatment) & ~self.outcome("hold", treatment)

    def says(self, recommendation: str) -> int:
        """The variants in which a recommendation fires and is said."""
        made = self.kernel.recommendations[recommendation]
        return self.said(made.fires, made.adds, made.cautions)

    def fires(self, recommendation: str) -> int:
        """The variants in which a recommendation fires, said or not."""
        return self.charts.anywhere(self.values[self.kernel.recommendations[recommendation].fires])

    def is_critical(self, recommendation: str) -> int:
        """The variants in which a recommendation fires in its critical form."""
        return self.charts.anywhere(self.values[self.kernel.recommendations[recommendation].critical])

    def said(self, place: int, adds: Iterable[str], cautions: Collection[str]) -> int:
        """The variants in which this is so and said; see OnCard."""
        said = self.charts.anywhere(self.values[place])
        if said:
            for what in adds:
                said &= ~self.outcome("without", what)
            if cautions:
                said &= reduce(or_, map(self.offered, cautions))
        return said

    def beside_flags(self, flags: Iterable[str], *, radiograph_at_hand: bool, supposed: str = "") -> Decision:
        """The same with what ratings of imaging read beside the chart: which red flags are raised, `supposed` among
        them, and whether there is a radiograph.
        """
        raised = {flag: self.outcome("flag", flag) for flag in flags}
        if supposed:
            raised[supposed] = self.charts.layout.first
        of_flags = {f"flag-{flag}": self.charts.so_in(variants) for flag, variants in raised.items()}
        return self.judged({RADIOGRAPH_AT_HAND: radiograph_at_hand, **of_flags})

    def ratings(self, flags: Iterable[str], *, radiograph_at_hand: bool, supposed: str = "") -> list[Rated]:
        """The ratings of imaging that are true in any variant; see beside_flags."""
        flags, anywhere = tuple(flags), self.charts.anywhere
        key = (flags, radiograph_at_hand, supposed)
        if key not in self.rated:
            judged = self.beside_flags(flags, radiograph_at_hand=radiograph_at_hand, supposed=supposed)
            self.rated[key] = [
                (presentation, rating, variants)
                for presentation, (when, ratings) in enumerate(self.kernel.presentations)
                if (shown := anywhere(judged.values[when]))
                for rating, place in enumerate(ratings)
                if (variants := shown & anywhere(judged.values[place]))
            ]
        return self.rated[key]

    def judged(self, facts: Mapping[str, Fact]) -> Decision:
        """The same with what is known of a draft order, an appointment or a patient who goes home."""
        values, charts = list(self.values), self.charts
        for name, fact in facts.items():
            for value, variants in fact.items() if isinstance(fact, ByVariant) else ((fact, charts.layout.first),):
                _state(self.kernel, values, name, value, charts.everywhere(variants))
        values += self.kernel.run[JUDGED](values)
        return msgspec.structs.replace(self, values=values, rated={})

    def told(self, facts: Mapping[str, Fact]) -> Decision:
        """The same with what tells why something is not so."""
        judged = self.judged(facts)
        return msgspec.structs.replace(judged, values=[*judged.values, *self.kernel.run[TOLD](judged.values)])


class _OfVariant(Sequence[int]):
    """The values of one variant, as they would be if it were documented."""

    def __init__(self, values: Sequence[int], first: int, documented: int) -> None:
        self._values, self._first, self._documented = values, first, documented

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, place: Any) -> Any:
        return self._values[place] >> self._first & self._documented


class _ChartsOfVariant(Sequence[Chart]):
    """The charts of a case as those of another one, each made when it is asked for: its verdicts are known."""

    def __init__(self, case: Case, charts: Sequence[Chart]) -> None:
        self._case, self._charts, self._made = case, charts, dict[int, Chart]()

    def __len__(self) -> int:
        return len(self._charts)

    def __getitem__(self, place: Any) -> Any:
        if place not in self._made:
            of = self._charts[place]
            self._made[place] = Chart(self._case, of.side, with_sideless=of.with_sideless)
        return self._made[place]


class Supposed(Decision, frozen=True, kw_only=True):
    """A decision as it would be if a variant of it were documented: nothing is decided anew.

    whole: the decision of all variants; first: the first chart of this one; before: what was judged of the whole.
    """

    whole: Decision
    first: int
    before: dict[Hashable, Any]

    def ratings(self, flags: Iterable[str], *, radiograph_at_hand: bool, supposed: str = "") -> list[Rated]:
        rated = self.whole.ratings(flags, radiograph_at_hand=radiograph_at_hand, supposed=supposed)
        return [(number, rating, 1) for number, rating, variants in rated if variants >> self.first & 1]

    def judged(self, facts: Mapping[str, Fact]) -> Decision:
        return self._also(frozenset(facts.items()), lambda: self.whole.judged(facts))

    def told(self, facts: Mapping[str, Fact]) -> Decision:
        return self._also((TOLD, frozenset(facts.items())), lambda: self.whole.told(facts))

    def _also(self, key: Hashable, judge: Callable[[], Decision]) -> Decision:
        """What is judged of all variants once, however many of them it is asked of."""
        if key not in self.before:
            self.before[key] = judge()
        judged: Decision = self.before[key]
        return msgspec.structs.replace(self, values=_OfVariant(judged.values, self.first, self.charts.documented))


def supposing(whole: Decision, first: int, case: Case, alone: Layout, before: dict[Hashable, Any]) -> Supposed:
    """The decision if the variant with this first chart were documented; `case`: with its answer; `alone`: the layout
    of the patient as documented alone; `before`: see Supposed.
    """
    of = whole.charts
    in_place = _ChartsOfVariant(case, of.charts)
    charts = Charts(case, alone, in_place, of.of_patient, of.of_side, frozenset(), (), of.contradictory)
    waits, insufficient, unranked = (v >> first & 1 for v in (whole.waits, whole.insufficient, whole.unranked))
    return Supposed(
        whole.kernel,
        charts,
        _OfVariant(whole.values, first, charts.documented),
        waits,
        insufficient,
        unranked,
        {cause: bits >> first & charts.documented for cause, bits in whole.leads.items()},
        whole=whole,
        first=first,
        before=before,
    )


def decide(kernel: Kernel, charts: Charts) -> Decision:
    """The decision: red flags, the ranking unless it has to wait, the plan, and what follows it."""
    values, every = list(charts.values), charts.layout.every
    values += kernel.run[CHART](values)

    def make(places: Places, bits: int) -> None:
        true, false = places
        values[true], values[false] = bits, every ^ bits if bits else every

    flags = {name: charts.anywhere(values[place]) for name, place in kernel.red_flags.items()}
    informed = charts.anywhere(values[kernel.present[INFORMED].true])
    sides = values[kernel.present[OF_SIDE].true]
    waits = flags["ranking-waits"]
    insufficient = charts.layout.first & ~(flags["any-red-flag"] | informed)
    unranked = charts.anywhere(values[kernel.unranked] & sides)
    flags["insufficient-data"] = insufficient
    for name in kernel.after_red_flags:
        make(kernel.present[name], charts.everywhere(flags[name]))
    ranked = sides & ~charts.everywhere(waits | insufficient | unranked)
    leads = _leads(kernel, charts, values, ranked)
    for cause, places in kernel.considered.items():
        make(places, leads[cause] | values[kernel.diagnosed[cause]])
    values[kernel.present[OF_PLAN].true] = sides & ~charts.everywhere(waits)
    values += kernel.run[FLAGGED](values)
    for name in AFTER_PLAN:
        make(kernel.present[name], charts.everywhere(charts.anywhere(values[kernel.plan[name]])))
    values += kernel.run[PLANNED](values)
    return Decision(kernel, charts, values, waits, insufficient, unranked, leads)


def screen(kernel: Kernel, charts: Charts) -> Decision:
    """What is decided of charts that need not be about this complaint: no red flag, no ranking, no plan."""
    values = list(charts.values)
    values += kernel.run[CHART](values)
    for name in kernel.after_red_flags:
        values[kernel.present[name].false] = charts.layout.every
    values += kernel.run[FLAGGED](values)
    values += kernel.run[PLANNED](values)
    return Decision(kernel, charts, values)


def _leads(kernel: Kernel, charts: Charts, values: Sequence[int], ranked: int) -> dict[str, int]:
    """The charts on which each cause leads, of those that are ranked.

    Points are added up for each chart as documented; of the variants, for those alone in which enough of them differ.
    """
    size, first = charts.layout.charts, charts.layout.first
    points, differing = _points(kernel, charts, values)
    # The last is none of them.
    leads = [0] * (len(kernel.considered) + 1)
    leading = [_leader(kernel, of_chart) for of_chart in points]
    for chart in charts.of_side:
        leads[leading[chart][0]] |= first << chart
    for chart, gains in differing.items():
        before, firm = leading[chart % size]
        if sum([abs(gained) for _cause, gained in gains]) < firm:
            continue
        of_variant = points[chart % size].copy()
        for cause, gained in gains:
            of_variant[cause] += gained
        leader, _firm = _leader(kernel, of_variant)
        if leader != before:
            leads[before] ^= 1 << chart
            leads[leader] ^= 1 << chart
    vetoes = kernel.vetoes
    return {
        cause: bits and bits & ranked & ~values[vetoes[cause]]
        for cause, bits in zip(kernel.considered, leads, strict=False)
    }


def _points(
    kernel: Kernel, charts: Charts, values: Sequence[int]
) -> tuple[list[list[float]], dict[int, list[tuple[int, float]]]]:
    """The points of each cause on each chart as documented; and of the variants, by chart, what causes have more."""
    size, first, documented = charts.layout.charts, charts.layout.first, charts.documented
    of_side = values[kernel.present[OF_SIDE].true]
    points: list[list[float]] = [[0] * len(kernel.considered) for _chart in range(size)]
    differing: dict[int, list[tuple[int, float]]] = {}
    for place, weights in kernel.weighed.items():
        bits = values[place]
        if bits and size > 1:
            bits &= of_side
        # Most is not known.
        if not bits:
            continue
        if now := bits & documented:
            for chart in charts.of_side:
                for cause, weight in weights if now >> chart & 1 else ():
                    points[chart][cause] += weight
            if bits == of_side:
                continue
            bits ^= now * first
        while bits:
            chart = bits.bit_length() - 1
            bits ^= 1 << chart
            lost = now >> chart % size & 1
            gains = [(cause, -weight) for cause, weight in weights] if lost else weights
            differing[chart] = [*differing[chart], *gains] if chart in differing else gains
    return points, differing


def _leader(kernel: Kernel, points: list[float]) -> tuple[int, float]:
    """The number of the cause that leads with these points, enough of them and far enough from the next; where none
    does, that of a last one that is no cause. And how many points have to change for that to change.
    """
    # To sort whole numbers is faster than to look for the two largest.
    second, most = sorted((-inf, -inf, *points))[-2:]
    enough, apart = most - kernel.lead_at_least, most - second - kernel.lead_by
    if enough < 0:
        return -1, -enough
    return (-1, 0) if apart < 0 else (points.index(most), min(enough, apart))


def ones(bits: int) -> list[int]:
    """The numbers of the bits that are set, the lowest first."""
    numbers = []
    while bits:
        # To find the highest one takes fewer steps than the lowest.
        number = bits.bit_length() - 1
        numbers.append(number)
        bits ^= 1 << number
    numbers.reverse()
    return numbers
