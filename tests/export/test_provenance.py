from msgspec.structs import replace

from cartcls.export.provenance import _command
from cartcls.runtime.bundle.provenance import Origin, Provenance, Stage

TRAINED = Provenance(
    data_sha256={"fit": "0", "select": "1"},
    split_file="cells.csv",
    split_sha256="2",
    split_unit="split by image",
    stages=(Stage((64, 64), 16), Stage((96, 96), 4)),
    batch_size=16,
    seed=3,
    start=Origin(checkpoint="best.ckpt"),
    freeze="layer2",
    command="cartcls train fit /home/someone/cells",
)


def test_the_command_of_a_bundle_names_what_was_frozen():
    assert _command(TRAINED, "rcmnet") == (
        "cartcls train fit DATA_DIR --split cells.csv --out RUN_DIR --arch rcmnet --sizes 64x64:16,96x96:4"
        " --batch-size 16 --seed 3 --start best.ckpt --freeze layer2"
    )


def test_the_model_on_all_cells_comes_from_a_cross_validation():
    assert _command(replace(TRAINED, data_sha256={"fit": "0"}, start=None, freeze=""), "rcmnet") == (
        "cartcls train cross-validate DATA_DIR --out RUN_DIR --arch rcmnet --sizes 64x64:16,96x96:4 --batch-size 16"
    )
