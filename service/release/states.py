"""The state of each recommendation: derived from its file, the signatures and the day, never typed.

| state | when |
|---|---|
| active | its file says so, a clinician has signed this content, governance has released it, and it has begun |
| draft | anything of that is missing: also where the content was edited after it was signed |
| review-overdue | active, and the day by which it was to be read again is past; after the site's grace draft |
| suspended | switched off by the site: what it says and orders is gone, what it withholds is not |
| retired | its file says so: it never fires |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from service.knowledge_model.loader import load
from service.knowledge_model.model import PACKAGED, Knowledge, Recommendation
from service.knowledge_model.vocabulary import RETIRED
from service.release.digests import Digests
from service.release.signatures import SIGNATURES, Refusal, Signature, Signed, read_signed
from service.release.signers import CLINICAL, GOVERNANCE, Signers, read_signers
from service.settings import Settings

ACTIVE, DRAFT, OVERDUE, SUSPENDED = "active", "draft", "review-overdue", "suspended"
# The weakest first: what a card says of itself is that of the weakest recommendation on it.
STATES = (SUSPENDED, DRAFT, OVERDUE, ACTIVE, RETIRED)


@dataclass(frozen=True, slots=True)
class Standing:
    """How one recommendation stands. `why`: what a draft lacks, in words; clinical, governance: the signatures that it
    is in force by; review_by: the day by which it is to be read again."""

    id: str
    state: str
    digest: str
    why: str = ""
    clinical: Signature | None = None
    governance: Signature | None = None

    @property
    def status(self) -> str:
        """The state as FHIR has it for publications, which know no more: active, draft or retired."""
        return {ACTIVE: ACTIVE, OVERDUE: ACTIVE, RETIRED: RETIRED}.get(self.state, DRAFT)

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """Those that it is in force by."""
        return tuple(filter(None, (self.clinical, self.governance)))

    @property
    def review_by(self) -> date | None:
        """The earlier one of both signatures."""
        return min((each.review_by for each in self.signatures), default=None)


@dataclass(frozen=True)
class Standings:
    """How all of the knowledge stands at one time: what answers, pages and probes say of it.

    version: that of the knowledge with the beginning of its digest; governance: who has released it, if anybody.
    """

    version: str
    digest: str
    by_id: Mapping[str, Standing]
    governance: Signature | None = None

    @cached_property
    def state(self) -> str:
        """That of the whole: active where every recommendation is, or the weakest of what can be said."""
        states = {each.state for each in self.by_id.values()} - {RETIRED}
        return next((state for state in (DRAFT, OVERDUE) if state in states), ACTIVE)

    @property
    def status(self) -> str:
        """The state of the whole as FHIR has it: active or draft."""
        return DRAFT if self.state == DRAFT else ACTIVE

    def described(self) -> dict[str, Any]:
        """What discovery and readiness say of it; what there is nothing of is left out."""
        released, review = self.governance, self.earliest_review
        members = {
            "version": self.version,
            "status": self.status,
            "digest": self.digest,
            "states": self.counts(),
            "releasedBy": released.in_words if released else "",
            "reviewBy": review.isoformat() if review else "",
            "suspended": list(self.suspended),
        }
        return {name: value for name, value in members.items() if value}

    @property
    def earliest_review(self) -> date | None:
        """By when something in force is to be read again."""
        days = [each.review_by for each in self.by_id.values() if each.state in (ACTIVE, OVERDUE) and each.review_by]
        return min(days, default=None)

    @property
    def suspended(self) -> tuple[str, ...]:
        """The ids of what is suspended."""
        return tuple(each.id for each in self.by_id.values() if each.state == SUSPENDED)

    def counts(self) -> dict[str, int]:
        """How many recommendations are in each state, of those in which any is."""
        counted = Counter(each.state for each in self.by_id.values())
        return {state: counted[state] for state in reversed(STATES) if counted[state]}


# How everything stands at a time, in UTC, with these recommendations suspended. A call asks once, so that it sees one
# state.
StandingsAt: TypeAlias = Callable[[datetime, frozenset[str]], Standings]


def unsigned(knowledge: Knowledge) -> Standings:
    """How knowledge stands of which no digest was made: all of it a draft."""
    by_id = {each.id: Standing(each.id, DRAFT, "") for each in knowledge.every_recommendation()}
    return Standings(knowledge.version, "", by_id)


def effective_state(
    status: str,
    clinical: Signature | None,
    governance: Signature | None,
    today: date,
    grace: timedelta,
) -> tuple[str, str]:
    """The state of a recommendation on a day, without what is suspended, and for a draft what it lacks.

    `status` is what its author says; `clinical` is the signature over its digest, `governance` the one over the
    release; None where there is none.
    """
    if status == RETIRED:
        return RETIRED, ""
    lacks = ""
    if status != ACTIVE:
        lacks = "its author has not finished it"
    elif clinical is None:
        lacks = "no clinician has signed this content"
    elif governance is None:
        lacks = "governance has not released this content"
    elif today < (begins := max(max(each.effective_from, each.signed) for each in (clinical, governance))):
        lacks = f"it begins on {begins}"
    elif today > (review_by := min(clinical.review_by, governance.review_by)) + grace:
        lacks = f"it was to be read again by {review_by}"
    elif today > review_by:
        return OVERDUE, ""
    return (DRAFT, lacks) if lacks else (ACTIVE, "")


@dataclass(slots=True)
class Release:
    """The content of a body of knowledge with its signatures; what stands in force is asked of it for a time.

    `zone` is where the site is: days begin there. It is computed when the knowledge is loaded and where a day begins,
    and otherwise looked up.
    """

    knowledge: Knowledge
    digests: Digests
    signed: Signed = field(default_factory=Signed)
    grace_days: int = 90
    zone: tzinfo = UTC
    refused: tuple[Refusal, ...] = field(init=False)
    # Those of governance over this content.
    released: tuple[Signature, ...] = field(init=False)
    _clinical: Mapping[str, tuple[Signature, ...]] = field(init=False)
    _known: tuple[date, frozenset[str], Standings] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        covered = {
            id_: tuple(
                each for each in self.signed.signatures if each.role == CLINICAL and each.covers.get(id_) == digest
            )
            for id_, digest in self.digests.recommendations.items()
        }
        clinicians = {who for signatures in covered.values() for each in signatures for who in _person(each)}
        released, refused = [], []
        for each in self.signed.signatures:
            if each.role == GOVERNANCE and each.release == self.digests.release:
                if clinicians.isdisjoint(_person(each)):
                    released.append(each)
                else:
                    reason = f"{each.signer.name} has signed this content as a clinician: nobody counts for both"
                    refused.append(Refusal(f"{SIGNATURES}/{each.name}.json", reason))
        self.refused = (*self.signed.refused, *refused)
        self.released, self._clinical = tuple(released), covered

    def at(self, now: datetime, suspended: frozenset[str] = frozenset()) -> Standings:
        """How everything stands at a time, with these recommendations suspended."""
        today = now.astimezone(self.zone).date()
        if self._known is None or self._known[:2] != (today, suspended):
            # Of two threads at once both come to the same.
            self._known = (today, suspended, self._standings(today, suspended))
        return self._known[2]

    def _standings(self, today: date, suspended: frozenset[str]) -> Standings:
        governance = _best(self.released, today)
        withdrawn = {
            (each.recommendation, each.digest)
            for each in self.signed.revocations
            if each.recommendation and each.since <= today
        }
        return Standings(
            self.digests.version,
            self.digests.release,
            {
                each.id: self._standing(each, governance, today, suspended, withdrawn)
                for each in self.knowledge.every_recommendation()
            },
            governance if governance and governance.effective_from <= today else None,
        )

    def _standing(
        self,
        recommendation: Recommendation,
        governance: Signature | None,
        today: date,
        suspended: frozenset[str],
        withdrawn: set[tuple[str, str]],
    ) -> Standing:
        id_, digest = recommendation.id, self.digests.recommendations[recommendation.id]
        clinical = _best(self._clinical[id_], today)
        # A draft as a whole has no part that is none.
        status = min(recommendation.status, self.knowledge.status, key=(RETIRED, DRAFT, ACTIVE).index)
        state, why = effective_state(status, clinical, governance, today, timedelta(days=self.grace_days))
        if (id_, digest) in withdrawn and state != RETIRED:
            state, why = DRAFT, "this content is revoked"
        if id_ in suspended and state != RETIRED:
            state, why = SUSPENDED, ""
        in_force = state in (ACTIVE, OVERDUE)
        return Standing(id_, state, digest, why, *((clinical, governance) if in_force else (None, None)))


def _person(signature: Signature) -> tuple[str, str]:
    """By what a person is known: one with two keys is one, and so is a key that two names share."""
    return signature.signer.name, signature.signer.key.text


def _best(signatures: tuple[Signature, ...], today: date) -> Signature | None:
    """Of several the one that has begun and is to be read again last."""
    return max(
        signatures,
        key=lambda each: (max(each.effective_from, each.signed) <= today, each.review_by),
        default=None,
    )


def read_release(
    knowledge: Knowledge,
    folder: Path | None,
    product: str,
    signers: Signers = (),
    *,
    signatures: Path | None = None,
    grace_days: int = 90,
    zone: tzinfo = UTC,
) -> Release:
    """The release of this knowledge, as it stands in its folder (the packaged one when None).

    `signatures` is the folder with its signatures and revocations; by default that of the knowledge. Raises
    KnowledgeError.
    """
    signed = read_signed(signatures or folder or PACKAGED, knowledge.id, signers) if signers else Signed()
    return Release(knowledge, Digests(knowledge, folder, product), signed, grace_days, zone)


def signatures_of(settings: Settings) -> Path:
    """The folder in which signatures and revocations lie."""
    return settings.signatures or settings.knowledge_dir or PACKAGED


def knowledge_of(settings: Settings) -> Knowledge:
    """The knowledge that these settings name, without the codes that they leave out. Raises KnowledgeError."""
    return load(settings.knowledge_dir, affiliate_snomed=settings.snomed_ct == "all")


def release_of(settings: Settings, knowledge: Knowledge) -> Release:
    """The release of the knowledge that these settings name; `knowledge` is what was loaded of it.

    Raises SettingsError for the file of signers, and KnowledgeError.
    """
    # A setting may leave out codes; what is signed is the folder.
    whole = knowledge if settings.snomed_ct == "all" else load(settings.knowledge_dir)
    return read_release(
        whole,
        settings.knowledge_dir,
        version("sitbone"),
        read_signers(settings.signers) if settings.signers else (),
        signatures=settings.signatures,
        grace_days=settings.review_grace_days,
        zone=settings.time_zone,
    )
