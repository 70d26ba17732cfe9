from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bill.shop import Shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A real SQLite file for all tests of a file; they do not share customers."""
    made = Shop(Path(tmp_path_factory.mktemp("shop")))
    yield made
    made.ledger.close()
