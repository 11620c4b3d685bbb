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
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host == "localhost"
    # An IPv4 address within IPv6 is one for Python from 3.13 on alone.
    return address.is_loopback and not (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped)
