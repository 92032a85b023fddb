"""A watch that goes on while a station inserts corrections and signatures."""

import json
from pathlib import Path

from samples import TIME
from scene import Scene, put

from cartcls.runtime.ledger.correction_table import save_corrections
from cartcls.runtime.ledger.folder import review_ledger
from cartcls.runtime.ledger.records import Correction
from cartcls.runtime.ledger.signatures import digest_of, save_signature
from cartcls.runtime.ledger.slide_info import SlideInfo
from cartcls.runtime.ledger.typed_facts import TypedFacts, save_typed_facts


def insert(out: Path, seq: int, to: str) -> None:
    """As a station does."""
    with review_ledger(out) as (ledger, _):
        (slide,) = ledger.slides()
        cell = slide.present(seq)
        assert cell is not None
        made = Correction(seq, str(cell.sha256), str(cell.present_label), to, "Anna", TIME, cell.box)
        with slide.database.transaction():
            save_corrections(slide.database, slide.slide.id, [made])


def sign(out: Path) -> None:
    with review_ledger(out) as (ledger, _):
        (slide,) = ledger.slides()
        with slide.database.transaction():
            save_signature(slide, "Anna", TIME, digest_of(slide))


def summary(out: Path) -> dict[str, object]:
    return json.loads((out / "s" / "summary.json").read_text())


def test_table_and_page_follow_corrections_and_signatures(scene: Scene, cells: list[bytes]):
    for number in range(2):
        put(scene.captures / "s", f"{number}.jpg", cells[number])
    scene.wait(20)
    insert(scene.out, 1, "monocyte")
    scene.wait(1)
    assert scene.rows("s")["0.jpg"]["label"] == "monocyte"
    scene.wait(10)
    assert summary(scene.out)["reviewers"] == ["Anna"]
    sign(scene.out)
    scene.wait(10)
    (signed,) = summary(scene.out)["signatures"]  # type: ignore[misc]
    assert (signed["signer"], signed["is_void"]) == ("Anna", False)
    put(scene.captures / "s", "2.jpg", cells[2])
    scene.wait(20)
    (signed,) = summary(scene.out)["signatures"]  # type: ignore[misc]
    assert signed["is_void"]
    assert scene.rows("s")["0.jpg"]["label"] == "monocyte"


def test_summary_follows_typed_facts(scene: Scene, cells: list[bytes]):
    put(scene.captures / "s", "0.jpg", cells[0])
    put(scene.captures / "s", "slide.toml", b"sample = 'file'\nwhite_count = '7'")
    scene.wait(20)
    assert "nothing of it is known" in " ".join(summary(scene.out)["warnings"])  # type: ignore[arg-type]
    with review_ledger(scene.out) as (ledger, _):
        (slide,) = ledger.slides()
        with slide.database.transaction():
            save_typed_facts(slide.database, slide.slide.id, TypedFacts(SlideInfo(sample="typed"), "Anna", TIME))
    scene.wait(20)
    told = summary(scene.out)
    assert (told["info"], told["info_typed_by"], told["info_typed_at"]) == ({"sample": "typed"}, "Anna", TIME)
    assert "what was typed at the station counts" in " ".join(told["warnings"])  # type: ignore[arg-type]


def test_a_file_that_changes_after_its_correction_has_a_new_row_without_it(scene: Scene, cells: list[bytes]):
    put(scene.captures / "s", "0.jpg", cells[0])
    scene.wait(20)
    insert(scene.out, 1, "monocyte")
    scene.wait(1)
    put(scene.captures / "s", "0.jpg", cells[1])
    scene.wait(200)
    assert scene.rows("s")["0.jpg"]["label"] == "eosinophil"
    assert "has changed since Anna labelled it monocyte" in " ".join(scene.said)
    put(scene.captures / "s", "0.jpg", cells[0])
    scene.wait(200)
    assert scene.rows("s")["0.jpg"]["label"] == "monocyte"


def test_a_file_that_is_renamed_keeps_a_correction_that_the_watch_has_not_taken_yet(scene: Scene, cells: list[bytes]):
    file = put(scene.captures / "s", "0.jpg", cells[0])
    put(scene.captures / "s", "1.jpg", cells[1])
    scene.wait(20)
    insert(scene.out, 1, "monocyte")
    file.rename(file.with_name("9.jpg"))
    scene.wait(20)
    assert scene.rows("s")["9.jpg"]["label"] == "monocyte"
