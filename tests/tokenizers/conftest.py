"""What the tests of tokenizers share: property tests on a busy machine are slow, not wrong."""

from hypothesis import HealthCheck, settings

settings.register_profile("llmlib", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmlib")
