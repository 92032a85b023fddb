import pytest

from cartcls.train.freeze import STAGES, frozen_prefixes, stages_above
from cartcls.train.models.build import MODELS, build


@pytest.mark.parametrize("arch", MODELS)
def test_each_weight_but_the_heads_belongs_to_one_stage(arch: str):
    model = build(arch, 2, (64, 64))
    places: dict[str, int] = {}
    for name, _ in model.named_parameters():
        of = [stage for stage, prefixes in STAGES[arch].items() if name.startswith(prefixes)]
        heads = ("fc.", "hidden.", "box.") if arch == "marzahl" else ("fc.",)
        assert len(of) == (0 if name.startswith(heads) else 1), name
        places.update(dict.fromkeys(of, stages_above(arch, name)))
    assert places == {stage: len(STAGES[arch]) - place for place, stage in enumerate(STAGES[arch])}  # none is empty
    assert stages_above(arch, "fc.weight") == 0


def test_stages_are_frozen_up_to_and_including_the_named_one():
    assert frozen_prefixes("rcmnet", "none") == ()
    assert frozen_prefixes("rcmnet", "layer1") == ("conv1.", "bn1.", "layer1.")
    assert frozen_prefixes("rcmnet", "all") == frozen_prefixes("rcmnet", "bot")


@pytest.mark.parametrize(("arch", "stage"), [("resnet18", "bot"), ("alexnet", "stem"), ("rcmnet", "layer9")])
def test_a_stage_that_there_is_not_is_refused_and_those_there_are_named(arch: str, stage: str):
    with pytest.raises(ValueError, match=rf"{arch} has no stage '{stage}': name \w+, layer\w.*, all or none"):
        frozen_prefixes(arch, stage)
