"""Features of uploaded videos, one video at a time, and answers: what computes, beside the loop that serves."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from sadetr.errors import DataError, SadetrError
from sadetr.locating import Located, Predictor
from sadetr.locating.cache import VideoFeatures
from sadetr.serving.isolation import IsolatedDecoding
from sadetr.serving.limits import SENTENCE, WAITING_SENTENCES, Limits, Refusal
from sadetr.serving.uploads import Failed, Reading, Ready, Upload, Waiting

LOG = logging.getLogger(__name__)
DEFECT = "this is a fault of the server, which its log tells more about"


class Readings:
    """A queue of videos and one of sentences, each with a thread: while one video is read, others are asked about."""

    def __init__(self, predictor: Predictor, limits: Limits):
        self._predictor = predictor
        self._limits = limits
        self._reader = ThreadPoolExecutor(1, "read")
        self._answerer = ThreadPoolExecutor(1, "answer")
        self._queue: list[Upload] = []
        self._asked = 0

    def add(self, upload: Upload) -> None:
        """Queue a video."""
        self._queue.append(upload)
        self._count()
        job = asyncio.get_running_loop().run_in_executor(self._reader, self._read, upload)

        def leave(_: object = None) -> None:
            if upload in self._queue:
                self._queue.remove(upload)
                self._count()

        # A removed one leaves at once, for its turn may be far.
        upload.on_removal.append(leave)
        job.add_done_callback(leave)

    async def answer(self, upload: Upload, sentence: str) -> Located:
        """Find what a sentence says.

        Raises:
            Refusal: it is blank or too long, the video is not ready, or too many sentences wait.
        """
        if not sentence.strip():
            raise Refusal(422, "the sentence is blank: say what is to be found")
        if len(sentence) > SENTENCE:
            raise Refusal(422, f"the sentence is longer than {SENTENCE} characters: say it shorter")
        state = upload.state
        if not isinstance(state, Ready):
            raise Refusal(409, f"{upload.name}: is not read yet; ask again when it is", 5)
        if self._asked >= WAITING_SENTENCES:
            raise Refusal(503, "too many sentences are waiting for an answer; ask again in a moment", 2)
        self._asked += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._answerer, self._answer, upload.name, state.features, sentence)
        finally:
            self._asked -= 1

    def close(self) -> None:
        """Wait for what is computing; what was queued is dropped."""
        for executor in (self._reader, self._answerer):
            executor.shutdown(cancel_futures=True)

    def _count(self) -> None:
        for place, upload in enumerate(self._queue):
            if isinstance(upload.state, Waiting):
                upload.state = Waiting(place)

    def _answer(self, name: str, features: VideoFeatures, sentence: str) -> Located:
        (located,) = self._predictor.answer(name, features, [sentence.strip()])
        return located

    def _read(self, upload: Upload) -> None:
        if upload.removed:
            return
        try:
            state = Ready(self._features(upload))
        except SadetrError as error:
            # The stored file's name says nothing to the visitor.
            state = Failed(str(error).replace(str(upload.path), upload.name))
        except Exception:
            LOG.exception("%s: its features cannot be made", upload.id)
            state = Failed(f"{upload.name}: cannot be read: {DEFECT}")
        if not upload.removed:
            upload.state = state

    def _features(self, upload: Upload) -> VideoFeatures:
        streams = self._predictor.streams

        def progress(number: int, part: float | None) -> None:
            if not upload.removed:
                upload.state = Reading(streams[number - 1], number, len(streams), part)

        progress(1, None)
        with IsolatedDecoding(upload.path, self._limits, progress) as decoding:
            upload.on_removal.append(decoding.stop)
            if upload.removed:
                raise DataError("removed")
            return self._predictor.features(upload.path, decoding.decoder)
