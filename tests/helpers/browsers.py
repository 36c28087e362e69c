"""Find and start a browser for a test."""

import os
import shutil
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    # WebGL on the CPU, everything else without WebGL
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-gpu-compositing",
]


def skip_or_fail(reason):
    if os.environ.get("GMSEG_REQUIRE_BROWSER") == "1":
        pytest.fail(f"GMSEG_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


@contextmanager
def chromium():
    """Start Chromium without a window; skip the test where there is none."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not path:
        skip_or_fail("Chromium is not installed (Debian, Ubuntu: apt install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip_or_fail("playwright is not installed (pip install playwright)")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=FLAGS)
