"""Where the page lies that says why something is recommended. The address holds ids of recommendations, and nothing of
a patient."""

from __future__ import annotations

from collections.abc import Sequence

PATH = "/why/"
# More than any card stands on; an address with all of these still fits where addresses are cut at 2,000 characters.
MOST = 40


def path_of(ids: Sequence[str]) -> str:
    """The path of the page about these recommendations, in this order, each once; of more than MOST, the first ones."""
    return PATH + "+".join(list(dict.fromkeys(ids))[:MOST])
