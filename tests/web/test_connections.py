"""What is told of the port's connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.web import connections
from cds_service.web.connections import Callers, Connections

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 1065 1
   1: 0100007F:1F40 0100007F:962D 01 00000000:00000000 00:00000000 00000000     0        0 1066 1
   2: 0100007F:962D 0100007F:1F40 01 00000000:00000000 00:00000000 00000000     0        0 1067 1
   3: 0100007F:1F40 0100007F:962E 06 00000000:00000000 00:00000000 00000000     0        0 0 1
"""
COUNTERS = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 7 9\nIpExt: InNoRoutes\nIpExt: 2\n"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tcp").write_text(TABLE)
    (tmp_path / "netstat").write_text(COUNTERS)
    monkeypatch.setattr(connections, "_TABLES", (tmp_path / "tcp", tmp_path / "tcp6"))
    monkeypatch.setattr(connections, "_COUNTERS", tmp_path / "netstat")
    return tmp_path


def test_only_the_connections_of_the_port_at_this_end_count(kernel: Path) -> None:
    assert connections.now(8000) == Connections(open=1, waiting=3, overflows=7)
    assert connections.now(8001) == Connections(open=0, waiting=0, overflows=7)


def test_where_the_kernel_does_not_tell_nothing_is_told(kernel: Path) -> None:
    (kernel / "netstat").write_text("TcpExt: ListenDrops\nTcpExt: 9\n")
    assert connections.now(8000) == Connections(open=1, waiting=3, overflows=None)
    (kernel / "netstat").unlink()
    assert connections.now(8000) is None


def test_a_caller_is_new_once_while_it_is_remembered() -> None:
    callers = Callers()
    assert [callers.is_new(each) for each in ("a:1", "a:2", "a:1")] == [True, True, False]
    for number in range(10_000):
        assert callers.is_new(f"b:{number}")
    assert callers.is_new("a:1")
