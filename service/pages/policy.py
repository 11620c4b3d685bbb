"""What a browser may do with a page of which everything stands in one file."""

from __future__ import annotations

import hashlib
from base64 import b64encode


def headers(*, style: str, script: str = "", form_action: str = "'none'") -> dict[str, str]:
    """The headers of a page with this style and this script in it, and with nothing else that it could load or run."""
    scripts = f"script-src '{_digest(script)}'; " if script else ""
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src '{_digest(style)}'; {scripts}base-uri 'none'; "
        f"form-action {form_action}; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _digest(text: str) -> str:
    """The source by which a policy allows this text and no other."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
