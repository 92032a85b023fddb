"""A slide's result as one wide row of CSV."""

import csv
import io

from ..bundle.bundle import Bundle
from ..images.discover import readable_name
from .table import ENCODING
from .told import RESEARCH_ONLY, Told


def as_csv(told: Told, bundle: Bundle) -> bytes:
    """Header and row, UTF-8 with a byte order mark; the columns depend on the bundle alone."""
    text = io.StringIO()
    row = {**_of_slide(told), **_of_cells(told, bundle), **_of_origin(told)}
    writer = csv.DictWriter(text, row, lineterminator="\n")
    writer.writeheader()
    writer.writerow({name: _safe(value) if isinstance(value, str) else value for name, value in row.items()})
    return text.getvalue().encode(ENCODING)


def _of_slide(told: Told) -> dict[str, object]:
    info, last = told.info, told.signatures[-1] if told.signatures else None
    return {
        "sample": info.sample,
        "second_id": info.second_id,
        "slide": told.summary.slide,
        "status": told.status,
        "signed_by": "; ".join(made.signer for made in told.signatures),
        "signed_at": last.signed_at if last else "",
        "test_data": int(told.is_test),
        "stain": info.stain,
        "objective": info.objective,
        "mpp": info.mpp,
        "operator": info.operator,
        "comment_red_cells": info.red_cells,
        "comment_platelets": info.platelets,
        "remarks": " ".join(told.remarks),
    }


def _of_cells(told: Told, bundle: Bundle) -> dict[str, object]:
    summary = told.summary
    counted, absolute = {row.name: row for row in summary.rows}, summary.absolute_counts or None
    classes = [entry for entry in bundle.manifest.classes_as_read if entry.kind != "platelet"]
    found: dict[str, object] = {
        "cells": sum(counted[entry.name].count for entry in classes if entry.name in counted),
        "leukocytes": summary.differential.leukocytes if summary.differential else None,
        "awaiting_review": summary.awaiting_review,
        "white_count": told.info.white_count,
        "corrected_white_count": round(absolute.corrected, 3) if absolute else None,
    }
    per_litre = {row.name: round(row.per_litre, 3) for row in absolute.rows} if absolute else {}
    for entry in classes:  # without platelets: the pictures were chosen for other cells
        row = counted.get(entry.name)
        found[f"n_{entry.name}"] = row.count if row else None
        if summary.differential and entry.kind in ("leukocyte", "nrbc"):
            share = getattr(row, "percent" if entry.kind == "leukocyte" else "per_100_leukocytes", None)
            unit = "percent" if entry.kind == "leukocyte" else "per_100_leukocytes"
            found[f"{unit}_{entry.name}"] = None if share is None else round(share, 2)
            found[f"absolute_{entry.name}"] = per_litre.get(entry.name)
    others = "; ".join(f"{label} ({count})" for label, count in summary.others.items())
    return {**found, "others": others}


def _of_origin(told: Told) -> dict[str, object]:
    summary = told.summary
    return {
        "bundle": summary.bundle,
        "bundle_sha256": summary.bundle_sha256,
        "version": summary.version,
        "report": told.report,
        "analysed_at": summary.last_analysed_at,
        "issued": told.issued,
        "notice": RESEARCH_ONLY,
    }


def _safe(text: str) -> str:
    """A text of which no character starts a formula in a spreadsheet."""
    return readable_name(text.encode("utf-8", "surrogateescape"))
