import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from samples import RUN, a_cell

from cartcls.cli import show
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.facts import Facts
from cartcls.runtime.reports.slide_state import SlideState
from cartcls.runtime.reports.summary import summarize

FIELDS = Facts(fields=True, diameter=90.75, origin="red cells")


@pytest.mark.parametrize(
    ("facts", "smudges", "said"),
    [
        (FIELDS, 4, "3 fields, 2 cells: 2 ok, 1 empty; 4 smudges not counted\nscale: 0.08264 µm per pixel, by the red"),
        (FIELDS, 1, "1 empty; 1 smudge not counted\n"),
        (FIELDS, 0, "3 fields, 2 cells: 2 ok, 1 empty\nscale:"),
        (Facts(), 0, "3 images: 2 ok, 1 empty\n"),
    ],
)
def test_a_slide_of_fields_tells_of_fields_cells_smudges_and_scale(
    bundle: Bundle, capsys: pytest.CaptureFixture[str], facts: Facts, smudges: int, said: str
):
    cells = [a_cell(1), a_cell(2), replace(a_cell(3), status="empty", label=None, probabilities=(), thumbnail=None)]
    show.finished(Path("out/s-1"), summarize(bundle, RUN, cells, SlideState(facts=facts, smudges=smudges)))
    printed = capsys.readouterr().out
    assert said in printed
    assert ("scale" in printed) == facts.fields


@pytest.mark.parametrize(("fields", "said"), [(True, "s-1: 7 cells"), (False, "s-1 ")])
def test_the_bar_tells_how_many_cells_were_found_in_fields(monkeypatch: pytest.MonkeyPatch, fields: bool, said: str):
    screen = io.StringIO()
    monkeypatch.setattr(show, "messages", Console(file=screen, force_terminal=True, width=120))
    with show.progress("s-1", fields) as progress:
        progress(1, 4, 7)
    assert said in screen.getvalue()
    assert ("7 cells" in screen.getvalue()) == fields
    assert "1/4" in screen.getvalue()
