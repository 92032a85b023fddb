"""What CI checks for certain."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BROWSER = "tests/runtime/reports/test_browser.py"


@pytest.mark.parametrize(("ci", "outcome"), [("true", "error"), ("", "skipped")])
def test_where_there_is_no_chromium_tests_fail_in_ci_and_are_skipped_elsewhere(tmp_path: Path, ci: str, outcome: str):
    environment = {**os.environ, "CI": ci, "PATH": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", BROWSER, "-k", "axe and light and False"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    last = done.stdout.splitlines()[-1]
    assert (bool(done.returncode), f"1 {outcome}" in last) == (bool(ci), True), done.stdout
    assert "passed" not in last
