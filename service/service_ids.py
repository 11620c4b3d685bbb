"""The ids of the CDS services: one for each entry of discovery, and the ids under which an entry stood before.

A former id is answered for one release more, and takes feedback. Specification: Discovery.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

DIAGNOSIS, DIAGNOSIS_ENCOUNTER = "gluteal-hamstring-pain", "gluteal-hamstring-pain-encounter"
IMAGING_REFERRAL, IMAGING_REFERRAL_SIGN = "imaging-referral", "imaging-referral-sign"
ANALGESIC_SAFETY, ANALGESIC_SAFETY_SIGN = "analgesic-safety", "analgesic-safety-sign"
APPOINTMENT_TIMING, DISCHARGE_ADVICE = "appointment-timing", "discharge-advice"
# What they answer is about the chart alone, and not about orders, a visit or a discharge.
ABOUT_CHARTS = frozenset({DIAGNOSIS, DIAGNOSIS_ENCOUNTER})
EVERY_ID = (
    *(DIAGNOSIS, DIAGNOSIS_ENCOUNTER, IMAGING_REFERRAL, IMAGING_REFERRAL_SIGN),
    *(ANALGESIC_SAFETY, ANALGESIC_SAFETY_SIGN, APPOINTMENT_TIMING, DISCHARGE_ADVICE),
)

FORMER_IDS: Mapping[str, str] = MappingProxyType(
    {
        DIAGNOSIS_ENCOUNTER: DIAGNOSIS,
        IMAGING_REFERRAL_SIGN: IMAGING_REFERRAL,
        ANALGESIC_SAFETY_SIGN: ANALGESIC_SAFETY,
        APPOINTMENT_TIMING: "visit-planning",
        DISCHARGE_ADVICE: "home-care",
    }
)


def with_current(ids: Iterable[str]) -> tuple[str, ...]:
    """These ids, and those under which the services are published now that they were the ids of."""
    return tuple(
        dict.fromkeys(
            id_ for listed in ids for id_ in (listed, *(new for new, old in FORMER_IDS.items() if old == listed))
        )
    )
