"""A fault of ours is told in OpenAI's form, and no word of the request with it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.records.yard import Yard
from modelyard.serve.app import build
from modelyard.serve.gateway import Gateway
from modelyard.serve.settings import Serve


def test_a_fault_of_ours_is_a_500_in_openais_form_and_quotes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    async def broken(*_: Any) -> Any:
        raise RuntimeError("the prompt was planted-word")

    async def asked() -> httpx.Response:
        gateway = Gateway(
            Yard(tmp_path / ".yard"), Serve(), lambda text, **given: said.append(text.format(**given))
        )
        monkeypatch.setattr(gateway.keyring, "bearer", broken)
        transport = httpx.ASGITransport(build(gateway), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
            found = await client.get("/v1/models")
        await gateway.close()
        said.append(gateway.metrics.text().decode())
        return found

    response = asyncio.run(asked())
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert response.headers["x-request-id"].startswith("req-")
    assert 'route="/v1/models",status="500"' in said[-1]
    assert "planted-word" not in "".join(said) + response.text
