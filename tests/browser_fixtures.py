"""A real browser for the tests: pages that must stay silent and ask nothing of another host.

They are fixtures of all tests (``tests/conftest.py`` imports them once: Playwright runs once in a process),
and a test uses them so::

    def test_slider(open_page, serve, tmp_path):
        page = open_page(serve(tmp_path) + "/index.html", width=360, theme="dark")
        page.get_by_label("Merges").press("ArrowLeft")

When the test ends, it fails if the page wrote an error to the console or asked another host for something.
"""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # What is asked of another host is recorded below; here it also goes nowhere.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

# The theme's own switch on a page of the book; a page of JupyterLab has another.
_SET_THEME = "theme => { localStorage.setItem('mode', theme); localStorage.setItem('theme', theme); }"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window: a Browser of Playwright. Skips where there is none, unless it must be there."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        missing = "needs a browser: apt-get install chromium"
        if os.environ.get("LLMLIB_REQUIRE_ALL_TIERS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """``serve(folder)`` serves a folder over HTTP on this machine and returns its address."""
    with ExitStack() as servers:

        @functools.cache
        def start(folder: Path) -> str:
            return servers.enter_context(_server(folder))

        yield start


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """``open_page(address, width=1200, height=900, theme="light", javascript=True)`` returns a Page of Playwright.

    ``theme`` is set before the page loads, in the way of the book's pages. The page's ``problems`` lists errors in the
    console, uncaught exceptions and requests that leave the machine. The test fails at its end if there are any that
    it has not taken out.
    """
    with ExitStack() as contexts:
        pages = []

        def start(
            address: str,
            *,
            width: int = 1200,
            height: int = 900,
            theme: str = "light",
            javascript: bool = True,
        ) -> Any:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=theme,
                java_script_enabled=javascript,
            )
            contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.problems = problems = []
            page.on("console", lambda message: message.type == "error" and problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(error.stack or str(error)))
            page.on("request", lambda request: _is_foreign(request.url) and problems.append(request.url))
            page.add_init_script(f"({_SET_THEME})('{theme}')")
            page.goto(address)
            pages.append(page)
            return page

        yield start
        problems = [problem for page in pages for problem in page.problems]
    assert not problems, problems


def _is_foreign(address: str) -> bool:
    return not address.startswith(
        ("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:", "about:")
    )
