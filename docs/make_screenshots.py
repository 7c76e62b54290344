"""Take the screenshots that the documents show: HTML reports in headless chromium, into docs/images/."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gradscope.cli import run

IMAGES = Path(__file__).with_name("images")
#: Picture name, the command that makes the page, and the size of the window.
SHOTS = (
    ("gradients", ["gradients", "lstm:forget_bias=1", "-T", "100"], (900, 1500)),
    ("spectrum", ["spectrum", "rnn:init=nonnormal,gain=0.9,hidden=24"], (900, 1300)),
)
CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def take(browser: str, page: Path, picture: Path, size: tuple[int, int]) -> None:
    """One page, one picture."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser,
                *CHROMIUM,
                f"--user-data-dir={profile}",
                f"--window-size={size[0]},{size[1]}",
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )


def main() -> int:
    """Make every picture, or say what is missing."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("no chromium here: install it first", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, words, size in SHOTS:
            page = Path(folder) / f"{name}.html"
            assert run([*words, "-o", str(page), "-q"]) == 0
            take(browser, page, IMAGES / f"{name}.png", size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
