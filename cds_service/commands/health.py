"""A container's health check: `python -m cds_service.commands.health` ends with 0 if the service here answers."""

from __future__ import annotations

import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from cds_service.settings import PREFIX

_PATIENCE = 2.0


def answers(environment: dict[str, str]) -> bool:
    """Whether /healthz is 200 at the host and port of these settings. Nothing else of them is looked at."""
    host = environment.get(f"{PREFIX}HOST", "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = int(environment.get(f"{PREFIX}PORT", "8000"))
    # Its certificate is for clients to check, not for itself.
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    encrypted = f"{PREFIX}TLS_CERTIFICATE" in environment
    connection = (
        HTTPSConnection(host, port, timeout=_PATIENCE, context=unchecked)
        if encrypted
        else HTTPConnection(host, port, timeout=_PATIENCE)
    )
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers(dict(os.environ)) else 1)
