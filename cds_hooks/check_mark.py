"""How a check of a service (`cds_hooks.conformance`) marks its calls, so that it can leave them out of figures.

The mark is the word of the caller: a marked call is answered and written down as any other. Specification: Extensions.
"""

from __future__ import annotations

from collections.abc import Container

# The name in the User-Agent header, before a slash and the version; the member of a request's extension, for where a
# proxy sends a User-Agent of its own.
AGENT = "sitbone-check"
EXTENSION = "org.sitbone.check"


def is_marked(user_agent: str | None, extension: Container[str] = ()) -> bool:
    """Whether a call with this User-Agent, and with these members in its extension, says that it is one of a check."""
    return (user_agent or "").partition("/")[0] == AGENT or EXTENSION in extension
