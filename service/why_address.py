"""Where the pages lie that cards link to: why something is recommended, what the patient takes home, and the app.

The address of the first two holds ids of recommendations, and none has anything of a patient.
"""

from __future__ import annotations

from collections.abc import Sequence

PATH = "/why/"
ADVICE = "/advice/"
# Where the page of the second opinion is, and where an EHR launches it.
APP = "/app"
LAUNCH_PATH = f"{APP}/launch"
# More than any card stands on; an address with all of these still fits where addresses are cut at 2,000 characters.
MOST = 40


def path_of(ids: Sequence[str], page: str = PATH) -> str:
    """The path of the page about these recommendations, in this order, each once; of more than MOST, the first ones."""
    return page + "+".join(list(dict.fromkeys(ids))[:MOST])
