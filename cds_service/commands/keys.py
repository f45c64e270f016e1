"""The command keys: a key pair with which a client of a CDS service signs, and the JWK Set that the service reads."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

from cds_service.commands.refused import Refused

PRIVATE, PUBLIC = "private-key.json", "jwks.json"
ALGORITHMS = ("ES384", "RS384")
"""Those that a client is allowed without saying so."""
_RSA_BITS = 3072
_THUMBPRINT = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}
"""The members of a key that its thumbprint is made of (RFC 7638)."""


def run(given: argparse.Namespace) -> int:
    """`keys new`: write both files, readable by their owner alone. Nothing is overwritten. Raises Refused."""
    folder = Path(given.into)
    private, public = _pair(given.algorithm)
    kid = given.kid or _thumbprint(public)
    meant = {"kid": kid, "use": "sig", "alg": given.algorithm}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if there := [name for name in (PRIVATE, PUBLIC) if (folder / name).exists()]:
            raise Refused(f"{folder / there[0]} is there already, and a key that is lost cannot be had again")
        _write(folder / PRIVATE, {**private, **meant})
        _write(folder / PUBLIC, {"keys": [{**public, **meant}]})
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror}") from error
    print(f"{folder / PRIVATE}: the private key, for simulate --key; show it to nobody")
    print(f"{folder / PUBLIC}: its JWK Set, for an entry of the service's file of clients:\n")
    print(
        f"  - id: my-client\n    issuers: [https://my-client.example.org]\n    jwks_file: {folder.resolve() / PUBLIC}"
    )
    return 0


def _pair(algorithm: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(private, public) as JWK."""
    if algorithm == "ES384":
        key = ec.generate_private_key(ec.SECP384R1())
        made = ECAlgorithm.to_jwk(key, as_dict=True), ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        large = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        made = RSAAlgorithm.to_jwk(large, as_dict=True), RSAAlgorithm.to_jwk(large.public_key(), as_dict=True)
    for each in made:
        each.pop("key_ops", None)
    return made


def _thumbprint(public: Mapping[str, Any]) -> str:
    members = {name: public[name] for name in _THUMBPRINT[public["kty"]]}
    return base64url_encode(sha256(msgspec.json.encode(members)).digest()).decode()


def _write(file: Path, content: Mapping[str, Any]) -> None:
    """Never for others to read, not even for a moment."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
