"""Why a page of the second opinion cannot be shown, and what the clinician can do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Why(NamedTuple):
    """One reason: the status of the page, its title, what to do, and a name for the log."""

    name: str
    status: int
    title: str
    advice: str


_FROM_THE_CARD = "Open the second opinion again from the card in the chart."
_ADMINISTRATOR = "Tell whoever runs this service: the entry of this EHR in the file of clients needs a look."

UNKNOWN_ISSUER = Why("unknown-issuer", 400, "This EHR is not known here", _ADMINISTRATOR)
NOT_A_LAUNCH = Why("no-launch", 400, "This page is opened by the EHR", _FROM_THE_CARD)
NO_DISCOVERY = Why(
    "no-discovery", 502, "The EHR's authorization server cannot be used", f"Try again in a minute. {_ADMINISTRATOR}"
)
DENIED = Why("denied", 403, "The EHR did not give access", f"Nothing was read. {_FROM_THE_CARD}")
OLD_LINK = Why("old-state", 400, "This link is too old or not from here", _FROM_THE_CARD)
OTHER_CLIENT = Why("other-client", 400, "This answer came from another EHR than was asked", _FROM_THE_CARD)
USED_LINK = Why("used-state", 400, "This link was used already", _FROM_THE_CARD)
NO_SECRET = Why(
    "no-secret",
    403,
    "This browser does not hold what belongs to this page",
    f"It may refuse cookies in a frame. {_FROM_THE_CARD} If that does not help, open it in a window of its own.",
)
NO_TOKEN = Why("no-token", 502, "The EHR gave no access", f"Nothing was read. {_FROM_THE_CARD}")
WRONG_IDENTITY = Why(
    "wrong-id-token", 403, "The EHR's word on who is signed in cannot be trusted", f"Nothing was read. {_ADMINISTRATOR}"
)
NO_PATIENT = Why(
    "no-patient",
    400,
    "The EHR named no patient",
    f"Nothing was read. Open a chart first. {_FROM_THE_CARD}",
)
ENDED = Why("session-ended", 401, "Session ended", f"Nothing more can be read or saved from here. {_FROM_THE_CARD}")
NO_CHART = Why("no-chart", 502, "The chart cannot be read", f"Without it there is no advice. {_FROM_THE_CARD}")
SILENT = Why("silent", 403, "No advice is shown here yet", "The service is being tried in silence. Nothing was saved.")
NOT_UNDERSTOOD = Why("not-understood", 400, "What this page sent cannot be read", _FROM_THE_CARD)


class Refused(Exception):  # noqa: N818 - it ends a request, and is no error of the program
    """Ends a request with a page that says why. `note` are answers that were not saved, to be copied; `missing` the
    kinds of data that could not be read."""

    def __init__(self, why: Why, note: str = "", missing: Sequence[str] = ()) -> None:
        super().__init__(why.name)
        self.why, self.note, self.missing = why, note, missing
