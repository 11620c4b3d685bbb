"""The knowledge: what the knowledge files say, as frozen objects. Nothing here decides anything about a patient."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from service.knowledge_model.conditions import CONTRADICTORY, Condition, Interval
from service.knowledge_model.engine import Engine
from service.knowledge_model.vocabulary import ADVICE_FACTS, AT_DISCHARGE, CLINICAL_KINDS, CODED, QUANTITIES

PACKAGED = Path(__file__).parents[1] / "knowledge"
LOCAL_SYSTEM = "https://sitbone.example.org/fhir/CodeSystem/findings"
TOPIC_SYSTEM = "https://sitbone.example.org/fhir/CodeSystem/topics"
ORDER_SYSTEM = "https://sitbone.example.org/fhir/CodeSystem/orders"
# What the rules may read besides findings and definitions, and which step of the assessment makes it.
OF_THE_PATIENT = ("age", "sex")
AFTER_PLAN = ("imaging-called-for", "mri-called-for")
# What ratings read besides: a radiograph is documented, done, ordered, or drafted beside the order that is rated.
RADIOGRAPH_AT_HAND = "radiograph-at-hand"


class KnowledgeError(Exception):
    """The knowledge cannot be used: which file, which key, why."""

    def __init__(self, file: str, key: str, reason: str) -> None:
        super().__init__(f"{file}: {key}: {reason}")
        self.file, self.key, self.reason = file, key, reason


# Cards name the same findings and causes again and again.
@lru_cache(maxsize=1024)
def in_a_sentence(title: str) -> str:
    """A title as it stands within a sentence: without its first capital, unless that belongs to an abbreviation."""
    first_word = title.partition(" ")[0]
    return title if any(letter.isupper() for letter in first_word[1:]) else title[:1].lower() + title[1:]


def capital(text: str) -> str:
    """The text with a capital at its beginning, unless it begins with an abbreviation such as eGFR."""
    if text[:1].isupper():
        return text
    rest = text.partition(" ")[0][1:]
    return text if rest != rest.lower() else text[:1].upper() + text[1:]


def label(id_: str) -> str:
    """How an id that has no title of its own is called, such as that of a treatment."""
    return "NSAID" if id_ == "nsaid" else id_.replace("-", " ").capitalize()


@dataclass(frozen=True, slots=True)
class Due:
    """What a date in the future states today, such as that on which a pregnancy is due.

    present: a finding that is present until so many `days_after` that day; weeks: a quantity in weeks, and
    `weeks_then` what it is on that day.
    """

    present: str
    days_after: int
    weeks: str
    weeks_then: float


@dataclass(frozen=True, slots=True)
class Finding:
    id: str
    title: str
    kind: str
    value: str
    unit: str
    statements: tuple[str, ...]
    defines_complaint: bool
    look_back_days: int | None
    # Its look-back is its own: an active Condition, which stands however old, is then held to it as well.
    dated_event: bool
    # It has no side by its nature, and holds for both.
    whole_patient: bool
    past_counts: bool
    uninformative_alone: bool
    # A circumstance: it tells nothing of the pain, and its side is not where the pain is.
    is_context: bool
    # Its side is not where the pain is, as that of a circumstance.
    ignore_side: bool
    # Where the pain is on both sides, it is present when it is on one of them.
    bilateral_if_either: bool
    # What a measurement of a living person can be at all, in its unit; another value is a mistake.
    plausible: Interval
    # Of an allergy: the medicines of which each is what it is an allergy to.
    allergy_to: tuple[str, ...]
    # Of a result: the finding that a Condition states in its place which is not confirmed.
    suspicion: str
    # Of a date that lies ahead: what it states in its place.
    due: Due | None
    # Its title as a word within a line of a card.
    short: str
    # What its presence speaks for: worrying, neutral or benign; what properties quantify over.
    direction: str


@dataclass(frozen=True, slots=True)
class Code:
    """A row of a value set. `match`: exact, children (the code and what it begins), range (of ICD-10-CM categories)."""

    concept: str
    system: str
    code: str
    match: str
    side: str
    site: str
    display: str


@dataclass(frozen=True, slots=True)
class RedFlag:
    id: str
    indicator: str
    blocks: frozenset[str]


@dataclass(frozen=True, slots=True)
class Imaging:
    modality: str
    region: str
    priority: str
    alternative: str
    when: Condition | None


@dataclass(frozen=True, slots=True)
class Referral:
    to: str
    priority: str
    when: Condition | None


@dataclass(frozen=True, slots=True)
class Treatment:
    id: str
    state: str
    without: tuple[str, ...]
    # What this adds is not said at all when another recommendation leaves it out, on either side.
    adds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revision:
    """One entry of a history. Who has signed is no word of the knowledge: see service/release."""

    version: int
    date: dt.date
    change: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommendation file: its plain words, its conditions, what it calls for and what its card says.

    `attributes` are those source attributes that are stated, its own or those of the knowledge; the others follow from
    the rest of the file (see attributes.source_attributes).
    """

    id: str
    version: int
    title: str
    kind: str
    order: int
    rules: tuple[str, ...]
    statements: tuple[str, ...]
    strength: str
    evidence: tuple[str, ...]
    status: str
    when_then: str
    when: Condition
    critical_when: Condition | None
    red_flag: RedFlag | None
    imaging: tuple[Imaging, ...]
    referrals: tuple[Referral, ...]
    treatment: tuple[Treatment, ...]
    # A plan whose calls have a deadline, which does not wait for a red flag as other plans do.
    in_emergency: bool
    # What is suggested to be done with it: replace, remove, or nothing.
    change: str
    topic: str
    indicator: str
    # A line of a card; see card_lines.py for the places that are filled in by the chart.
    summary: str
    # Whether it goes first on its card, as what imaging or an examination has answered does.
    leads: bool
    # What to do, in short, and what a clinician who wants the whole reads instead.
    do: tuple[str, ...]
    more: tuple[str, ...]
    # The same for the patient, in plain language.
    say: tuple[str, ...]
    history: tuple[Revision, ...]
    attributes: Mapping[str, str]

    @property
    def waits(self) -> bool:
        """Whether it is left away while a red flag makes the ranking wait."""
        return self.kind == "plan" and not self.in_emergency

    def conditions(self) -> Iterator[Condition]:
        """Every condition in the file."""
        yield self.when
        if self.critical_when:
            yield self.critical_when
        for imaging in self.imaging:
            if imaging.when:
                yield imaging.when
        for referral in self.referrals:
            if referral.when:
                yield referral.when


@dataclass(frozen=True, slots=True)
class Cause:
    id: str
    title: str
    statements: tuple[str, ...]
    tell_apart: str


@dataclass(frozen=True, slots=True)
class Points:
    cause: str
    points: int
    when: Condition
    source: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WeightedTest:
    family: str
    cause: str
    finding: str
    positive: int
    negative: int
    # When it is negative; where it is absent, if nothing is said.
    negative_when: Condition | None
    source: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cap:
    cause: str
    family: str
    at_most: int
    when: Condition
    source: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Veto:
    cause: str
    when: Condition
    source: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Differential:
    lead_at_least: int
    lead_by: int
    clear_by: int
    stays_possible: tuple[str, ...]
    tenderness: tuple[str, ...]
    # Where it holds on any side, no cause is ranked.
    unranked: Condition | None
    points: tuple[Points, ...]
    tests: tuple[WeightedTest, ...]
    caps: tuple[Cap, ...]
    vetoes: tuple[Veto, ...]

    @cached_property
    def families(self) -> Mapping[tuple[str, str], tuple[tuple[WeightedTest, ...], tuple[Cap, ...]]]:
        """(cause, family) -> its tests and the caps on what they count."""
        keys = dict.fromkeys((test.cause, test.family) for test in self.tests)
        return {
            key: (
                tuple(test for test in self.tests if (test.cause, test.family) == key),
                tuple(cap for cap in self.caps if (cap.cause, cap.family) == key),
            )
            for key in keys
        }

    @cached_property
    def family_count(self) -> int:
        """How many families of tests there are."""
        return len({test.family for test in self.tests})

    def entries(self) -> tuple[Points | WeightedTest | Cap | Veto, ...]:
        """Every weight and limit."""
        return (*self.points, *self.tests, *self.caps, *self.vetoes)

    def conditions(self) -> Iterator[Condition]:
        """Every condition in the file."""
        yield from (entry.when for entry in self.points)
        yield from (test.negative_when for test in self.tests if test.negative_when)
        yield from (cap.when for cap in self.caps)
        yield from (veto.when for veto in self.vetoes)
        if self.unranked is not None:
            yield self.unranked

    def findings(self) -> frozenset[str]:
        """The ids that the ranking reads."""
        return frozenset(t.finding for t in self.tests).union(*(c.findings() for c in self.conditions()))


@dataclass(frozen=True, slots=True)
class Question:
    """One wording for several findings. It is asked where `when` holds, if it has one.

    short: how a card asks it where nothing of it is known; otherwise, and without one, the card names the finding;
    together: its findings are also tried all at once; first: it is asked before all others, whatever its value.
    """

    findings: tuple[str, ...]
    ask: str
    short: str
    because: str
    cost: str
    together: bool
    first: bool
    when: Condition | None
    # How plausible its answer is, in percent: that of the first condition that holds, or that has none; otherwise 100.
    priors: tuple[tuple[int, Condition | None], ...]


@dataclass(frozen=True, slots=True)
class QuestionTerm:
    """What it counts for a question that an answer changes this, and how a card calls it."""

    points: int
    words: str
    source: str


@dataclass(frozen=True, slots=True)
class Topic:
    id: str
    display: str
    label: str


@dataclass(frozen=True, slots=True)
class Wording:
    headings: Mapping[str, str]
    # How the hook context is called among the reasons of a card.
    facts: Mapping[str, str]
    sentences: Mapping[str, str]
    # By red flag: what is suspected, as the indication of an order.
    suspicions: Mapping[str, str]
    strengths: Mapping[str, str]
    sides: Mapping[str, str]
    # How the kinds of data are called where they are missing.
    data: Mapping[str, str]
    topics: Mapping[str, Topic]
    override_reasons: tuple[tuple[str, str], ...]

    def say(self, sentence: str, **values: object) -> str:
        """This sentence, filled in."""
        return self.sentences[sentence].format(**values)


@dataclass(frozen=True, slots=True)
class OrderTemplate:
    """What an order of this kind carries: its title, its code per side ('' without), its body site per side.

    `key` is its code in our own code system, by which it is recognised whatever else an EHR makes of it.
    """

    key: str
    title: str
    # The same as a word within a line of a card.
    short: str
    # A CodeableConcept: imaging, or a referral.
    category: Mapping[str, Any]
    # Whether the side belongs into its words.
    sided: bool
    codes: Mapping[str, Code]
    body_sites: Mapping[str, Code]


@dataclass(frozen=True, slots=True)
class MedicineTemplate:
    """A medicine that is proposed: its ingredient, and what is said of the dose."""

    title: str
    code: Code
    dosage: str


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """The words around what a patient takes home."""

    title: str
    opening: str


@dataclass(frozen=True, slots=True)
class Rating:
    """How appropriate one modality is. `score`: 1 to 9; `radiation`: 0 to 5; either where the source gives it."""

    modality: str
    regions: tuple[str, ...]
    rating: str
    score: int | None
    radiation: int | None
    when: Condition | None


@dataclass(frozen=True, slots=True)
class Presentation:
    """A presentation that imaging criteria rate, in our own words, with the condition by which a chart is one.

    `publisher` is whose criteria they are, of which year; empty for a judgement of this knowledge.
    """

    id: str
    publisher: str
    topic: str
    year: int
    presentation: str
    evidence: tuple[str, ...]
    verified: bool
    rules: tuple[str, ...]
    when: Condition
    ratings: tuple[Rating, ...]

    def conditions(self) -> Iterator[Condition]:
        """Every condition of this presentation."""
        yield self.when
        yield from (rating.when for rating in self.ratings if rating.when)


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rows that the knowledge has to carry: id -> words. Those that are `open` may lack knowledge or a case."""

    title: str
    rows: Mapping[str, str]
    open: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Where the source document and the literature part ways, and what was decided."""

    id: str
    title: str
    statements: tuple[str, ...]
    literature: str
    decision: str
    evidence: tuple[str, ...]
    recommendations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MedicineName:
    """What a name means, and who says so: the RxNorm code of an ingredient, or findings where no such code is there."""

    of: str
    findings: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Synonym:
    """The finding that other words name, and who says so."""

    of: str
    evidence: tuple[str, ...]


# What a reason in words may state: what a test or an examination showed is more than its name.
KINDS_IN_WORDS = frozenset({"symptom", "history", "diagnosis"})


@dataclass(frozen=True, slots=True)
class Debt:
    """What has yet to be verified, and which rows stand on it."""

    id: str
    title: str
    debt: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Knowledge:
    id: str
    title: str
    version: str
    date: dt.date
    status: str
    source_title: str
    provenance: Mapping[str, str]
    # The source statements, S1 to S36, in our own words.
    statements: Mapping[str, str]
    # What is said of all recommendations alike: external validation, fairness, review.
    appraisal: Mapping[str, str]
    # The sentences of the source attributes that follow from conditions and history.
    attribute_words: Mapping[str, str]
    # The findings that are health status assessments in the sense of USCDI.
    health_status: frozenset[str]
    thresholds: Mapping[str, Mapping[str, Any]]
    findings: Mapping[str, Finding]
    definitions: Mapping[str, tuple[str, Condition]]
    causes: Mapping[str, Cause]
    differential: Differential
    # What the service is told of this knowledge by name.
    engine: Engine
    recommendations: tuple[Recommendation, ...]
    # Those that no chart fires any more.
    retired: tuple[Recommendation, ...]
    questions: tuple[Question, ...]
    question_terms: Mapping[str, QuestionTerm]
    wording: Wording
    orders: Mapping[str, OrderTemplate]
    # The codes by which an order or a study is recognised: concept is modality-region, a modality alone, or at-region.
    order_codes: tuple[Code, ...]
    presentations: tuple[Presentation, ...]
    # The words of each rating.
    rating_words: Mapping[str, str]
    medicines: Mapping[str, MedicineTemplate]
    # What else a medicine is called, in small letters.
    medicine_names: Mapping[str, MedicineName]
    synonyms: Mapping[str, Synonym]
    # What readers in the United Kingdom write instead of a word, both in small letters.
    uk_words: Mapping[str, str]
    message: MessageTemplate
    sources: Mapping[str, Mapping[str, Any]]
    rule_groups: tuple[RuleGroup, ...]
    conflicts: tuple[Conflict, ...]
    debts: tuple[Debt, ...]
    codes: tuple[Code, ...]
    answers: tuple[Code, ...]

    def informative(self) -> frozenset[str]:
        """The findings of which a value tells something of the pain."""
        return frozenset(
            f.id
            for f in self.findings.values()
            if f.kind in CLINICAL_KINDS and not (f.uninformative_alone or f.is_context)
        )

    def every_recommendation(self) -> tuple[Recommendation, ...]:
        """Those that can fire, then those that are retired."""
        return (*self.recommendations, *self.retired)

    def recommendation_conditions(self) -> Iterator[Condition]:
        """Every condition that the assessment evaluates."""
        for recommendation in self.recommendations:
            yield from recommendation.conditions()
        yield from self.differential.conditions()
        for presentation in self.presentations:
            yield from presentation.conditions()
        for _title, condition in self.definitions.values():
            yield condition

    def conditions(self) -> Iterator[Condition]:
        """Every condition of the knowledge: of rule_conditions, of whom a question is asked, of how plausible it is."""
        yield from self.recommendation_conditions()
        yield from (question.when for question in self.questions if question.when)
        yield from (when for question in self.questions for _percent, when in question.priors if when)

    def rules(self) -> dict[str, str]:
        """The words of every row that the knowledge has to carry, by id."""
        return {id_: words for group in self.rule_groups for id_, words in group.rows.items()}

    def carried_rules(self) -> frozenset[str]:
        """The rows that something in the knowledge names."""
        named: set[str] = set()
        for recommendation in self.recommendations:
            named.update(recommendation.rules)
        for presentation in self.presentations:
            named.update(presentation.rules)
        for entry in self.differential.entries():
            named.update(entry.rules)
        return frozenset(named)

    def value_of(self, name: str) -> str:
        """What kind of value has what a condition reads: boolean, quantity, date or coded."""
        if name in self.findings:
            return self.findings[name].value
        if name == "age" or name in self.engine.derived.quantities or name in QUANTITIES:
            return "quantity"
        return "coded" if name == "sex" or name in CODED else "boolean"

    @property
    def facts(self) -> dict[str, tuple[str, ...]]:
        """What the conditions of each kind may read of what is judged."""
        told = tuple(fact for fact in self.facts_of_offers() if fact in self.wording.facts)
        return {kind: (*facts, *told) if kind == AT_DISCHARGE else facts for kind, facts in ADVICE_FACTS.items()}

    def facts_of_offers(self) -> tuple[str, ...]:
        """What can be told at a discharge of treatments and red flags; what wording.toml has words for is told."""
        offered = (f"{treatment}-offered" for treatment in self.engine.treatments)
        told = (f"{what}-{how}" for what in self.additions() for how in ("offered", "left-out"))
        return (*offered, *told, *self.engine.at_discharge)

    def additions(self) -> dict[str, frozenset[str]]:
        """What a treatment adds, or leaves out, and of which treatments that is said."""
        found: dict[str, set[str]] = {}
        for recommendation in self.recommendations:
            for treatment in recommendation.treatment:
                for what in (*treatment.adds, *treatment.without):
                    found.setdefault(what, set()).add(treatment.id)
        return {what: frozenset(treatments) for what, treatments in found.items()}

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions of which there is an order of imaging, as they come in orders.toml."""
        found = (modality.partition("-") for modality in self.orders if not modality.startswith("referral-"))
        return tuple(dict.fromkeys(region for _modality, _hyphen, region in found))

    def opened(self, names: Iterable[str]) -> frozenset[str]:
        """These ids, and what the named criteria among them read."""
        seen: set[str] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                if name in self.definitions:
                    left.extend(self.definitions[name][1].findings())
        return frozenset(seen)

    def title_of(self, finding: str) -> str:
        """How a finding or a named criterion is called on a card."""
        if finding in self.findings:
            return self.findings[finding].title
        if finding in self.definitions:
            return self.definitions[finding][0]
        if finding in self.wording.facts:
            return self.wording.facts[finding]
        return finding.replace("-", " ").capitalize()

    def short_of(self, finding: str) -> str:
        """How it is called within a line of a card."""
        return self.findings[finding].short if finding in self.findings else in_a_sentence(self.title_of(finding))

    def base_findings(self, ids: Iterable[str]) -> frozenset[str]:
        """The findings of the chart behind these ids, with named criteria and derived quantities opened."""
        found: set[str] = set()
        seen: set[str] = set()
        left = list(ids)
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self.findings:
                found.add(name)
            elif name in self.definitions:
                # Where a finding matters only if it is recorded in two ways, it is not one that is read.
                leaves = self.definitions[name][1].leaves()
                left.extend(leaf.finding for leaf in leaves if leaf.operand != CONTRADICTORY)
            else:
                found.update(self.engine.derived.behind(name))
        return frozenset(found)
