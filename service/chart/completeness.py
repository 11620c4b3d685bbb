"""What of a chart did not arrive, and when a call cannot be answered without it.

A failure must not look like a chart that says nothing of this pain: then the call is refused with 412, which names the
key. Specification: HTTP Status Codes; Prefetch Template.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from cds_hooks.errors import PreconditionFailed
from cds_hooks.prefetch import PrefetchState, PrefetchValue
from service.prefetch_keys import COMPLAINT, MEDICINES, NEEDED_FOR_COMPLAINT, PATIENT, kind_of

# Missing from a call that was made without them, these may hold what matters.
_MISSED = frozenset({*NEEDED_FOR_COMPLAINT, *MEDICINES})
_CAME = (PrefetchState.SUPPLIED, PrefetchState.EMPTY, PrefetchState.NULL, PrefetchState.FETCHED)
_ABSENT = (PrefetchState.MISSING, PrefetchState.FAILED)


def lacking(prefetch: Mapping[str, PrefetchValue]) -> frozenset[str]:
    """The keys of which nothing, or not all, arrived. What the client says it has nothing of is no such key."""
    return frozenset([key for key, value in prefetch.items() if value.state not in _CAME and _matters(key, value)])


def _matters(key: str, value: PrefetchValue) -> bool:
    """Of what did not come in full, whether it may hold what matters."""
    if value.state is not PrefetchState.MISSING:
        return True
    kind = kind_of(key)
    return kind in _MISSED or (kind in COMPLAINT and value.is_late)


def patient_missing(prefetch: Mapping[str, PrefetchValue], *, others: bool) -> PreconditionFailed:
    """The refusal of a call whose Patient did not come, or where it is only `others`."""
    state = "only another patient" if others else _state(prefetch, PATIENT)
    return PreconditionFailed(
        f"prefetch.patient: expected the Patient of context.patientId (Patient/{{{{context.patientId}}}}), "
        f"received {state}. Send it in the prefetch.",
        expression="prefetch.patient",
    )


def chart_missing(prefetch: Mapping[str, PrefetchValue], keys: Iterable[str]) -> PreconditionFailed:
    """The refusal of a call where nothing tells of this pain and these keys might have."""
    named = sorted(keys, key=lambda key: (COMPLAINT.index(kind_of(key)), key))
    received = ", ".join(f"{key}: {_state(prefetch, key)}" for key in named)
    return PreconditionFailed(
        f"prefetch: expected all of what may tell of this pain, received {received}. "
        "Send what the templates of discovery ask for, with null or an empty Bundle where there is nothing.",
        expression=f"prefetch.{named[0]}",
    )


def all_left_out(other_patient: int, future: int, unreadable: int) -> PreconditionFailed:
    """The refusal of a call of whose resources nothing could be used that may tell of this pain."""
    return PreconditionFailed(
        "prefetch: expected resources of the patient in context.patientId that can be read, received none but "
        f"{other_patient} of another patient, {future} with a date to come, {unreadable} that cannot be read. "
        "Check the queries that filled the prefetch, and its code systems.",
        expression="prefetch",
    )


def blocking(keys: Collection[str], data: Mapping[str, str], never_sent: Collection[str]) -> list[str]:
    """Of the keys that lack something, those without which nobody can tell whether this pain is documented.

    What the client has said it never sends is told on the cards and is no reason to refuse.
    """
    return [
        key for key in keys if kind_of(key) in COMPLAINT and not (kind_of(key) in never_sent and data[key] in _ABSENT)
    ]


def is_nothing(data: Mapping[str, str], kinds: Collection[str]) -> bool:
    """Whether of what is needed to tell of this pain no key brought anything, nor any other one a resource of it."""
    states = [state for key, state in data.items() if kind_of(key) in NEEDED_FOR_COMPLAINT]
    return all(state in _ABSENT for state in states) and not {"Observation", "Condition"} & set(kinds)


def _state(prefetch: Mapping[str, PrefetchValue], key: str) -> str:
    """The state of a key, with the reason where there is one."""
    value = prefetch.get(key, PrefetchValue(key, PrefetchState.MISSING))
    return f"{value.state} ({value.note})" if value.note else value.state
