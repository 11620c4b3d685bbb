"""The words that may stand in the knowledge files, and what the cards and the conditions of each kind are given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from service.prefetch_keys import SEARCHED

SYSTEMS = MappingProxyType(
    {
        "sct": "http://snomed.info/sct",
        "loinc": "http://loinc.org",
        "icd10cm": "http://hl7.org/fhir/sid/icd-10-cm",
        "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    }
)
KINDS = (
    "symptom",
    "history",
    "exam",
    "test",
    "result",
    "measurement",
    "diagnosis",
    "risk",
    "medication",
    "allergy",
)
CLINICAL_KINDS = frozenset({"symptom", "history", "exam", "test", "result", "diagnosis"})
# What the presence of a finding speaks for: a danger or against a treatment, either or neither, nothing.
DIRECTIONS = ("worrying", "neutral", "benign")
INDICATORS = ("critical", "warning", "info")
MODALITIES = ("radiograph", "mri", "ultrasound", "ct", "none-now")
PRIORITIES = ("stat", "urgent", "routine")
# Of the 13 source attributes of an evidence-based decision support intervention (45 CFR 170.315(b)(11)), those that are
# stated; the others follow from evidence, history and conditions.
STATED_ATTRIBUTES = (
    "developer",
    "funding",
    "race",
    "ethnicity",
    "language",
    "sexual-orientation",
    "gender-identity",
    "social-determinants",
)
# The best first.
RATINGS = ("appropriate", "may-be-appropriate", "usually-not")
# What its author says of a recommendation. Whether an active one is in force, the signatures say (service/release).
RETIRED = "retired"
STATUSES = ("draft", "active", RETIRED)
STRENGTHS = ("source-document", "evidence", "judgement")
SIDES = ("left", "right", "bilateral", "unspecified")
# The kinds of data that a card may miss.
DATA = SEARCHED
# Of the short text of a card, then of the full one.
HEADINGS = (
    *("do", "because", "hold", "ask_short", "check", "safety_net"),
    *("why", "consider", "causes", "ask", "not_documented", "unreadable", "grounds"),
)
# The sentences that cards say, each with what is filled in.
SENTENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "safety_net": (),
        "judgement": (),
        "safety_net_short": (),
        "suspended": ("recommendations",),
        "several_suspended": ("count", "recommendations"),
        "all_suspended": (),
        "service_suspended": ("date",),
        "status_draft": ("version",),
        "status_draft_in_part": ("version", "titles"),
        "status_active": ("version", "signed", "released", "review"),
        "status_overdue": ("version", "signed", "released", "review"),
        "on_day": ("findings", "date"),
        "documented": ("date",),
        "not_present": ("finding",),
        "recorded_both_ways": ("finding",),
        "of_side": ("finding", "side"),
        "with_remark": ("finding", "remark"),
        "more_findings": ("findings", "count"),
        "also_found": ("summary", "findings"),
        "all_of": ("first", "last"),
        "today": (),
        "by_date": ("date",),
        "pattern_of": ("first",),
        "possibly": ("first",),
        "suspected": ("first",),
        "why_link": (),
        "advice_link": (),
        "app_link": (),
        "app_link_asks": (),
        "evidence": ("finding", "details"),
        "order_label": ("title",),
        "also_order": ("orders",),
        "with_priority": ("title", "priority"),
        "rated": ("title", "rating", "presentation", "source"),
        "rated_after_radiograph": ("title", "rating", "presentation", "source"),
        "criteria": ("publisher", "topic", "year"),
        "own_judgement": (),
        "score": ("score",),
        "radiation": ("level",),
        "another_region": ("title",),
        "proposed_elsewhere": ("title",),
        "not_recognised": ("count",),
        "already_ordered": ("title", "date"),
        "already_done": ("title", "date"),
        "already_shown": ("title", "date"),
        "value_not_read": ("finding", "date"),
        "medication_not_read": ("date",),
        "allergy_not_read": ("date",),
        "more_not_read": ("count",),
        "replace_label": ("title",),
        "remove_label": (),
        "message_label": (),
        "step": ("number", "count", "action"),
        "steps_together": ("count",),
        "all_together": ("count",),
        "order_by_hand": ("orders",),
        "ask": ("ask", "because"),
        "can_change": ("because", "changes"),
        "strength": ("strength", "statements", "evidence"),
        "leads_clearly": ("first",),
        "leads_clearly_beside": ("first", "other"),
        "leads": ("first", "other"),
        "leads_alone": ("first",),
        "either": ("first", "other"),
        "not_separated": (),
        "ranking_waits": (),
        "completeness": ("known", "families"),
        "nothing_examined": (),
        "for_it": ("findings",),
        "against_it": ("findings",),
        "working_diagnosis": ("causes",),
        "data_missing": ("data",),
        "data_incomplete": ("data",),
        "medicines_missing": ("data",),
        "medicines_incomplete": ("data",),
        "orders_missing": ("data",),
        "orders_incomplete": ("data",),
        "provisional": (),
        "byName": (),
        "reported": (),
        "byText": (),
        "sideUnreadable": (),
        "recorded_not_readable": ("finding", "date"),
        "complaint_not_readable": (),
        "deceased": (),
        "contradictory": ("finding",),
        "side_unclear": ("finding",),
        "other_patient": ("count",),
        "no_side": (),
        "undated": (),
    }
)
# Those that assess the chart, in the order in which they are evaluated: a later kind may read what an earlier one made.
CHART_KINDS = ("red-flag", "plan", "closing", "treatment")
# Those that judge the hook context, each with the facts about it that its conditions may read; those of a
# discharge also read what is offered, see Guideline.facts.
AT_DISCHARGE = "going-home"
ADVICE_FACTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "imaging-order": (
            "order-rating",
            "days-since-the-same-imaging",
            "order-repeats-another-order",
            "order-is-for-the-other-side",
            "order-names-two-sides",
            "order-is-of-another-region",
            "order-names-no-region",
            "radiograph-comes-first",
            "red-flag-work-up-missing",
            "urgent-imaging-missing",
            "order-not-recognised",
            "order-is-an-mri",
            "order-is-ionising",
            "gadolinium-asked-for",
            "chart-not-heard",
        ),
        "analgesic-order": (
            "nsaid-drafted",
            "topical-nsaid-drafted",
            "acetaminophen-drafted",
            "aspirin-drafted",
            "steroid-injection-drafted",
            "held-by-the-chart",
            "care-needed",
            "second-nsaid-drafted",
            "second-acetaminophen",
            "nsaid-with-acetaminophen",
            "acetaminophen-in-24-hours",
            "aspirin-in-24-hours",
            "aspirin-of-unknown-dose",
            "nsaid-beside-such-aspirin",
            "value-not-read",
            "medicine-not-read",
            "complaint-documented",
            "chart-not-heard",
        ),
        "appointment": (
            "days-until-appointment",
            "days-allowed",
            "later-than-allowed",
            "emergency-care-due",
            "chart-not-heard",
        ),
        AT_DISCHARGE: (
            "value-not-read",
            "medicine-not-read",
            "assessment-due",
            "same-day-due",
            "medicines-not-heard",
            "chart-not-heard",
        ),
    }
)
# The facts that are no yes or no.
QUANTITIES = frozenset(
    {
        "days-since-the-same-imaging",
        "acetaminophen-in-24-hours",
        "aspirin-in-24-hours",
        "days-until-appointment",
        "days-allowed",
    }
)
CODED = frozenset({"order-rating"})
RECOMMENDATION_KINDS = (*CHART_KINDS, *ADVICE_FACTS)
# What engine.toml has to name: the services that are published, and the topics of their cards, the urgent tiers first.
PUBLISHED = ("diagnosis", "imaging-referral", "analgesic-safety", "appointment-timing", "discharge-advice")
TOPIC_ROLES = (*INDICATORS[:2], "questions", "diagnosis", "treatment", *ADVICE_FACTS)
# Where something is filled into a text, by its name.
PLACE = re.compile(r"\{([^{}]*)\}")
# What a line of a card may have filled in besides the facts of the hook context; see answers/card_lines.py.
CARD_PLACES = ("findings", "day", "by", "window", "orders", "cause", "where", "order", "side")
# The medicines whose orders can be judged.
MEDICINE_ROLES = ("nsaid", "aspirin", "acetaminophen", "corticosteroid-injection")


# What an answer can change, and what it takes to get the answer, the cheapest first.
QUESTION_TERMS = ("severity", "imaging", "referrals", "leader", "treatment")
COSTS = ("history", "palpation", "strength", "special-test", "lab")
