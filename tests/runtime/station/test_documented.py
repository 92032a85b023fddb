import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_each_row_of_the_standard_names_a_test_that_there_is():
    text = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")
    names = ("test_app.py", "test_facts.py", "test_signing.py")
    files = [ROOT / "tests" / "runtime" / "station" / name for name in names]
    tests = "".join(file.read_text(encoding="utf-8") for file in files)
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in tests] == []


@pytest.mark.parametrize("word", ["electronic signature", "not checked", "no encryption"])
def test_what_it_is_not_is_said(word: str):
    assert word in (ROOT / "docs" / "review.md").read_text(encoding="utf-8")
