from dataclasses import replace

import msgspec
from fakes import adjusting, giving_findings, of_two_classes, uncalibrated
from samples import RUN, a_cell, differential_of, finding_of

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.images.adjust import Adjustment
from cartcls.runtime.ledger.facts import Facts
from cartcls.runtime.reports.slide_state import SlideState
from cartcls.runtime.reports.summary import summarize


def test_proposals_are_counted_with_and_without(bundle: Bundle):
    summary = summarize(bundle, RUN, [a_cell(1), a_cell(2, status="review")])
    assert summary.awaiting_review == 1
    assert differential_of(summary).leukocytes == 2
    assert summary.differential_without_proposals is not None
    assert summary.differential_without_proposals.leukocytes == 1
    assert summarize(bundle, RUN, [a_cell(1)]).differential_without_proposals is None
    assert summary.warnings == []


def test_adjusted_pictures_are_told_and_others_not(bundle: Bundle):
    assert b"adjust" not in msgspec.json.encode(summarize(bundle, RUN, [a_cell(1)]))
    summary = summarize(adjusting(bundle, Adjustment(1.42)), RUN, [a_cell(1)])
    assert summary.bundle_adjustment == "pictures enlarged 1.42 times"


def test_a_bundle_that_is_not_calibrated_is_said_before_any_count(bundle: Bundle):
    summary = summarize(uncalibrated(bundle), RUN, [a_cell(1, status="review", reason="not calibrated")])
    assert (summary.calibrated, summary.calibration) == (False, None)
    assert summary.warnings == ["not calibrated. Every cell is for review"]


def test_intervals_count_the_models_errors_until_the_review_is_complete(bundle: Bundle):
    passing, cell = [a_cell(seq, "neutrophil") for seq in range(1, 100)], a_cell(100, "ig", status="review")

    def ig(label: str | None, alarm: str = "") -> tuple[bool, tuple[int, int] | None]:
        corrected = [a_cell(101, status="review"), replace(cell, corrected_label=label)]
        found = differential_of(summarize(bundle, RUN, [*passing, *corrected], SlideState(alarm=alarm)))
        return found.errors_counted, next(row.expected for row in found.rows if row.name == "ig")

    assert ig(None) == ig("unsure") == (True, (0, 1))  # 4 of 97 neutrophils were called so
    assert ig("ig") == (True, None)  # it is one
    assert ig(None, "colours") == (False, None)
    cells = [*passing, replace(cell, corrected_label="ig")]
    assert not differential_of(summarize(bundle, RUN, cells)).errors_counted  # the review is complete
    assert not differential_of(summarize(uncalibrated(bundle), RUN, passing)).errors_counted


def test_what_shows_no_single_cell_comes_first_until_a_person_has_looked(bundle: Bundle):
    field, empty = "looks like a whole field (size 0.43 > 0.25); too dark (brightness 3 < 212)", "no cell (cell 3 < 38)"
    cells = [a_cell(seq, status="review", reason=f"{reason}") for seq, reason in enumerate([field, field, empty], 1)]
    cells += [a_cell(4, status="review", reason=f"unlike the training cells (distance 42 > 30); {field}; {empty}")]
    summary = summarize(uncalibrated(bundle), RUN, [*cells, a_cell(5)])
    assert (summary.whole_fields, summary.no_cell) == (3, 1)
    assert summary.warnings[:2] == [
        "3 of 5 images look like whole fields of view, not single cells: their labels mean nothing."
        " Find the cells in whole fields with --fields --fresh",
        "1 of 5 images shows no cell: its label means nothing",
    ]
    assert len(summary.warnings) == 3
    reviewed = [replace(cell, corrected_label="lymphocyte") for cell in cells]
    assert summarize(bundle, RUN, reviewed).warnings == []


def test_statuses_are_those_of_the_table(bundle: Bundle):
    cells = [
        a_cell(1, status="review", corrected_label="monocyte"),
        a_cell(2, corrected_label="unsure"),
        a_cell(3),
        a_cell(4, status="gone", corrected_label="monocyte"),
    ]
    assert summarize(bundle, RUN, cells).status == {
        **{"ok": 1, "review": 1, "reviewed": 1},
        **{"rejected": 0, "duplicate": 0, "empty": 0, "gone": 1},
    }


def test_labels_of_what_has_become_a_duplicate_are_in_no_count(bundle: Bundle):
    cells = [
        a_cell(seq, status=status, corrected_label=label, corrected_by=person)
        for seq, status, label, person in (
            (1, "ok", "monocyte", "Ada"),
            (2, "duplicate", "monocyte", "Bo"),
            (3, "duplicate", "not a cell", "Bo"),
        )
    ]
    summary = summarize(bundle, RUN, cells)
    assert (summary.reviewed, summary.relabelled, summary.not_a_cell, summary.reviewers) == (1, 1, 0, ["Ada"])


def test_a_bundle_that_was_cross_validated_says_how_often_it_was_right(bundle: Bundle):
    metrics = bundle.manifest.metrics["select"]
    made = replace(
        bundle, manifest=msgspec.structs.replace(bundle.manifest, metrics={"cross-validated, by group": metrics})
    )
    summary = summarize(made, RUN, [a_cell(1)])
    (warning,) = summary.warnings
    assert (summary.bundle_split, bundle.manifest.source.split_unit) == ("split by group", "split by image")
    assert warning.startswith("390 of 392 labels were right in tests on the cells that the bundle was made of (98.2 to")
    assert "cross-validated, by group): on other slides, fewer may be" in warning


def test_nothing_is_expected_of_a_bundle_that_is_not_calibrated(bundle: Bundle):
    record = bundle.manifest.calibration
    assert record is not None
    promise = msgspec.structs.replace(record.promise, reached=False)
    manifest = msgspec.structs.replace(bundle.manifest, calibration=msgspec.structs.replace(record, promise=promise))
    assert differential_of(summarize(bundle, RUN, [a_cell(1)])).errors_counted
    assert not differential_of(summarize(replace(bundle, manifest=manifest), RUN, [a_cell(1)])).errors_counted


def test_a_finding_stands_in_the_place_of_a_differential(bundle: Bundle):
    made = of_two_classes(bundle)
    cells = [a_cell(seq, "monocyte", status="review") for seq in range(1, 24)]
    cells += [a_cell(seq, "lymphocyte", status="review") for seq in (24, 25)]
    summary = summarize(made, RUN, [replace(cells[0], corrected_label="monocyte"), *cells[1:]])
    found = finding_of(summary)
    assert found.sentence == "23 of 25 cells labelled monocyte"
    assert (found.against, found.shown) == (2, [24, 25])
    assert {row.name: row.count for row in summary.rows} == {"monocyte": 23, "lymphocyte": 2}
    assert summary.finding_without_proposals is not None
    assert summary.finding_without_proposals.sentence == "1 of 1 cell labelled monocyte"
    assert summary.few is None
    few = summarize(made, RUN, [replace(cell, corrected_label=cell.label) for cell in cells[:4]])
    assert few.finding_without_proposals is None
    assert few.few == finding_of(few).warning == "only 4 cells: a finding needs at least 20"
    written = msgspec.json.encode(summary)
    assert b'"differential":null' in written
    assert not [word for word in (b"interval", b"percent", b"leukocyte") if word in written]


def test_a_finding_stops_at_cells(bundle: Bundle):
    rest = SlideState(2, facts=Facts(leukocytes=5), unlooked=(2, 3))
    (usual,) = summarize(bundle, RUN, [a_cell(1)], rest).warnings
    (warning,) = summarize(giving_findings(bundle), RUN, [a_cell(1)], rest).warnings
    assert usual.startswith("stopped at 5 leukocytes: ")
    assert warning == "stopped at 5 cells: images 2 to 3 of 3 not looked at"
