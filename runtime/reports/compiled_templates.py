"""Templates of pages, compiled once for each version of cartcls: that takes a tenth of a second."""

import functools
import sys
from importlib.metadata import version
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket

from ..compiled_store import CompiledStore, user_store

KEPT = 40  # more than there are


class CompiledTemplates(jinja2.BytecodeCache):
    """Keeps compiled templates in a store."""

    def __init__(self, store: CompiledStore):
        """Use a store."""
        self._store = store

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load a template, if it was compiled before and its file is whole."""
        if code := self._store.load(self._file(bucket), lambda size: memoryview(bytearray(size))):
            bucket.bytecode_from_string(bytes(code))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template."""
        self._store.save(self._file(bucket), bucket.bytecode_to_string())

    def _file(self, bucket: Bucket) -> Path:
        made_with = bucket.key, version("cartcls"), jinja2.__version__, sys.implementation.cache_tag
        return self._store.file(bucket.checksum, made_with)


@functools.cache
def environment() -> jinja2.Environment:
    """Where the package's templates come from; all values are escaped, and one that is missing is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("cartcls.runtime.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        bytecode_cache=CompiledTemplates(user_store("templates", KEPT)),
    )
