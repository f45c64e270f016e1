"""Certificate, key and authorities are read before the start; what is wrong with one is said in one sentence."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, PrivateKeyTypes
from cryptography.x509.oid import NameOID

from cds_service.settings import SettingError, Settings
from cds_service.web.certificates import check
from tests.waiting import until
from tests.web.test_server import PATIENCE, started


def _certificate(key: CertificateIssuerPrivateKeyTypes, name: str = "localhost") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, algorithm)
    )
    return made.public_bytes(serialization.Encoding.PEM)


def pem(key: PrivateKeyTypes, password: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def _settings(folder: Path, certificate: bytes, key: bytes) -> Settings:
    (folder / "cert.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    return Settings(tls_certificate=str(folder / "cert.pem"), tls_key=str(folder / "key.pem"))


KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
GOOD = _certificate(KEY)
NOT_ITS_KEY = "TLS_KEY: {}/key.pem is not the key of the first certificate in {}/cert.pem"


@pytest.mark.parametrize(
    "key",
    [KEY, ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(public_exponent=65537, key_size=2048)],
    ids=["EC", "Ed25519", "RSA"],
)
def test_a_certificate_with_its_key_is_taken(key: CertificateIssuerPrivateKeyTypes, tmp_path: Path) -> None:
    settings = _settings(tmp_path, _certificate(key) + GOOD, pem(key))
    assert check(settings) == (tmp_path / "cert.pem", tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("certificate", "key", "says"),
    [
        (b"", pem(KEY), "TLS_CERTIFICATE: {}/cert.pem holds no certificate in PEM form"),
        (pem(KEY), pem(KEY), "TLS_CERTIFICATE: {}/cert.pem holds no certificate in PEM form"),
        (GOOD[:200] + GOOD[300:], pem(KEY), "TLS_CERTIFICATE: {}/cert.pem holds no certificate in PEM form"),
        (GOOD, b"", "TLS_KEY: {}/key.pem holds no private key in PEM form"),
        (GOOD, GOOD, "TLS_KEY: {}/key.pem holds no private key in PEM form"),
        (GOOD, b"\xff\x00", "TLS_KEY: {}/key.pem holds no private key in PEM form"),
        (GOOD, pem(KEY, b"secret"), "TLS_KEY: {}/key.pem is encrypted; the service needs it without a password"),
        (GOOD, pem(OTHER), NOT_ITS_KEY),
        (_certificate(OTHER) + GOOD, pem(KEY), NOT_ITS_KEY),
        (GOOD, pem(dsa.generate_private_key(1024)), "TLS_KEY: {}/key.pem must be an RSA, EC or Ed25519 key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(certificate: bytes, key: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refusal:
        check(_settings(tmp_path, certificate, key))
    assert str(refusal.value) == "KETAMINE_CDS_" + says.replace("{}", str(tmp_path))


def test_one_without_the_other_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(GOOD)
    with pytest.raises(SettingError, match="go together"):
        check(Settings(tls_certificate=str(tmp_path / "cert.pem")))


def _gone(path: Path) -> None:
    path.unlink()


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "why"), [(_gone, "No such file or directory"), (_a_folder, "Is a directory")], ids=["gone", "folder"]
)
@pytest.mark.parametrize("file", ["cert.pem", "key.pem"])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    file: str, spoil: Callable[[Path], None], why: str, tmp_path: Path
) -> None:
    settings = _settings(tmp_path, GOOD, pem(KEY))
    spoil(tmp_path / file)
    with pytest.raises(SettingError) as refusal:
        check(settings)
    assert str(refusal.value).endswith(f": {tmp_path / file} cannot be read: {why}")


@pytest.mark.parametrize("held", [b"", b"no certificate", pem(KEY), b"\xff\x00"])
def test_a_bundle_without_authorities_is_refused(held: bytes, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(held)
    with pytest.raises(SettingError) as refusal:
        check(Settings(fhir_ca_bundle=str(tmp_path / "ca.pem")))
    says = f"KETAMINE_CDS_FHIR_CA_BUNDLE: {tmp_path}/ca.pem holds no certificate authorities in PEM form"
    assert str(refusal.value) == says


def test_a_bundle_with_authorities_is_taken(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(GOOD)
    assert check(Settings(fhir_ca_bundle=str(tmp_path / "ca.pem"))) is None


# Served -------------------------------------------------------------------------------------------------------------


def test_a_start_with_a_key_of_another_certificate_is_refused_in_one_line(tmp_path: Path) -> None:
    _settings(tmp_path, GOOD, pem(OTHER))
    with started(tmp_path, None, **_variables(tmp_path)) as running:
        assert running.process.wait(PATIENCE) == 3
        assert running.said.startswith("ketamine-cds: KETAMINE_CDS_TLS_KEY: ")
        assert running.said.count("\n") == 1


def test_a_new_certificate_is_served_after_sighup_and_a_faulty_one_never(tmp_path: Path) -> None:
    _settings(tmp_path, GOOD, pem(KEY))
    with started(tmp_path, None, **_variables(tmp_path)) as running:
        running.wait_for("Listening on ")
        port = int(running.base.rpartition(":")[2])
        assert _served(port) == GOOD.decode()
        assert requests.get(
            f"https://localhost:{port}/healthz", verify=str(tmp_path / "cert.pem"), timeout=PATIENCE
        ).ok
        renewed = _certificate(OTHER)
        (tmp_path / "cert.pem").write_bytes(renewed)
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("nothing was reloaded, the service goes on as it was: KETAMINE_CDS_TLS_KEY: ")
        assert _served(port) == GOOD.decode()
        (tmp_path / "key.pem").write_bytes(pem(OTHER))
        running.process.send_signal(signal.SIGHUP)
        until(lambda: _served(port) == renewed.decode(), "the new certificate")


def _variables(folder: Path) -> dict[str, str]:
    return {
        "KETAMINE_CDS_TLS_CERTIFICATE": str(folder / "cert.pem"),
        "KETAMINE_CDS_TLS_KEY": str(folder / "key.pem"),
    }


def own_certificate(folder: Path) -> tuple[dict[str, str], ssl.SSLContext]:
    """Settings of a service that is called localhost, and what a caller of it trusts."""
    _settings(folder, GOOD, pem(KEY))
    return _variables(folder), ssl.create_default_context(cafile=folder / "cert.pem")


def _served(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE)
