"""What every test gets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import groupby

import pytest
from hypothesis import settings

from tests.support.fuzzing import UNTIMED
from tests.support.twins import native_package, using

settings.register_profile("untimed", UNTIMED)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let modules whose tests wait most of the time stand between those that compute.

    Workers take the tests in this order, so that all of them have some of both.
    """
    modules = [list(module) for _, module in groupby(items, key=lambda item: item.path)]
    waiting = [module for module in modules if "integration" in module[0].path.parts]
    others = [item for module in modules if module not in waiting for item in module]
    mixed: list[pytest.Item] = []
    for number, module in enumerate(waiting):
        begin, end = (len(others) * each // len(waiting) for each in (number, number + 1))
        mixed += [*others[begin:end], *module]
    items[:] = mixed if waiting else others


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
