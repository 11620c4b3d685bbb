"""The client's half: makes a key pair and signs tokens, for tests, for trials and for whoever writes a CDS client.

Specification: Trusting CDS Clients; JWT Signing Algorithm.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt import InvalidKeyError, PyJWK
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.api_jws import encode

from cds_hooks.trust.keys import ALGORITHMS

_RSA_BITS = 3072
_CURVES = {"ES384": ec.SECP384R1, "ES256": ec.SECP256R1}
_PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "n", "e", "kid", "alg", "use")


def new_key(algorithm: str = "ES384", kid: str | None = None) -> dict[str, Any]:
    """A new private JWK (RFC 7517) for this algorithm; without `kid` it gets one of its own."""
    if algorithm in _CURVES:
        members = ECAlgorithm.to_jwk(ec.generate_private_key(_CURVES[algorithm]()), as_dict=True)
    else:
        members = RSAAlgorithm.to_jwk(rsa.generate_private_key(65_537, _RSA_BITS), as_dict=True)
        del members["key_ops"]
    return {**members, "kid": kid or str(uuid.uuid4()), "alg": algorithm, "use": "sig"}


def key_set(*keys: Mapping[str, Any]) -> dict[str, Any]:
    """The JWK Set with the public halves of these JWKs, which is what a client publishes."""
    return {"keys": [{name: key[name] for name in _PUBLIC_MEMBERS if name in key} for key in keys]}


def sign(key: Mapping[str, Any], claims: Mapping[str, Any], **header: Any) -> str:
    """The claims as a token, signed with a private JWK; `header` adds to typ, alg and kid.

    Raises jwt.PyJWTError where the key is none.
    """
    jwk = _read(json.dumps(dict(key)))
    if jwk.algorithm_name not in ALGORITHMS:
        raise InvalidKeyError("not a key for one of the algorithms of client tokens")
    kid = {"kid": key["kid"]} if "kid" in key else {}
    return encode(json.dumps(claims).encode(), jwk, algorithm=jwk.algorithm_name, headers={**kid, **header})


@lru_cache(maxsize=16)
def _read(key: str) -> PyJWK:
    """The JWK in this JSON, read once: to see that a private RSA key is sound takes a tenth of a second."""
    return PyJWK(json.loads(key))


def claims_for(issuer: str, audience: str, now: float, *, lifetime: int = 300, **more: Any) -> dict[str, Any]:
    """The claims of a token for one call, with a jti of its own; `now` in seconds since 1970, `lifetime` in seconds."""
    issued = int(now)
    return {
        "iss": issuer,
        "aud": audience,
        "iat": issued,
        "exp": issued + lifetime,
        "jti": str(uuid.uuid4()),
        **{name: value for name, value in more.items() if value is not None},
    }
