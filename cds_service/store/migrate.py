"""The store's tables brought to the newest version, by one process at a time."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import URL

from cds_service.store import engines
from cds_service.store.engines import Unavailable, told
from cds_service.store.files import file_of

HEAD = "0005"
"""The newest migration; a test holds it against the folder."""

_LOCK = 7_302_145_511_008_264_113
"""The advisory lock of PostgreSQL that migrating processes wait for; a number of our own."""


def migrate(url: URL) -> str:
    """Bring the tables to HEAD and return the version they had before ("nothing" for an empty store).

    Raises Unavailable: it cannot be reached or written, or a newer version of this service made it.
    """
    file = file_of(url)
    if file is not None:
        file.prepare()
    reading, writing = engines.engine(url, engines.VERSION), engines.engine(url, engines.UPKEEP)
    try:
        with told(engines.shown(url)):
            before = version(reading)
            if before != HEAD:
                with writing.begin() as connection:  # for SQLite this takes the lock
                    if connection.dialect.name == "postgresql":
                        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                    _upgrade(connection, engines.shown(url))
    finally:
        reading.dispose()
        writing.dispose()
    return before or "nothing"


def version(engine: sa.Engine) -> str | None:
    """The migration that the tables are at; None for an empty database."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return found


def _upgrade(connection: sa.Connection, where: str) -> None:
    # Import Alembic only if there is something to migrate: the import takes longer than most starts.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "cds_service.store:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Unavailable(f"{where} cannot be used: a newer version of this service made it") from error
