"""The card with its whole depth, for a client that wants it: each reason with its date and resource, the differential
diagnosis, what was not documented, and the evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from service.answers.card_lines import with_unit
from service.answers.content import Content
from service.answers.status_line import status_line
from service.knowledge_model.model import Knowledge, Recommendation, in_a_sentence
from service.reasoning.assessment import Assessment
from service.reasoning.differential import Ranking
from service.reasoning.evidence import Evidence
from service.reasoning.questions import Asked
from service.release.states import Standings


class FullText:
    """Writes the cards of one answer."""

    def __init__(self, knowledge: Knowledge, assessment: Assessment, standings: Standings) -> None:
        self.knowledge, self.assessment, self.standings = knowledge, assessment, standings
        self.words = knowledge.wording

    def detail(self, content: Content) -> str:
        """GitHub Flavored Markdown."""
        headings = self.words.headings
        unknown = [self.knowledge.title_of(name) for name in content.lacking]
        recommendations = [fired.recommendation for fired in content.fired]
        sections = [
            (headings["consider"], [line for each in recommendations for line in each.more or each.do]),
            (headings["why"], [*content.notes, *(self._evidence_line(item) for item in content.evidence)]),
            (headings["causes"], list(self._causes()) if content.causes else []),
            (headings["ask"], [self._ask(asked) for asked in content.asks]),
            (headings["not_documented"], ["; ".join(unknown)] if unknown else []),
            (headings["unreadable"], content.checks),
            (headings["safety_net"], [self.words.sentences["safety_net"]]),
            (headings["grounds"], list(self._grounds(recommendations))),
        ]
        return "\n\n".join(
            f"**{heading}**\n\n- " + "\n- ".join(dict.fromkeys(lines)) for heading, lines in sections if lines
        )

    def _ask(self, asked: Asked) -> str:
        because = asked.because
        if asked.changes:
            words = (self.knowledge.question_terms[term].words for term in asked.changes)
            because = self.words.say("can_change", because=because, changes=", ".join(words))
        return self.words.say("ask", ask=asked.ask, because=because)

    def _evidence_line(self, item: Evidence) -> str:
        details = [with_unit(item.state)]
        if item.side:
            details.append(self.words.sides[item.side])
        if item.resource and item.resource != "Patient":
            details.append(item.date or self.words.sentences["undated"])
            details.append(item.resource)
        details += [self.words.sentences[remark] for remark in item.remarks]
        return self.words.say("evidence", finding=self.knowledge.title_of(item.finding), details=", ".join(details))

    def _causes(self) -> Iterator[str]:
        if self.assessment.ranking_waits:
            yield self.words.sentences["ranking_waits"]
        for ranking in self.assessment.rankings:
            prefix = f"{self.words.sides[ranking.side].capitalize()}: " if len(self.assessment.rankings) > 1 else ""
            yield prefix + self._lead(ranking)
            for cause in ranking.causes:
                if cause.band in ("leads", "possible"):
                    parts = []
                    if cause.speaks_for:
                        parts.append(self.words.say("for_it", findings=self._titles(cause.speaks_for)))
                    if cause.speaks_against:
                        parts.append(self.words.say("against_it", findings=self._titles(cause.speaks_against)))
                    known = self.knowledge.causes[cause.id]
                    yield f"{prefix}{known.title} ({known.tell_apart}); " + "; ".join(parts)
            if ranking.families_known:
                yield prefix + self.words.say("completeness", known=ranking.families_known, families=ranking.families)
            else:
                yield prefix + self.words.sentences["nothing_examined"]
        diagnoses = self.assessment.working_diagnoses
        if diagnoses:
            names = ", ".join(in_a_sentence(self.knowledge.causes[cause].title) for cause in diagnoses)
            yield self.words.say("working_diagnosis", causes=names)

    def _lead(self, ranking: Ranking) -> str:
        leader = ranking.leader
        if leader is None:
            return self.words.sentences["not_separated"]
        title = self.knowledge.causes[leader.id].title
        other = in_a_sentence(self.knowledge.causes[ranking.second].title) if ranking.second else ""
        if other and not ranking.clear:
            return self.words.say("leads", first=title, other=other)
        sentence = "leads_alone" if not ranking.clear else "leads_clearly_beside" if other else "leads_clearly"
        return self.words.say(sentence, first=in_a_sentence(title), other=other)

    def _titles(self, findings: Iterable[str]) -> str:
        return ", ".join(in_a_sentence(self.knowledge.title_of(name)) for name in findings)

    def _grounds(self, recommendations: Sequence[Recommendation]) -> Iterator[str]:
        """The evidence; nothing of a chart is in it."""
        for strength, alike in _by_strength(recommendations).items():
            yield self.words.say(
                "strength",
                strength=self.words.strengths[strength],
                statements=", ".join(dict.fromkeys(s for r in alike for s in r.statements)) or "-",
                evidence=", ".join(f"[{tag}]" for tag in _tags(alike)) or "-",
            )
        yield status_line(self.knowledge, self.standings, recommendations)
        yield self.words.sentences["judgement"]


def _by_strength(recommendations: Sequence[Recommendation]) -> dict[str, list[Recommendation]]:
    groups: dict[str, list[Recommendation]] = {}
    for recommendation in recommendations:
        groups.setdefault(recommendation.strength, []).append(recommendation)
    return groups


def _tags(recommendations: Sequence[Recommendation]) -> dict[str, None]:
    """The evidence behind the recommendations, without the statements that are listed on their own."""
    return dict.fromkeys(tag for r in recommendations for tag in r.evidence if tag not in r.statements)
