"""Keys and tokens of a CDS client, as a real one makes them, and as an attacker would."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://ehr.example.org"
PUBLIC_URL = "https://cds.example.org/ketamine"
DISCOVERY = f"{PUBLIC_URL}/cds-services"

_CURVES: Mapping[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class Signer:
    """A key pair and its `kid`."""

    def __init__(self, algorithm: str = "ES384", kid: str = "key-1", bits: int = 2048) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.key: Any
        if algorithm in _CURVES:
            self.key = ec.generate_private_key(_CURVES[algorithm])
            self._jwk = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        elif algorithm == "EdDSA":
            self.key = ed25519.Ed25519PrivateKey.generate()
            self._jwk = OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        else:
            self.key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
            self._jwk = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)

    @property
    def pem(self) -> bytes:
        """The public key as a text that anybody may have."""
        pem: bytes = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key as a JWK; a change to None takes a member out."""
        made = {**self._jwk, "kid": self.kid, "use": "sig", "alg": self.algorithm, **changes}
        made.pop("key_ops", None) if "key_ops" not in changes else None
        return {name: value for name, value in made.items() if value is not None}

    def token(self, now: datetime, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """A good token but for what is changed; a change to None takes a claim or header out."""
        heads = {"kid": self.kid, "typ": "JWT", **(header or {})}
        heads = {name: value for name, value in heads.items() if value is not None}
        heads.setdefault("typ", "")  # or the library writes it
        return jwt.PyJWS().encode(
            json.dumps(claims(now, **changes)).encode(), self.key, algorithm=self.algorithm, headers=heads
        )

    def signed(self, header: bytes, payload: bytes) -> str:
        """These very bytes with a good signature: what no library would make."""
        signing_input = f"{segment(header)}.{segment(payload)}"
        algorithm = jwt.PyJWS().get_algorithm_by_name(self.algorithm)
        return f"{signing_input}.{segment(algorithm.sign(signing_input.encode(), self.key))}"


def claims(now: datetime, **changes: Any) -> dict[str, Any]:
    """The claims of a good token for discovery."""
    seconds = int(now.timestamp())
    made = {
        "iss": ISSUER,
        "aud": DISCOVERY,
        "exp": seconds + 300,
        "iat": seconds,
        "jti": str(uuid4()),
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def jwks(*signers: Signer) -> bytes:
    """Their public keys as a JWK Set."""
    return json.dumps({"keys": [signer.jwk() for signer in signers]}).encode()


def private_members(signer: Signer) -> dict[str, Any]:
    """What a JWK of its private key has beside that of its public one."""
    whole: dict[str, Any] = type(jwt.PyJWS().get_algorithm_by_name(signer.algorithm)).to_jwk(signer.key, as_dict=True)
    return {name: value for name, value in whole.items() if name not in signer.jwk() and name != "key_ops"}


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(now: datetime, algorithm: str = "none", kid: str = "key-1", **changes: Any) -> str:
    """The first two parts of a token and the point behind them."""
    header = json.dumps({"alg": algorithm, "kid": kid, "typ": "JWT"}).encode()
    return f"{segment(header)}.{segment(json.dumps(claims(now, **changes)).encode())}."
