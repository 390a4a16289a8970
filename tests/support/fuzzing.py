"""How many inputs a property test tries: few in every run, as many as asked for by `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# How long an input takes says more of the machine than of the code.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def many(usual: int) -> settings:
    """Return settings for `usual` inputs, or for what `AMIKAFKA_FUZZ_INPUTS` says."""
    return settings(UNTIMED, max_examples=int(os.environ.get("AMIKAFKA_FUZZ_INPUTS", usual)))
