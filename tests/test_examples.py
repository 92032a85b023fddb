import csv
import hashlib
from collections import Counter
from pathlib import Path

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.slides.batch import classify_slide

EXAMPLE = Path(__file__).parent.parent / "examples" / "slide-01"


def test_the_example_slide_is_a_natural_mix_of_cells_and_twelve_of_them_are_for_review(tmp_path: Path):
    with (EXAMPLE / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    counts = Counter(row["label"] for row in rows)
    assert (len(rows), counts["neutrophil"], counts["lymphocyte"], counts["basophil"]) == (64, 36, 16, 1)
    for row in rows:
        assert hashlib.sha256((EXAMPLE / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir()) < 1_500_000
    bundle = load_bundle()
    backend = open_backend(bundle)
    with open_ledger(tmp_path, bundle) as ledger:
        _, summary = classify_slide(EXAMPLE, tmp_path, Classifier(bundle, backend), ledger)
        backend.close()
        assert (summary.status["ok"], summary.status["review"]) == (52, 12)
