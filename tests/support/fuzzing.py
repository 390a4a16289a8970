"""How many inputs a property test tries: few in every run, as many as asked for by `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def many(usual: int) -> settings:
    """Return settings for `usual` inputs, or for what `AMIKAFKA_FUZZ_INPUTS` says."""
    inputs = os.environ.get("AMIKAFKA_FUZZ_INPUTS")
    return settings(
        max_examples=int(inputs) if inputs else usual,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow] if inputs else [],
    )
