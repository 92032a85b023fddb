from pathlib import Path

import pytest
from reviewer import classify, corrections, make_slide

from cartcls.calibration.split import make_split
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.reports.export_reviewed import export_reviewed
from cartcls.train.training import TrainingSettings, fit


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_what_a_reviewer_put_right_can_be_trained_on(slide: Path, tmp_path: Path, bundle: Bundle):
    out = classify(make_slide(slide, tmp_path / "slide", count=20), bundle)
    labels = ("monocyte", "platelet", "eosinophil")
    correct(out, corrections(out, *((seq, labels[seq % 3]) for seq in range(1, 21))), "Ada")
    made = export_reviewed(out, tmp_path / "cells")
    assert (made.summary.reviewed, made.summary.cells) == ("all", 20)
    make_split(tmp_path / "cells", tmp_path / "cells.csv")
    settings = TrainingSettings([Stage((32, 32), 1)], "resnet18", batch_size=4)
    metrics = fit(tmp_path / "cells", tmp_path / "cells.csv", tmp_path / "run", settings)
    assert metrics
    assert (tmp_path / "run" / "best.ckpt").is_file()
