"""Messages between Modelyard and an engine's process: JSON behind its length. Nothing is unpickled."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

LENGTH = struct.Struct("<I")
LARGEST = 64 << 20  # bytes; a prompt of a million tokens takes 7 MB


class Frames:
    """Whole messages over a stream socket; a message may arrive in pieces."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._got = bytearray()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises OSError when the other side is gone."""
        body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
        self._link.sendall(LENGTH.pack(len(body)) + body)

    def receive(self) -> list[dict[str, Any]] | None:
        """Wait for bytes and return the messages that are whole by then; None when the other side is gone.

        Raises ValueError for what is no message of ours.
        """
        try:
            data = self._link.recv(1 << 16)
        except ConnectionResetError:
            return None
        if not data:
            return None
        self._got += data
        found = []
        while len(self._got) >= LENGTH.size:
            length = LENGTH.unpack_from(self._got)[0]
            if length > LARGEST:
                raise ValueError(f"a message of {length} bytes")
            end = LENGTH.size + length
            if len(self._got) < end:
                break
            found.append(json.loads(self._got[LENGTH.size : end]))
            del self._got[:end]
        return found
