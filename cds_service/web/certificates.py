"""The certificate, its key and the certificate authorities, read before anything is served with them."""

from __future__ import annotations

import ssl
from pathlib import Path

from cds_service.settings import PREFIX, SettingError, Settings
from cds_service.site_file import read_bytes


def check(settings: Settings) -> tuple[Path, Path] | None:
    """Certificate and key, where the service ends TLS itself. Raises SettingError for what is wrong with any."""
    if settings.fhir_ca_bundle is not None:
        _check_authorities(Path(settings.fhir_ca_bundle))
    certificate, key = settings.tls_certificate, settings.tls_key
    if (certificate is None) != (key is None):
        raise SettingError(f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY go together")
    if certificate is None or key is None:
        return None
    _check_pair(Path(certificate), Path(key))
    return Path(certificate), Path(key)


def _check_pair(certificate: Path, key: Path) -> None:
    # Where something else ends TLS, no process has this library in memory for it.
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    named = f"{PREFIX}TLS_CERTIFICATE: {certificate}"
    written, written_key = _read("TLS_CERTIFICATE", certificate), _read("TLS_KEY", key)
    try:
        chain = x509.load_pem_x509_certificates(written)
    except ValueError as error:
        raise SettingError(f"{named} holds no certificate in PEM form") from error
    named_key = f"{PREFIX}TLS_KEY: {key}"
    try:
        private = serialization.load_pem_private_key(written_key, None)
    except TypeError as error:
        raise SettingError(f"{named_key} is encrypted; the service needs it without a password") from error
    except Exception as error:  # ValueError, and what cryptography raises for algorithms that it does not know
        raise SettingError(f"{named_key} holds no private key in PEM form") from error
    if not isinstance(private, RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey):
        raise SettingError(f"{named_key} must be an RSA, EC or Ed25519 key")
    if private.public_key() != chain[0].public_key():
        raise SettingError(f"{named_key} is not the key of the first certificate in {certificate}")


def _check_authorities(bundle: Path) -> None:
    _read("FHIR_CA_BUNDLE", bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(bundle)
    except (ssl.SSLError, OSError) as error:
        raise SettingError(
            f"{PREFIX}FHIR_CA_BUNDLE: {bundle} holds no certificate authorities in PEM form"
        ) from error


def _read(setting: str, path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise SettingError(f"{PREFIX}{setting}: {path} cannot be read: {error.strerror}") from error
