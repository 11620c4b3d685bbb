"""The path of a decision: its stages in the order in which service.reasoning.assessment takes them, with the
recommendations of each. The pages of the knowledge draw it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from service.knowledge_model.model import Knowledge, Recommendation, in_a_sentence, label
from service.knowledge_model.vocabulary import ADVICE_FACTS


class Step(NamedTuple):
    """A recommendation or a cause: the id of its words on the page, and its indicator, which a cause has none of."""

    target: str
    title: str
    indicator: str


class Group(NamedTuple):
    """What belongs together in a stage; the label may be empty."""

    label: str
    steps: tuple[Step, ...]


class Stage(NamedTuple):
    """`reached`: when a decision comes to this stage, where not always; `words` stand before the groups."""

    title: str
    note: str
    groups: tuple[Group, ...]
    reached: str = ""
    words: str = ""


def decision_path(knowledge: Knowledge) -> Iterator[Stage]:
    """The stages of a decision by this knowledge."""
    of_kind = {kind: [r for r in knowledge.recommendations if r.kind == kind] for kind in _KINDS}
    flags = of_kind["red-flag"]
    stops = [r for r in flags if r.indicator == "critical" and r.red_flag and "ranking" in r.red_flag.blocks]
    located = "; ".join(finding.title for finding in knowledge.findings.values() if finding.defines_complaint)
    pattern = knowledge.engine.complaint
    beside = f", or: {in_a_sentence(knowledge.title_of(pattern))}" if pattern else ""
    note = f"One of these findings{beside}. Otherwise there is no card about the chart."
    yield Stage("Is it this pain?", note, (), words=located)
    yield Stage(
        "Red flags",
        "All of them are asked, and each that holds is on a card.",
        (
            Group("Critical, and ranking and plan wait", _steps(stops)),
            Group("Critical", _steps(r for r in flags if r.indicator == "critical" and r not in stops)),
            Group("Warning", _steps(r for r in flags if r.indicator != "critical")),
        ),
        "where it is this pain",
    )
    ranking = knowledge.differential
    causes = tuple(Step("causes", cause.title, "") for cause in knowledge.causes.values())
    yield Stage(
        "Ranking of causes",
        f"By points. A cause leads with at least {ranking.lead_at_least}, and {ranking.lead_by} more than the next.",
        (Group("", causes),),
        "unless a critical flag makes it wait",
    )
    yield Stage("Plan", "What the findings and the causes call for.", (Group("", _steps(of_kind["plan"])),))
    closing = (Group("", _steps(of_kind["closing"])),)
    yield Stage("Closing", "What is said of imaging once it is known what is called for.", closing)
    yield Stage(
        "Treatment",
        "What is offered, held, or offered with care.",
        tuple(_treatments(of_kind["treatment"], knowledge.engine.treatments)),
    )
    advice = tuple(Group(label(kind), _steps(of_kind[kind])) for kind in ADVICE_FACTS)
    yield Stage("Hook context", "A draft order, an appointment or a discharge is held against all of this.", advice)


_KINDS = ("red-flag", "plan", "closing", "treatment", *ADVICE_FACTS)


def _treatments(recommendations: Iterable[Recommendation], treatments: Iterable[str]) -> Iterator[Group]:
    by_first: dict[str, list[Recommendation]] = {}
    for each in recommendations:
        by_first.setdefault(each.treatment[0].id if each.treatment else "", []).append(each)
    for id_ in (*treatments, ""):
        if id_ in by_first:
            yield Group(label(id_) if id_ else "More", _steps(by_first[id_]))


def _steps(recommendations: Iterable[Recommendation]) -> tuple[Step, ...]:
    return tuple(Step(each.id, each.title, each.indicator) for each in recommendations)
