import hashlib
import json
from dataclasses import replace
from pathlib import Path

from samples import TIME, a_cell, begun_slide

from cartcls.runtime.ledger.correction_table import save_corrections
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import TAKEN_BACK, Correction, Result
from cartcls.runtime.ledger.signatures import digest_of, save_signature, signatures_of
from cartcls.runtime.ledger.slide_info import SlideInfo
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.ledger.typed_facts import TypedFacts, save_typed_facts


def report(slide: SlideLedger, *seqs: int) -> None:
    slide.discover([b"%d.jpg" % seq for seq in seqs])
    images = slide.images()
    slide.report([Result(images[b"%d.jpg" % seq], "reported", None, [a_cell(seq)]) for seq in seqs])


def sign(slide: SlideLedger, signer: str) -> None:
    with slide.database.transaction():
        save_signature(slide, signer, TIME, digest_of(slide))


def test_a_signature_holds_for_the_rows_that_were_signed_and_no_others(tmp_path: Path):
    with begun_slide(tmp_path) as slide:
        report(slide, 1, 2)
        assert signatures_of(slide) == []
        sign(slide, "Anna")
        sign(slide, "Ben")
        shown = [(found.slide, found.signer, found.number, found.is_void) for found in signatures_of(slide)]
        assert shown == [("s", "Anna", 1, False), ("s", "Ben", 2, False)]
        report(slide, 3)
        assert [found.is_void for found in signatures_of(slide)] == [True, True]
        sign(slide, "Ben")
        assert [(found.number, found.is_void) for found in signatures_of(slide)] == [(1, True), (2, True), (1, False)]


def test_a_correction_voids_a_signature_and_the_same_label_again_does_not_restore_it(tmp_path: Path):
    with begun_slide(tmp_path) as slide:
        report(slide, 1)
        sign(slide, "Anna")
        for before, label in (("lymphocyte", "monocyte"), ("monocyte", TAKEN_BACK)):
            made = Correction(1, f"{1:064x}", before, label, "Ben", TIME)
            slide.correct([made], [made.applied_to(slide.row(1))])
            assert signatures_of(slide)[0].is_void
        assert list(slide.cells()) == [a_cell(1)]


def test_a_signature_outlives_that_corrections_are_put_into_rows(tmp_path: Path):
    with begun_slide(tmp_path) as slide:
        report(slide, 1, 2)
        with slide.database.transaction():
            made = Correction(1, f"{1:064x}", "lymphocyte", "monocyte", "Ben", TIME)
            save_corrections(slide.database, slide.slide.id, [made])
        with Ledger(tmp_path / "ledger.sqlite", reviews_only=True) as station:
            (seen,) = station.slides()
            revision = seen.revision()
            sign(seen, "Anna")
            signed = seen.revision()
            assert signed != revision
            assert slide.take_corrections() == {1}
            assert (signatures_of(seen)[0].is_void, seen.revision()) == (False, signed)
        assert not signatures_of(slide)[0].is_void


def test_a_file_that_goes_away_and_comes_back_does_not_restore_a_signature(tmp_path: Path):
    with begun_slide(tmp_path) as slide:
        report(slide, 1, 2)
        before = list(slide.cells())
        sign(slide, "Anna")
        slide.rearrange([], [a_cell(2, analysed_at="2026-01-03T03:04:05Z")])
        slide.rearrange([], [a_cell(2)])
        assert not signatures_of(slide)[0].is_void  # it is the same
        for row in (a_cell(2, status="gone"), a_cell(2)):
            slide.rearrange([], [row])
            assert signatures_of(slide)[0].is_void
        assert list(slide.cells()) == before
        sign(slide, "Anna")
        assert [(made.number, made.is_void) for made in signatures_of(slide)] == [(1, True), (1, False)]


def test_another_sample_identifier_voids_a_signature(tmp_path: Path):
    with begun_slide(tmp_path) as slide:
        report(slide, 1)
        slide.settle(replace(slide.facts(), info=SlideInfo(sample="1")))
        sign(slide, "Anna")
        slide.settle(replace(slide.facts(), leukocytes=100))
        assert not signatures_of(slide)[0].is_void
        for sample in ("2", "1"):
            slide.settle(replace(slide.facts(), info=SlideInfo(sample=sample)))
            assert signatures_of(slide)[0].is_void


def test_typed_facts_count_before_the_file_and_void_a_signature(tmp_path: Path):
    with begun_slide(tmp_path) as slide:
        report(slide, 1)
        assert slide.info() is None
        slide.settle(replace(slide.facts(), info=SlideInfo(sample="file", stain="Wright")))
        assert slide.info() == SlideInfo(sample="file", stain="Wright")
        for number, info in enumerate([SlideInfo(sample="first"), SlideInfo(sample="second", mpp=0.1)]):
            before = slide.revision()
            sign(slide, "Anna")
            with slide.database.transaction():
                save_typed_facts(slide.database, slide.slide.id, TypedFacts(info, "Ben", f"2026-07-0{number + 1}"))
            assert slide.info() == info  # no stain: as a whole
            assert signatures_of(slide)[-1].is_void and slide.revision() != before
        sign(slide, "Anna")
        for info in (SlideInfo(sample="third"), slide.info() or SlideInfo()):
            with slide.database.transaction():
                save_typed_facts(slide.database, slide.slide.id, TypedFacts(info, "Ben", "2026-07-02"))
            assert signatures_of(slide)[-1].is_void
        sign(slide, "Anna")
        slide.settle(replace(slide.facts(), info=SlideInfo(sample="file again")))
        assert slide.info() == SlideInfo(sample="second", mpp=0.1) and not signatures_of(slide)[-1].is_void
        assert slide.last_reviewed() == max(TIME, "2026-07-02")


def test_the_digest_is_that_of_canonical_json(tmp_path: Path):
    with begun_slide(tmp_path) as slide:
        report(slide, 1)
        (row,) = slide.cells()
        content = {name: getattr(row, name) for name in row.__dataclass_fields__ if name not in ("maps", "analysed_at")}
        content["probabilities"] = json.dumps(row.probabilities)
        history = {"changes": 1, "last_correction": 0, "last_typed": 0}
        whole = {**history, "bundle_sha256": "", "info": None, "report": slide.slide.report, "rows": [content]}
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert digest_of(slide) == hashlib.sha256(text.encode()).hexdigest()
