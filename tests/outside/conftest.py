"""A gateway on the engine echo, for clients that others wrote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.serve.service import Service, make_key, make_yard, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Not grounded: it says back what it is told."""
    folder = make_yard(tmp_path_factory.mktemp("outside") / "yard", habits={"step_s": 0.01})
    with running(folder) as found:
        yield found


@pytest.fixture(scope="module")
def key(service: Service) -> str:
    """A key of the customer acme."""
    return make_key(service.folder)


@pytest.fixture(scope="module")
def grounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It answers from documents."""
    folder = make_yard(tmp_path_factory.mktemp("outside") / "yard", ground=True, answer_tokens=200)
    with running(folder) as found:
        yield found
