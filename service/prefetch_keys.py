"""The kinds of data that are asked for, and under which prefetch keys.

Where the template of a kind would be too long it has several keys: observations, observations2, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable

# How long a template may be once its tokens are filled in: some servers refuse a URL of more than 2,000 characters, and
# an address stands before it. A token counts as the longest FHIR id.
LONGEST, LONGEST_TOKEN = 1_500, 64

PATIENT, CONDITIONS, OBSERVATIONS, ENCOUNTER = "patient", "conditions", "observations", "encounter"
QUESTIONNAIRE_RESPONSES = "questionnaireResponses"
MEDICATIONS, MEDICATION_STATEMENTS, ALLERGIES = "medications", "medicationStatements", "allergies"
ORDERS, IMAGING = "orders", "imaging"

# In which the complaint may stand.
COMPLAINT = (CONDITIONS, OBSERVATIONS, ENCOUNTER, QUESTIONNAIRE_RESPONSES)
# Without which a chart says nothing of the complaint; few charts have the other two.
NEEDED_FOR_COMPLAINT = (CONDITIONS, OBSERVATIONS)
# In which a reason against a medicine may stand.
MEDICINES = (CONDITIONS, OBSERVATIONS, MEDICATIONS, MEDICATION_STATEMENTS, ALLERGIES)
# What is ordered and what imaging was done.
ON_CHART = (ORDERS, IMAGING)
# The kinds that a chart may be without and nothing is missing; PATIENT is not among them.
SEARCHED = (*COMPLAINT, MEDICATIONS, MEDICATION_STATEMENTS, ALLERGIES, ORDERS, IMAGING)


def kind_of(key: str) -> str:
    """The kind of data under a prefetch key."""
    return key.rstrip("0123456789")


def split_search(kind: str, search: str, codes: Iterable[str]) -> dict[str, str]:
    """The templates of a search by code, each of no more than LONGEST characters, under a key of its own."""
    room = LONGEST - len(search) - len("&code=") - search.count("{{") * LONGEST_TOKEN
    parts: list[str] = []
    for code in codes:
        if parts and len(parts[-1]) + 1 + len(code) <= room:
            parts[-1] += f",{code}"
        else:
            parts.append(code)
    return {
        f"{kind}{number if number > 1 else ''}": f"{search}&code={part}" for number, part in enumerate(parts, start=1)
    }
