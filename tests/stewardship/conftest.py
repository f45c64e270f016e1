"""Each query runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from tests.store.conftest import postgres, store, url

__all__ = ["postgres", "store", "url"]
