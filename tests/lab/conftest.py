"""The browser, for JupyterLab."""

from tests.browser_fixtures import browser, open_page  # noqa: F401
