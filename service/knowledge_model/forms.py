"""The form of each knowledge file, as marshmallow schemas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, pre_load, validate, validates_schema

from service.knowledge_model.vocabulary import (
    COSTS,
    DIRECTIONS,
    INDICATORS,
    KINDS,
    MEDICINE_ROLES,
    MODALITIES,
    PRIORITIES,
    PUBLISHED,
    QUESTION_TERMS,
    RATINGS,
    RECOMMENDATION_KINDS,
    STATED_ATTRIBUTES,
    STATUSES,
    STRENGTHS,
    SYSTEMS,
    TOPIC_ROLES,
)


def reasons(messages: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each key and reason of a marshmallow error, whose messages nest as the file does."""
    if not isinstance(messages, Mapping):
        yield path or "file", str(messages[0] if isinstance(messages, list) else messages)
        return
    for key, inner in messages.items():
        part = f"[{key}]" if isinstance(key, int) else str(key)
        # A Dict field nests its errors once more, under "value" or "key".
        yield from reasons(inner, path if part in ("value", "key") else f"{path}.{part}" if path else part)


def _same_keys(table: Mapping[str, Any], names: Iterable[str]) -> None:
    if set(table) != set(names):
        raise ValidationError(f"has {', '.join(names)}, and nothing else")


def _text(**kwargs: Any) -> fields.String:
    return fields.String(required=True, validate=validate.Length(min=1), **kwargs)


def _texts(*, required: bool = True) -> fields.List[str]:
    text = fields.String(validate=validate.Length(min=1))
    return fields.List(text, required=True) if required else fields.List(text, load_default=list)


def _optional_list(schema: type[Schema]) -> fields.List[Any]:
    return fields.List(fields.Nested(schema), load_default=list)


def _one_of(choices: Iterable[str], **kwargs: Any) -> fields.String:
    return fields.String(required=True, validate=validate.OneOf(tuple(choices)), **kwargs)


_TEXT_TABLE = fields.Dict(keys=fields.String(), values=_text(), required=True)


class _ThresholdFile(Schema):
    value = fields.Float(required=True)
    unit = _text()
    date = fields.Raw(required=True)
    source = _text()


# The stated source attributes; a recommendation may have its own, and otherwise inherits those of the knowledge.
_ATTRIBUTES = fields.Dict(
    keys=fields.String(validate=validate.OneOf(STATED_ATTRIBUTES)), values=_text(), load_default=dict
)


class _AppraisalTable(Schema):
    external_validation = _text()
    fairness = _text()
    review = _text()


class _AttributeWordsTable(Schema):
    used = _text()
    used_before = _text()
    not_used = _text()
    no_publication = _text()
    dates = _text()


class KnowledgeFile(Schema):
    """guideline.toml."""

    id = _text()
    title = _text()
    version = _text()
    date = fields.Raw(required=True)
    status = _one_of(("draft", "active"))
    source_title = _text()
    provenance = _TEXT_TABLE
    statements = _TEXT_TABLE
    attributes = _ATTRIBUTES
    attribute_words = fields.Nested(_AttributeWordsTable, required=True)
    appraisal = fields.Nested(_AppraisalTable, required=True)
    health_status = _texts()
    look_back_days = fields.Dict(
        keys=fields.String(validate=validate.OneOf(KINDS)), values=fields.Integer(strict=True), required=True
    )
    thresholds = fields.Dict(keys=fields.String(), values=fields.Nested(_ThresholdFile), required=True)


class _DueTable(Schema):
    present = _text()
    days_after = fields.Integer(strict=True, required=True)
    weeks = _text()
    weeks_then = fields.Float(required=True)


# What keys of a finding were called before, and are called now.
FORMER_KEYS = {
    "background": "is_context",
    "either_side": "bilateral_if_either",
    "locates": "defines_complaint",
    "side_apart": "ignore_side",
}


class FindingFile(Schema):
    """One table of findings.toml."""

    title = _text()
    kind = _one_of(KINDS)
    value = fields.String(load_default="boolean", validate=validate.OneOf(("boolean", "quantity", "date")))
    unit = fields.String(load_default="")
    plausible = fields.List(fields.Float(), load_default=None, validate=validate.Length(equal=2))
    statements = _texts(required=False)
    defines_complaint = fields.Boolean(load_default=False)
    look_back_days = fields.Integer(strict=True, load_default=None)
    no_look_back = fields.Boolean(load_default=False)
    whole_patient = fields.Boolean(load_default=False)
    past_counts = fields.Boolean(load_default=False)
    uninformative_alone = fields.Boolean(load_default=False)
    is_context = fields.Boolean(load_default=False)
    ignore_side = fields.Boolean(load_default=False)
    bilateral_if_either = fields.Boolean(load_default=False)
    allergy_to = _texts(required=False)
    suspicion = fields.String(load_default="")
    due = fields.Nested(_DueTable, load_default=None)
    short = fields.String(load_default="")
    direction = fields.String(load_default="neutral", validate=validate.OneOf(DIRECTIONS))

    @pre_load
    def _no_former_key(self, table: Any, **_kwargs: Any) -> Any:
        former = FORMER_KEYS.keys() & table if isinstance(table, dict) else ()
        if former:
            raise ValidationError({key: f"is called {FORMER_KEYS[key]} now" for key in former})
        return table


class _PresentedTable(Schema):
    title = fields.String(load_default="")
    description = _text()


class _ShownByTable(Schema):
    finding = _text()
    modalities = fields.List(fields.String(validate=validate.OneOf(MODALITIES[:-1])), required=True)
    regions = _texts()


class _ImagingRolesTable(Schema):
    recent = _text()
    regions_of_complaint = _texts(required=False)
    other_regions = _texts(required=False)
    shown_on_both_sides = _texts(required=False)
    radiograph_at_hand = fields.String(load_default="")
    recent_injury = fields.String(load_default="")
    child = fields.String(load_default="")
    shown_by = _optional_list(_ShownByTable)
    results = _texts(required=False)
    asked_for_by = fields.List(fields.List(fields.String(), validate=validate.Length(min=1)), load_default=list)


class _JudgedMedicineTable(Schema):
    finding = _text()
    treatment = _text()
    order = fields.String(load_default="")
    low_dose = fields.String(load_default="")


class _ReferralRolesTable(Schema):
    emergency = fields.String(load_default="")


class _ComplaintTable(Schema):
    criterion = fields.String(load_default="")
    onset = fields.String(load_default="")


_NAMES = fields.Dict(keys=fields.String(), values=_text(), load_default=dict)
_LISTS = fields.Dict(
    keys=fields.String(), values=fields.List(fields.String(), validate=validate.Length(min=1)), load_default=dict
)


class _DerivedTable(Schema):
    days_since = _NAMES
    count_of = _LISTS
    on_both_sides = _LISTS
    on_either_side = _NAMES
    on_the_other_side = _LISTS


class _RedFlagsTable(Schema):
    ids = _texts()
    blocks = _texts(required=False)
    at_discharge = _NAMES


class _TreatmentsTable(Schema):
    ids = _texts()


_BODY_WORD = validate.Regexp(r"[a-z]+( [a-z]+)*\*?\Z", error="is words in small letters, after which a * may stand")


class _WordsTable(Schema):
    body = fields.List(fields.String(validate=_BODY_WORD), load_default=list)
    orders = fields.List(fields.String(validate=validate.Regexp(r"[a-z]+\Z")), load_default=list)


class EngineFile(Schema):
    """engine.toml."""

    complaint = fields.Nested(_ComplaintTable, load_default=lambda: _ComplaintTable().load({}))
    words = fields.Nested(_WordsTable, load_default=lambda: _WordsTable().load({}))
    derived = fields.Nested(_DerivedTable, load_default=lambda: _DerivedTable().load({}))
    red_flags = fields.Nested(_RedFlagsTable, required=True)
    treatments = fields.Nested(_TreatmentsTable, required=True)
    services = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(_PresentedTable),
        required=True,
        validate=lambda table: _same_keys(table, PUBLISHED),
    )
    topics = fields.Dict(
        keys=fields.String(), values=_text(), required=True, validate=lambda table: _same_keys(table, TOPIC_ROLES)
    )
    imaging = fields.Nested(_ImagingRolesTable, required=True)
    medicines = fields.Dict(
        keys=fields.String(validate=validate.OneOf(MEDICINE_ROLES)),
        values=fields.Nested(_JudgedMedicineTable),
        load_default=dict,
    )
    referrals = fields.Nested(_ReferralRolesTable, load_default=lambda: {"emergency": ""})


class CriterionFile(Schema):
    """One table of definitions.toml."""

    title = _text()
    when = fields.Raw(required=True)


class CauseFile(Schema):
    """One table of causes.toml."""

    title = _text()
    statements = _texts()
    tell_apart = _text()


class _RedFlagTable(Schema):
    id = _text()
    indicator = _one_of(INDICATORS[:2])
    blocks = _texts(required=False)


class _ImagingTable(Schema):
    modality = _one_of(MODALITIES)
    region = _text()
    priority = _one_of(PRIORITIES)
    alternative = fields.String(load_default="", validate=validate.OneOf(("", *MODALITIES)))
    when = fields.Raw(load_default=None)


class _ReferralTable(Schema):
    to = _text()
    priority = _one_of(PRIORITIES)
    when = fields.Raw(load_default=None)


class _TreatmentTable(Schema):
    id = _text()
    # A caution changes no state: it goes with an offer, and is not said without one.
    state = _one_of(("offer", "hold", "caution"))
    without = _texts(required=False)
    adds = _texts(required=False)


class _CardTable(Schema):
    topic = _text()
    indicator = fields.String(load_default="", validate=validate.OneOf(("", *INDICATORS)))
    summary = fields.String(required=True, validate=validate.Length(min=1, max=200))
    leads = fields.Boolean(load_default=False)
    do = _texts(required=False)
    more = _texts(required=False)
    say = _texts(required=False)


class _HistoryTable(Schema):
    version = fields.Integer(strict=True, required=True)
    date = fields.Date(required=True)
    change = _text()


class RecommendationFile(Schema):
    """One file of recommendations/."""

    id = _text()
    version = fields.Integer(strict=True, required=True)
    title = _text()
    kind = _one_of(RECOMMENDATION_KINDS)
    order = fields.Integer(strict=True, required=True)
    rules = _texts()
    statements = _texts()
    strength = _one_of(STRENGTHS)
    evidence = _texts()
    status = _one_of(STATUSES)
    when_then = fields.String(
        required=True, validate=validate.Regexp(r"\s*WHEN .+,\nTHEN ", error="reads WHEN …,\\nTHEN …")
    )
    when = fields.Raw(required=True)
    critical_when = fields.Raw(load_default=None)
    red_flag = fields.Nested(_RedFlagTable, load_default=None)
    imaging = _optional_list(_ImagingTable)
    referrals = _optional_list(_ReferralTable)
    treatment = _optional_list(_TreatmentTable)
    # Of a plan: it is said beside a red flag that makes the ranking wait, too, for what it calls for has a deadline.
    in_emergency = fields.Boolean(load_default=False)
    change = fields.String(load_default="", validate=validate.OneOf(("", "replace", "remove")))
    card = fields.Nested(_CardTable, required=True)
    attributes = _ATTRIBUTES
    history = fields.List(fields.Nested(_HistoryTable), required=True, validate=validate.Length(min=1))


class _RulesTable(Schema):
    clip = fields.Integer(strict=True, required=True)
    lead_at_least = fields.Integer(strict=True, required=True)
    lead_by = fields.Integer(strict=True, required=True)
    clear_by = fields.Integer(strict=True, required=True)
    # Causes that are possible as soon as something speaks for them, however far another is ahead.
    stays_possible = _texts(required=False)
    tenderness = _texts()
    # Where this holds no cause is ranked.
    unranked = fields.Raw(load_default=None)


class _CapTable(Schema):
    cause = _text()
    family = _text()
    at_most = fields.Integer(strict=True, required=True)
    when = fields.Raw(required=True)
    source = _text()
    rules = _texts(required=False)


class _VetoTable(Schema):
    cause = _text()
    when = fields.Raw(required=True)
    source = _text()
    rules = _texts(required=False)


class DifferentialFile(Schema):
    """differential.toml."""

    rules = fields.Nested(_RulesTable, required=True)
    caps = _optional_list(_CapTable)
    vetoes = _optional_list(_VetoTable)


class WeightRow(Schema):
    """One row of weights.csv beside the columns of the causes, which are named by their ids."""

    when = _text()
    # Of a test, that of the tests which are correlated with it; empty for history and examination.
    family = fields.String(load_default="")
    # Of a test, the condition by which it is negative; where it is empty, that it is absent.
    negative = fields.String(load_default="")
    source = _text()
    rules = fields.String(load_default="")


class _PriorTable(Schema):
    percent = fields.Integer(strict=True, required=True, validate=validate.Range(min=1, max=100))
    when = fields.Raw(load_default=None)


class _QuestionTable(Schema):
    findings = fields.List(
        fields.String(validate=validate.Length(min=1)), required=True, validate=validate.Length(min=1)
    )
    ask = _text()
    short = fields.String(load_default="")
    because = _text()
    cost = _one_of(COSTS)
    together = fields.Boolean(load_default=False)
    first = fields.Boolean(load_default=False)
    when = fields.Raw(load_default=None)
    priors = _optional_list(_PriorTable)


class _QuestionTermTable(Schema):
    points = fields.Integer(strict=True, required=True, validate=validate.Range(min=1))
    words = _text()
    source = _text()


class QuestionFile(Schema):
    """questions.toml."""

    value = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(_QuestionTermTable),
        required=True,
        validate=lambda table: _same_keys(table, QUESTION_TERMS),
    )
    questions = fields.List(fields.Nested(_QuestionTable), required=True)


class _TopicTable(Schema):
    display = _text()
    label = _text()


class _OverrideReasonTable(Schema):
    code = _text()
    display = _text()


class UkWordsFile(Schema):
    """uk_words.toml."""

    words = _TEXT_TABLE


class WordingFile(Schema):
    """wording.toml."""

    headings = _TEXT_TABLE
    facts = _TEXT_TABLE
    sentences = _TEXT_TABLE
    suspicions = _TEXT_TABLE
    strengths = _TEXT_TABLE
    sides = _TEXT_TABLE
    data = _TEXT_TABLE
    topics = fields.Dict(keys=fields.String(), values=fields.Nested(_TopicTable), required=True)
    override_reasons = fields.List(fields.Nested(_OverrideReasonTable), required=True)


class _OrderTable(Schema):
    title = _text()
    short = fields.String(load_default="")
    body_site = fields.String(load_default="")
    sided = fields.Boolean(load_default=True)


class _MedicineTable(Schema):
    title = _text()
    concept = _text()
    code = _text()
    dosage = _text()


class _MessageTable(Schema):
    title = _text()
    opening = _text()


class _CategoriesTable(Schema):
    imaging = _text()
    referral = _text()


class OrderFile(Schema):
    """orders.toml."""

    categories = fields.Nested(_CategoriesTable, required=True)
    medicine = fields.Dict(keys=fields.String(), values=fields.Nested(_MedicineTable), required=True)
    message = fields.Nested(_MessageTable, required=True)
    imaging = fields.Dict(keys=fields.String(), values=fields.Nested(_OrderTable), required=True)
    referral = fields.Dict(keys=fields.String(), values=fields.Nested(_OrderTable), required=True)
    sided_body_sites = fields.Dict(keys=fields.String(), values=_TEXT_TABLE, required=True)


class _RuleGroupTable(Schema):
    title = _text()
    open = _texts(required=False)
    rows = _TEXT_TABLE


class RulesFile(Schema):
    """rules.toml."""

    groups = fields.Dict(keys=fields.String(), values=fields.Nested(_RuleGroupTable), required=True)


class ConflictTable(Schema):
    """One table of conflicts.toml."""

    title = _text()
    statements = _texts()
    literature = _text()
    decision = _text()
    evidence = _texts()
    recommendations = _texts()


class MedicineNameTable(Schema):
    """One table of medicine_names.toml."""

    of = fields.String(load_default="")
    findings = _texts(required=False)
    evidence = _texts()

    @validates_schema
    def _one_meaning(self, data: dict[str, Any], **_: Any) -> None:
        if bool(data["of"]) == bool(data["findings"]):
            raise ValidationError("has either of or findings")


class SynonymTable(Schema):
    """One table of synonyms.toml."""

    of = _text()
    evidence = _texts()


class DebtTable(Schema):
    """One table of debts.toml."""

    title = _text()
    debt = _text()
    rules = _texts()


class _RatingTable(Schema):
    modality = _one_of(MODALITIES[:-1])
    regions = _texts()
    rating = _one_of(RATINGS)
    score = fields.Integer(strict=True, load_default=None, validate=validate.Range(1, 9))
    radiation = fields.Integer(strict=True, load_default=None, validate=validate.Range(0, 5))
    when = fields.Raw(load_default=None)


class _PresentationTable(Schema):
    publisher = fields.String(required=True)
    topic = _text()
    year = fields.Integer(strict=True, required=True)
    presentation = _text()
    evidence = _texts()
    verified = fields.Boolean(required=True)
    rules = _texts()
    when = fields.Raw(required=True)
    ratings = fields.List(fields.Nested(_RatingTable), required=True, validate=validate.Length(min=1))


class RatingsFile(Schema):
    """ratings.toml."""

    categories = _TEXT_TABLE
    presentations = fields.Dict(keys=fields.String(), values=fields.Nested(_PresentationTable), required=True)


class SourceTable(Schema):
    """One table of sources.toml."""

    citation = _text()
    # It becomes a link on cards and pages.
    url = fields.String(validate=validate.Regexp(r"https?://[^\s\"'<>]+\Z"))
    kind = _one_of(("primary", "secondary"))
    to_verify = fields.Boolean(load_default=False)


class CodeRow(Schema):
    """One row of a file in value_sets/."""

    concept = _text()
    system = _one_of(SYSTEMS)
    code = _text()
    match = _one_of(("exact", "children", "range"))
    side = fields.String(validate=validate.OneOf(("", "left", "right", "bilateral")))
    site = fields.String()
    licence = _one_of(("open", "affiliate"))
    display = _text()
    # The primary source in which the code and its meaning were read together; empty for those of the verified list.
    source = fields.String(load_default="")
