"""Which images are tried together, and in which order; an image that ends the program each time is quarantined."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence

from ..images.decode import fingerprint
from ..images.reading import Reading
from ..inference.classifier import Classifier
from ..inference.predictions import Prediction, rejected
from ..ledger.records import MAX_ATTEMPTS, LedgerImage
from ..ledger.slide_ledger import SlideLedger

QUARANTINED = f"ended the program {MAX_ATTEMPTS} times, and was not opened again"


class Attempts:
    """Attempts to classify images; each is counted in the ledger before the file is read."""

    def __init__(self, images: Sequence[LedgerImage], root: bytes, ledger: SlideLedger, classifier: Classifier):
        """Nothing is tried yet.

        Args:
            images: Images of a slide.
            root: Folder of the slide.
            ledger: Its ledger.
            classifier: The model, loaded.
        """
        self._images, self._root = images, root
        self._ledger, self._classifier = ledger, classifier
        self._by_file = {self._file(image): image for image in images}
        self._in_progress: dict[int, LedgerImage] = {}

    def groups(self, stop: Callable[[], bool]) -> Iterator[Generator[list[Prediction]]]:
        """Predictions by group of images, batch by batch, in the order in which rows are numbered.

        Args:
            stop: Checked before each batch.

        Yields:
            A group; its rows are to be saved before the next one is taken.
        """
        yield self._quarantined([image for image in self._images if image.attempts >= MAX_ATTEMPTS])
        for group in _in_groups(self._images):
            yield self._classifier.predict_batches(self._begin(group, stop))

    def image_of(self, prediction: Prediction) -> LedgerImage:
        """The image that was predicted."""
        assert isinstance(prediction.source, bytes)
        return self._by_file[prediction.source]

    def end(self, image: LedgerImage) -> None:
        """Note that an image is no longer in progress."""
        self._in_progress.pop(image.id, None)

    def postpone(self) -> None:
        """Let images in progress be retried, because they did not cause this end."""
        if self._in_progress:
            self._ledger.postpone(self._in_progress.values())
            self._in_progress.clear()

    def _quarantined(self, images: Sequence[LedgerImage]) -> Generator[list[Prediction]]:
        if images:
            yield [rejected(file, Reading(fingerprint(file), QUARANTINED)) for file in map(self._file, images)]

    def _begin(self, images: Sequence[LedgerImage], stop: Callable[[], bool]) -> Iterator[bytes]:
        """Files of images; each attempt is counted in the ledger before the file is read."""
        size = self._classifier.backend.batch_size
        for first in range(0, len(images), size):
            if stop():
                return
            batch = images[first : first + size]
            self._in_progress.update((image.id, image) for image in batch)
            self._ledger.begin(batch)
            yield from map(self._file, batch)

    def _file(self, image: LedgerImage) -> bytes:
        return os.path.join(self._root, image.path)


def _in_groups(images: Sequence[LedgerImage]) -> list[list[LedgerImage]]:
    """Groups of images in the order in which they are tried.

    Images in progress when a process was killed may be the cause: they go first, one by one, least tried first, so that
    a kill with another cause does not hit the same image each time. Of the others, images that have a row go first, in
    its order: the earlier of two equal ones is the one that counts.
    """
    tried = sorted((image for image in images if 0 < image.attempts < MAX_ATTEMPTS), key=lambda i: i.attempts)
    others = sorted((image for image in images if not image.attempts), key=lambda i: (i.seq is None, i.seq or 0))
    return [*([image] for image in tried), others]
