"""What browsers are told: run and load only what is served here, stand in no frame, keep nothing."""

from __future__ import annotations

from flask import Flask, Response, request

from cds_service.console.shell import Console

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def register(app: Flask, console: Console) -> None:
    is_https = console.settings.console_url.startswith("https://")

    @app.after_request
    def careful(answer: Response) -> Response:
        answer.headers.update(_HEADERS)
        if is_https:
            answer.headers["Strict-Transport-Security"] = "max-age=31536000"
        if request.endpoint != "static":
            answer.headers["Cache-Control"] = "no-store"
        return answer
