import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_lines_for_python_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(code, "docs/python.md", "exec"), {})
    said = capsys.readouterr().out
    assert said.startswith("cell-01.jpg neutrophil 0.9")
    assert len(re.findall(r"^cell-\d\d\.jpg ", said, re.MULTILINE)) == 32
