"""What the server's workers load: the application, warmed up and with its memory frozen."""

from __future__ import annotations

from cds_service import collector
from cds_service.knowledge import Knowledge, load
from cds_service.settings import load as load_settings
from cds_service.terminology import products
from cds_service.web import certificates, logs, synthetic
from cds_service.web.app import create_app, now
from cds_service.web.audit import open_audit
from cds_service.web.security import read_keys


def warm_up(knowledge: Knowledge) -> None:
    """Judge one order, so that no clinician waits for first imports, then take what is loaded out of collection."""
    synthetic.judge(knowledge, now())
    products.load()  # of which the order names none
    collector.settle()


_settings = load_settings()
logs.to_stderr(_settings.log_level, _settings.log_format)
certificates.check(_settings)  # else the server itself would only panic
_knowledge = load(_settings.base_url, _settings.overlay, _settings.valuesets, _settings.protocols)
app = create_app(_settings, _knowledge, recording=open_audit(_settings))
read_keys(app)
warm_up(_knowledge)
