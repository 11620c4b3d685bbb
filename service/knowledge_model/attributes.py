"""The 13 source attributes of each recommendation, as certified health IT has to show them beside what it recommends.

Source: 45 CFR 170.315(b)(11), evidence-based decision support interventions. Eight are stated in the knowledge, by the
recommendation or for all of them in guideline.toml; five follow from its evidence, its history and its conditions, so
that they cannot say anything else than what is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from service.knowledge_model.model import AFTER_PLAN, Knowledge, Recommendation, in_a_sentence
from service.knowledge_model.vocabulary import ADVICE_FACTS

# In the order of the regulation.
ATTRIBUTES = (
    "citation",
    "developer",
    "funding",
    "dates",
    "race",
    "ethnicity",
    "language",
    "sexual-orientation",
    "gender-identity",
    "sex",
    "date-of-birth",
    "social-determinants",
    "health-status",
)


def source_attributes(knowledge: Knowledge) -> dict[str, dict[str, str]]:
    """The id of each recommendation -> every one of ATTRIBUTES -> its words."""
    direct = {
        each.id: knowledge.opened(name for condition in each.conditions() for name in condition.findings())
        for each in knowledge.recommendations
    }
    before = _Before(knowledge, direct)
    return {each.id: _of(knowledge, each, direct[each.id], before.reaching(each)) for each in knowledge.recommendations}


def _of(
    knowledge: Knowledge, recommendation: Recommendation, direct: frozenset[str], before: frozenset[str]
) -> dict[str, str]:
    last, first = recommendation.history[-1], recommendation.history[0]
    following = {
        "citation": "; ".join(_cited(knowledge, recommendation)),
        "dates": knowledge.attribute_words["dates"].format(
            version=recommendation.version,
            last=last.date,
            first=first.date,
            knowledge=knowledge.version,
            date=knowledge.date,
        ),
        "sex": _use(knowledge, frozenset({"sex"}), direct, before),
        "date-of-birth": _use(knowledge, frozenset({"age"}), direct, before),
        "health-status": _use(knowledge, knowledge.health_status, direct, before),
    }
    return {name: following.get(name) or recommendation.attributes[name] for name in ATTRIBUTES}


class _Before:
    """What is read by the steps that a recommendation comes after: they decide whether it is reached at all."""

    def __init__(self, knowledge: Knowledge, direct: Mapping[str, frozenset[str]]) -> None:
        of_kind = {
            kind: frozenset[str]().union(*(direct[each.id] for each in knowledge.recommendations if each.kind == kind))
            for kind in ("red-flag", "plan")
        }
        self.direct = direct
        self.red_flags = of_kind["red-flag"]
        self.ranked = self.red_flags | of_kind["plan"] | knowledge.opened(knowledge.differential.findings())
        # What judges an order or a visit stands on the whole assessment.
        self.whole = knowledge.opened(
            name for each in knowledge.recommendation_conditions() for name in each.findings()
        )

    def reaching(self, recommendation: Recommendation) -> frozenset[str]:
        if recommendation.kind == "red-flag":
            return frozenset()
        if recommendation.kind in ADVICE_FACTS:
            return self.whole
        made = any(name in AFTER_PLAN or name.startswith("considers-") for name in self.direct[recommendation.id])
        return self.ranked if made else self.red_flags


def _use(knowledge: Knowledge, what: frozenset[str], direct: frozenset[str], before: frozenset[str]) -> str:
    for sentence, read in (("used", direct), ("used_before", before)):
        if found := sorted(what & read):
            titles = ", ".join(in_a_sentence(knowledge.title_of(name)) for name in found)
            return knowledge.attribute_words[sentence].format(findings=titles)
    return knowledge.attribute_words["not_used"]


def _cited(knowledge: Knowledge, recommendation: Recommendation) -> Iterator[str]:
    references = [tag.partition(":")[2] for tag in recommendation.evidence if ":" in tag]
    statements = [tag for tag in recommendation.evidence if tag in knowledge.statements]
    if statements:
        yield f"{knowledge.source_title} ({', '.join(statements)})"
    for reference in references:
        yield str(knowledge.sources[reference]["citation"])
    if not (references or statements):
        provenance = ", ".join(knowledge.provenance[tag] for tag in recommendation.evidence)
        yield knowledge.attribute_words["no_publication"].format(provenance=provenance)
