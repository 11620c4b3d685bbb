"""Forms of text that are met in several places: what a UUID is, and which host is this machine.

Specification: HTTP Request (hookInstance), Card Attributes (uuid), Security and Safety (TLS).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@lru_cache(maxsize=256)
def is_loopback(host: str | None) -> bool:
    """Whether only programs of this machine can reach what listens on, or is at, this host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
