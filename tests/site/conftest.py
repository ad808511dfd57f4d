"""What the tests of the built site share: the site, and a browser."""

import os
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "_build" / "html"


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built pages. Skips where nothing is built, unless it must be."""
    if not (SITE / "index.html").exists():
        missing = "needs the built site: make book"
        if os.environ.get("LLMLIB_REQUIRE_ALL_TIERS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return SITE
