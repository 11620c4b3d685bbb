"""The line of a card that says what knowledge it stands on, and who has signed it."""

from __future__ import annotations

from collections.abc import Sequence

from service.knowledge_model.model import Knowledge, Recommendation, in_a_sentence
from service.release.states import DRAFT, OVERDUE, SUSPENDED, Standings


def status_line(knowledge: Knowledge, standings: Standings, recommendations: Sequence[Recommendation]) -> str:
    """What the weakest of these recommendations is: a draft never hides behind one that is signed.

    What is suspended says nothing on a card, and so counts for nothing here.
    """
    say = knowledge.wording.say
    if all(standings.by_id[each.id].state in (DRAFT, SUSPENDED) for each in recommendations):
        return say("status_draft", version=standings.version)
    titles = {each.id: each.title for each in recommendations}
    said = [standings.by_id[id_] for id_ in titles if standings.by_id[id_].state != SUSPENDED]
    if drafts := [each for each in said if each.state == DRAFT]:
        named = "; ".join(in_a_sentence(titles[each.id]) for each in drafts)
        return say("status_draft_in_part", version=standings.version, titles=named)
    overdue = any(each.state == OVERDUE for each in said)
    return say(
        "status_overdue" if overdue else "status_active",
        version=standings.version,
        signed="; ".join(dict.fromkeys(each.clinical.in_words for each in said if each.clinical)),
        released="; ".join(dict.fromkeys(each.governance.in_words for each in said if each.governance)),
        review=min(each.review_by for each in said if each.review_by),
    )
