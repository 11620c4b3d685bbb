"""Who may call: the CDS client's JSON web token, its keys, and the entry that a client has here.

Specification: Trusting CDS Clients.
"""

from cds_hooks.trust.clients import Directory, Registration, TrustedClient
from cds_hooks.trust.gate import CallCounter, Gate, ReplayGuard
from cds_hooks.trust.keys import (
    ALGORITHMS,
    DEFAULT_ALGORITHMS,
    KeySet,
    KeySetError,
    KeySource,
    RefreshPolicy,
    load_from,
    read_key_set,
)
from cds_hooks.trust.tokens import LONGEST_TOKEN, Call, Caller, Check, examine

__all__ = [
    "ALGORITHMS",
    "DEFAULT_ALGORITHMS",
    "LONGEST_TOKEN",
    "Call",
    "CallCounter",
    "Caller",
    "Check",
    "Directory",
    "Gate",
    "KeySet",
    "KeySetError",
    "KeySource",
    "RefreshPolicy",
    "Registration",
    "ReplayGuard",
    "TrustedClient",
    "examine",
    "load_from",
    "read_key_set",
]
