from pathlib import Path

import pytest
from typer.testing import CliRunner

from cartcls.train.commands import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--freeze", "layer9", "--start", "some.ckpt"], "no stage 'layer9'"),
        (["--freeze", "all"], "name them with --start"),
    ],
)
@pytest.mark.parametrize("command", [["fit", "cells", "--split", "cells.csv"], ["cross-validate", "cells"]])
def test_what_cannot_be_frozen_is_refused_as_wrong_usage(
    tmp_path: Path, command: list[str], arguments: list[str], said: str
):
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "run"), *arguments])
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("fit cells --split cells.csv --arch marzahl", "make them with `cartcls train boxes`"),
        ("fit cells --split cells.csv --boxes boxes.csv", "rcmnet has no use for boxes"),
        ("cross-validate cells --arch marzahl", "make them with `cartcls train boxes`"),
        ("cross-validate cells --boxes boxes.csv", "rcmnet has no use for boxes"),
    ],
)
def test_boxes_are_for_the_network_that_is_trained_on_them(tmp_path: Path, command: str, said: str):
    done = CliRunner().invoke(app, [*command.split(), "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
