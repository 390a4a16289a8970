"""What every test gets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.twins import native_package, using


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that a test runs sets up the log; the next test gets it as it was."""
    logger = logging.getLogger("amikafka")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate, logger.level = before


@pytest.fixture(scope="module", params=["python", "native"])
def twin(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test with Python alone, and again with amikafka_speedups where that is installed."""
    with using(native_package() if request.param == "native" else None):
        yield request.param
