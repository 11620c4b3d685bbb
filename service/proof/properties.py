"""What each property of properties.toml says, proposition by proposition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from service.knowledge_model.vocabulary import CLINICAL_KINDS, INDICATORS, PRIORITIES
from service.proof.formula import ChartFormula
from service.proof.propositions import NONE_NOW, Charted, Claim, Observed, Proposition, Read
from service.proof.reads import Reads
from service.proof.terms import FALSE, TRUE
from service.reasoning.kernel import Atom, Node, charts_of

# ---------------------------------------------------------------------------------------------------------------------
# 1. Worrying and benign findings


def _urgency_kept(of: Charted) -> Iterator[Proposition]:
    for finding in of.directed("worrying"):
        then, given = of.worse(finding)
        for level in INDICATORS[:2]:
            observed = of.urgency(level)
            yield Proposition(
                "urgency-kept",
                f"{finding}: {level}",
                f"{of.title(finding)}, present, never takes away {observed.words}",
                (of.chart, then),
                (Claim(0, observed), Claim(1, observed, holds=False)),
                given,
            )


def _red_flags_kept(of: Charted) -> Iterator[Proposition]:
    for finding in of.directed("worrying"):
        then, given = of.worse(finding)
        for flag in of.red_flags:
            yield Proposition(
                "red-flags-kept",
                f"{finding}: {flag.id}",
                f"{of.title(finding)}, present, never takes away the red flag of {flag.id}",
                (of.chart, then),
                (Claim(0, of.fires(flag)), Claim(1, of.raises(flag), holds=False)),
                given,
            )


def _calls_kept(of: Charted) -> Iterator[Proposition]:
    called = dict.fromkeys((call.key, call.priority) for flag in of.red_flags for call, _place in of.calls_of(flag))
    claims = [
        (
            words := f"{key} ({priority})",
            Claim(0, of.calls(f"{words} by a red flag", key, priority, of.red_flags)),
            Claim(1, of.calls(f"{words} or sooner", key, priority), holds=False),
        )
        for key, priority in called
    ]
    for finding in of.directed("worrying"):
        then, given = of.worse(finding)
        for words, *broken_by in claims:
            yield Proposition(
                "calls-kept",
                f"{finding}: {words}",
                f"{of.title(finding)}, present, never takes away {words} that a red flag calls for",
                (of.chart, then),
                tuple(broken_by),
                given,
            )


def _deadlines_kept(of: Charted) -> Iterator[Proposition]:
    """As calls-kept, of the referrals with a deadline by whatever calls for them."""
    called = {
        call.key: call.priority
        for recommendation in of.recommendations
        for call, _place in of.calls_of(recommendation)
        if not call.modality and call.priority == PRIORITIES[1]
    }
    observed_of = {key: of.calls(f"{key} ({priority} or sooner)", key, priority) for key, priority in called.items()}
    for finding in of.directed("worrying"):
        then, given = of.worse(finding)
        for key, observed in observed_of.items():
            yield Proposition(
                "deadlines-kept",
                f"{finding}: {key}",
                f"{of.title(finding)}, present, never takes away {key} with a deadline",
                (of.chart, then),
                (Claim(0, observed), Claim(1, observed, holds=False)),
                given,
            )


def _holds_kept(of: Charted) -> Iterator[Proposition]:
    for finding in of.directed("worrying"):
        then, given = of.worse(finding)
        for treatment in of.held:
            yield Proposition(
                "holds-kept",
                f"{finding}: {treatment}",
                f"{of.title(finding)}, present, never turns a hold of {treatment} into an offer",
                (of.chart, then),
                (Claim(0, of.holds(treatment)), Claim(1, of.offers(treatment))),
                given,
            )


def _benign_quiet(of: Charted) -> Iterator[Proposition]:
    for finding in of.directed("benign"):
        given = (-of.state(finding, "present"), -of.state(finding, "absent"))
        then = of.chart.stated(finding, present=False)
        for level in INDICATORS[:2]:
            observed = of.urgency(level)
            yield Proposition(
                "benign-quiet",
                f"{finding}: {level}",
                f"{of.title(finding)}, absent instead of unknown, never adds {observed.words}",
                (of.chart, then),
                (Claim(0, observed, holds=False), Claim(1, observed)),
                given,
            )


# ---------------------------------------------------------------------------------------------------------------------
# 2. Contraindicated treatment


def _not_offered(of: Charted) -> Iterator[Proposition]:
    for entry in of.properties.contraindications:
        true, _false = of.chart.condition(entry.when)
        yield Proposition(
            "never-offered",
            f"{entry.treatment}: {entry.text}",
            f"{entry.treatment} is never offered where {entry.text}",
            (of.chart,),
            (Claim(0, of.offers(entry.treatment)),),
            (true,),
        )


def _hold_stands(of: Charted) -> Iterator[Proposition]:
    for recommendation in of.recommendations:
        for treatment in recommendation.treatment:
            if treatment.state == "hold":
                yield of.never(
                    "hold-stands",
                    f"{recommendation.id}: {treatment.id}",
                    f"{treatment.id} is never offered where {recommendation.id} holds it",
                    of.fires(recommendation),
                    of.offers(treatment.id),
                )


# ---------------------------------------------------------------------------------------------------------------------
# 3. Advice that contradicts other advice


def _no_imaging_alone(of: Charted) -> Iterator[Proposition]:
    waits = of.imaging(none_now=True)
    name = "no-imaging-alone"
    yield of.never(name, "imaging", "no imaging for now never stands beside imaging", waits, of.imaging(none_now=False))
    for flag in of.red_flags:
        words = f"no imaging for now never stands beside {flag.id} ({flag.title})"
        yield of.never(name, flag.id, words, waits, of.fires(flag))
    for finding in of.directed("worrying"):
        if of.knowledge.findings[finding].kind not in CLINICAL_KINDS:
            continue
        yield Proposition(
            name,
            finding,
            f"no imaging for now is never said where there is: {of.title(finding)}",
            (of.chart,),
            (Claim(0, waits),),
            (of.state(finding, "present"),),
        )


def _not_both(of: Charted) -> Iterator[Proposition]:
    by_id = {r.id: r for r in of.knowledge.recommendations}
    for pair in of.properties.opposites:
        first, second = (by_id[id_] for id_ in pair.recommendations)
        yield of.never(
            "not-both",
            f"{first.id} and {second.id}",
            f"{first.id} ({first.title}) and {second.id} ({second.title}) never stand beside each other",
            of.fires(first),
            of.fires(second),
        )


# ---------------------------------------------------------------------------------------------------------------------
# 4. What is critical


def _deadline(of: Charted) -> Iterator[Proposition]:
    in_time = of.in_time()
    for recommendation in of.recommendations:
        if recommendation.indicator == INDICATORS[0] or recommendation.critical_when is not None:
            yield Proposition(
                "critical-in-time",
                recommendation.id,
                f"a critical card of {recommendation.id} ({recommendation.title}) "
                "has imaging or a referral with a deadline",
                (of.chart,),
                (Claim(0, of.critical(recommendation)), Claim(0, in_time, holds=False)),
            )


def _demanded(of: Charted) -> Iterator[Proposition]:
    by_id = {r.id: r for r in of.recommendations}
    for entry in of.properties.demands:
        true, _false = of.chart.condition(entry.where)

        def proposition(
            what: str, observed: Observed, *, holds: bool, id_: str = entry.id, given: int = true
        ) -> Proposition:
            words = f"{what} where {id_.replace('-', ' ')}"
            claim = Claim(0, observed, holds=holds)
            return Proposition("demanded", f"{id_}: {what}", words, (of.chart,), (claim,), (given,))

        if entry.urgency:
            observed = of.urgency(entry.urgency)
            yield proposition(observed.words, observed, holds=False)
        for calls in entry.calls:
            yield proposition(calls, of.one_of_calls(calls), holds=False)
        if entry.imaging:
            yield proposition("imaging", of.imaging(none_now=False), holds=False)
        for treatment in entry.not_offered:
            yield proposition(f"no offer of {treatment}", of.offers(treatment), holds=True)
        for id_ in entry.never:
            yield proposition(f"never {id_}", of.fires(by_id[id_]), holds=True)
        for cause in entry.never_leads:
            yield proposition(f"{cause} does not lead", of.leads(cause), holds=True)


# ---------------------------------------------------------------------------------------------------------------------
# 5. What reads the ranking


def _ranking_unread(of: Charted) -> Iterator[Read]:
    reader = Reads(of.kernel)
    for recommendation in of.recommendations:
        compiled = of.kernel.recommendations[recommendation.id]
        holds = any(t.state == "hold" for t in recommendation.treatment)
        if recommendation.red_flag or holds:
            what = "red flag" if recommendation.red_flag else "hold"
            path = reader.path(compiled.fires) or reader.path(compiled.critical)
            yield Read(
                "ranking-unread",
                recommendation.id,
                f"the {what} of {recommendation.id} does not depend on which cause leads",
                path,
            )
        for call, place in of.calls_of(recommendation):
            if call.priority != PRIORITIES[-1] and call.modality != NONE_NOW:
                yield Read(
                    "ranking-unread",
                    f"{recommendation.id}: {call.key}",
                    f"{call.key} ({call.priority}) by {recommendation.id} does not depend on which cause leads",
                    reader.path(place),
                )


# ---------------------------------------------------------------------------------------------------------------------
# 6. Nothing that says nothing


def _can_fire(of: Charted) -> Iterator[Proposition]:
    for recommendation in of.knowledge.recommendations:
        yield Proposition(
            "can-fire",
            recommendation.id,
            f"there is a chart on which {recommendation.id} ({recommendation.title}) holds",
            (of.chart,),
            (Claim(0, of.fires(recommendation)),),
            exists=True,
        )


def _parts_matter(of: Charted) -> Iterator[Proposition]:
    kernel, terms = of.kernel, of.terms
    roots = [(name, node, TRUE) for name, node in kernel.criteria.items()]
    for recommendation in of.knowledge.recommendations:
        compiled = kernel.recommendations[recommendation.id]
        within = of.chart.values[kernel.atoms[Atom(charts_of(recommendation))].true]
        roots.append((recommendation.id, compiled.when, within))
        if compiled.critical_when:
            roots.append((f"{recommendation.id} (critical)", compiled.critical_when, within))
    for name, root, within in roots:
        if not root.parts:
            continue
        seen: Counter[str] = Counter()
        for leaf, without in _parts(root):
            where = f"{leaf.finding} {leaf.word} {_operand(leaf.operand)}"
            seen[where] += 1
            true, false = _supposing(of.chart, root, leaf, without)
            values = of.chart.values
            changed = terms.either(
                terms.both((sign * place, -sign * other))
                for place, other in ((values[root.true], true), (values[root.false], false))
                for sign in (1, -1)
            )
            yield Proposition(
                "parts-matter",
                f"{name}: {where}" + (f" ({seen[where]})" if seen[where] > 1 else ""),
                f"there is a chart on which {name} would differ without this part: {where}",
                (of.chart,),
                (),
                (changed, within),
                exists=True,
            )


def _parts(node: Node) -> Iterator[tuple[Node, tuple[int, int]]]:
    """Every comparison in a condition, with the verdict that is as if it did not stand there."""
    for part in node.parts:
        if part.parts:
            yield from _parts(part)
        else:
            yield part, (TRUE, FALSE) if node.word == "all" else (FALSE, TRUE)


def _operand(operand: object) -> str:
    return ", ".join(sorted(operand)) if isinstance(operand, frozenset) else f"{operand}"


def _supposing(chart: ChartFormula, node: Node, replaced: Node, by: tuple[int, int]) -> tuple[int, int]:
    """Where a condition is true and false with one part of it replaced."""
    if node is replaced:
        return by
    if not node.parts:
        return chart.values[node.true], chart.values[node.false]
    pairs = [_supposing(chart, part, replaced, by) for part in node.parts]
    trues, falses = [true for true, _false in pairs], [false for _true, false in pairs]
    if node.word == "all":
        return chart.terms.both(trues), chart.terms.either(falses)
    true, false = chart.terms.either(trues), chart.terms.both(falses)
    return (false, true) if node.word == "none" else (true, false)


def _findings_matter(of: Charted) -> Iterator[Proposition]:
    places = {
        place
        for compiled in of.kernel.recommendations.values()
        for place in (compiled.fires, compiled.critical, *compiled.imaging, *compiled.referrals)
    } | {place for when, ratings in of.kernel.presentations for place in (when, *ratings)}
    for finding in of.knowledge.findings.values():
        number = of.formula.number_of.get(finding.id, finding.id)
        if number in of.chart.numbers:
            others = [of.chart.another(number, f"other {number} ")]
        else:
            others = [of.chart.stated(finding.id, present=present) for present in (True, False)]
        for other in others:
            changed = of.terms.either(
                of.terms.both((sign * of.chart.values[place], -sign * other.values[place]))
                for place in places
                if of.chart.values[place] != other.values[place]
                for sign in (1, -1)
            )
            if changed != FALSE:
                break
        yield Proposition(
            "findings-matter",
            finding.id,
            f"there is a chart on which it changes a recommendation whether there is: {finding.title}",
            (of.chart, other),
            (),
            (changed,),
            exists=True,
        )


# ---------------------------------------------------------------------------------------------------------------------
# 7. Numbers


def _monotone(of: Charted) -> Iterator[Proposition]:
    for entry in of.properties.numbers:
        then = of.chart.another(entry.number, f"worse {entry.number} ")
        here, there = of.chart.numbers[entry.number], then.numbers[entry.number]
        low, high = (here, there) if entry.worse == "higher" else (there, here)
        given = (
            here.known,
            there.known,
            *(of.terms.implies(low.low[limit], high.low[limit]) for limit in here.limits),
            *(of.terms.implies(low.high[limit], high.high[limit]) for limit in here.limits),
        )
        number = f"{of.title(entry.number)}, {entry.worse},"
        for level in INDICATORS[:2]:
            observed = of.urgency(level)
            yield Proposition(
                "numbers-one-way",
                f"{entry.number}: {level}",
                f"{number} never takes away {observed.words}",
                (of.chart, then),
                (Claim(0, observed), Claim(1, observed, holds=False)),
                given,
            )
        for treatment in of.held:
            yield Proposition(
                "numbers-one-way",
                f"{entry.number}: {treatment}",
                f"{number} never turns a hold of {treatment} into an offer",
                (of.chart, then),
                (Claim(0, of.holds(treatment)), Claim(1, of.offers(treatment))),
                given,
            )


_PROPERTIES: Mapping[str, Callable[[Charted], Iterator[Proposition | Read]]] = {
    "urgency-kept": _urgency_kept,
    "red-flags-kept": _red_flags_kept,
    "calls-kept": _calls_kept,
    "deadlines-kept": _deadlines_kept,
    "holds-kept": _holds_kept,
    "benign-quiet": _benign_quiet,
    "never-offered": _not_offered,
    "hold-stands": _hold_stands,
    "no-imaging-alone": _no_imaging_alone,
    "not-both": _not_both,
    "critical-in-time": _deadline,
    "demanded": _demanded,
    "ranking-unread": _ranking_unread,
    "can-fire": _can_fire,
    "parts-matter": _parts_matter,
    "findings-matter": _findings_matter,
    "numbers-one-way": _monotone,
}
PROPERTIES = frozenset(_PROPERTIES)


def propositions_of(property_: str, of: Charted) -> Iterator[Proposition | Read]:
    """The propositions of a property about this knowledge. Raises KeyError for one that is not known."""
    return _PROPERTIES[property_](of)
