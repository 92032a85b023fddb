import json

from cartcls.export.model_card import MODEL_CARD, model_card
from cartcls.runtime.bundle.bundle import MANIFEST, SHIPPED


def test_the_shipped_card_is_the_one_that_is_written():
    manifest = json.loads((SHIPPED / MANIFEST).read_text())
    assert model_card(manifest) == (SHIPPED / MODEL_CARD).read_text()
