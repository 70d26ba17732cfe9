"""What every test gets: no way out of this machine."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

import pytest

LOCAL = ("localhost", "")


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse any address outside this machine; an audit hook also sees sockets that libraries open."""
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""
    elif event == "socket.getaddrinfo":
        host = arguments[0] or ""
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host)
    if host in LOCAL:
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise OutboundCall(f"a test reached out to {host!r}")


class OutboundCall(BaseException):
    """Not an Exception, so that no library swallows it."""


sys.addaudithook(_guard)


@pytest.fixture(autouse=True)
def _plain_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
