"""`python -m cartcls.train`, which is `cartcls train`."""

from ..runtime import console
from .commands import app

console.run(app)
