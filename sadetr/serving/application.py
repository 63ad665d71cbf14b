"""The page's addresses: what is sent, asked and told."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from sadetr.locating import Located, Predictor
from sadetr.locating.report import mean_inside
from sadetr.serving.limits import Limits, Refusal
from sadetr.serving.page import assets
from sadetr.serving.protection import Protection
from sadetr.serving.reading import Readings
from sadetr.serving.uploads import Failed, Reading, Ready, Upload, Uploads, Waiting

BODY = 1 << 14
"""Bytes of a question at most."""
DRAINED = 10.0
"""Seconds for which the rest of a refused upload is taken: a browser that is cut off shows no reason."""


def make_application(predictor: Predictor, limits: Limits, folder: Path, hosts: Collection[str] = ()) -> Starlette:
    """
    Args:
        predictor: answers.
        limits: of uploads.
        folder: where uploads lie.
        hosts: names that the server may be called by, beside ``localhost`` and addresses.
    """
    service = _Service(predictor, limits, folder)
    pages = [
        Route(path, _fixed(content, kind))
        for path, (content, kind) in assets(predictor.name, predictor.label, limits).items()
    ]
    videos = [
        Route("/videos", service.take, methods=["POST"]),
        Route("/videos/{id}", service.tell, methods=["GET"]),
        Route("/videos/{id}", service.remove, methods=["DELETE"]),
        Route("/videos/{id}/file", service.show, methods=["GET"]),
        Route("/videos/{id}/leaving", service.leave, methods=["POST"]),
        Route("/videos/{id}/sentences", service.answer, methods=["POST"]),
    ]
    return Starlette(
        routes=[*pages, *videos],
        middleware=[Middleware(Protection, hosts=hosts)],
        exception_handlers={Refusal: _refuse},
        lifespan=service.lifespan,
    )


class _Service:
    def __init__(self, predictor: Predictor, limits: Limits, folder: Path):
        self._limits = limits
        self._uploads = Uploads(folder, limits)
        self._readings = Readings(predictor, limits)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self._uploads.expire())
        try:
            yield
        finally:
            task.cancel()
            self._uploads.remove_all()
            self._readings.close()

    async def take(self, request: Request) -> Response:
        """A video: the body is the file, ``?name=`` what it is called."""
        chunks = request.stream()
        try:
            name = request.query_params.get("name", "")
            length = request.headers.get("content-length", "")
            upload = await self._uploads.receive(chunks, name, int(length) if length.isdecimal() else None)
        except Refusal:
            await _drain(chunks, self._limits.upload)
            raise
        except ClientDisconnect:
            return Response(status_code=400)
        self._readings.add(upload)
        return JSONResponse(_as_json(upload), 201)

    async def tell(self, request: Request) -> Response:
        """How far a video is."""
        return JSONResponse(_as_json(self._uploads.get(request.path_params["id"])))

    async def show(self, request: Request) -> Response:
        """The file, or a part of it."""
        upload = self._uploads.get(request.path_params["id"])
        return FileResponse(upload.path, media_type=upload.kind, content_disposition_type="inline")

    async def answer(self, request: Request) -> Response:
        """What ``{"sentence": ...}`` finds."""
        sentence = await _read_sentence(request)
        upload = self._uploads.get(request.path_params["id"])
        return JSONResponse(_found(await self._readings.answer(upload, sentence)))

    async def leave(self, request: Request) -> Response:
        """The page was left or loaded again."""
        self._uploads.leave(request.path_params["id"])
        return Response(status_code=204)

    async def remove(self, request: Request) -> Response:
        """Away with it."""
        self._uploads.remove(request.path_params["id"])
        return Response(status_code=204)


def _fixed(content: str, kind: str) -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _refuse(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    headers = {} if refusal.retry is None else {"Retry-After": str(refusal.retry)}
    return JSONResponse({"error": str(refusal)}, refusal.status, headers)


async def _drain(chunks: AsyncIterator[bytes], most: int) -> None:
    """Take the rest of a body, within limits."""
    size, end = 0, time.monotonic() + DRAINED
    with contextlib.suppress(ClientDisconnect, TimeoutError, StopAsyncIteration):
        while size < most and (left := end - time.monotonic()) > 0:
            size += len(await asyncio.wait_for(anext(chunks), left))


async def _read_sentence(request: Request) -> str:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refusal(415, "a question is sent as application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY:
            raise Refusal(413, f"a question has {BODY:,} bytes at most: say it shorter")
    try:
        sentence = json.loads(body)["sentence"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refusal(422, 'a question is {"sentence": "..."}') from error
    if not isinstance(sentence, str):
        raise Refusal(422, "the sentence must be text")
    return sentence


def _as_json(upload: Upload) -> dict[str, Any]:
    told: dict[str, Any] = {"id": upload.id, "name": upload.name, "type": upload.kind}
    match upload.state:
        case Waiting(before):
            return {**told, "state": "waiting", "before": before}
        case Reading(stream, number, streams, part):
            return {**told, "state": "reading", "stream": stream, "number": number, "streams": streams, "part": part}
        case Ready(features):
            return {**told, "state": "ready", "duration": features.duration, "warnings": list(features.warnings)}
        case Failed(message):
            return {**told, "state": "failed", "error": message}


def _found(located: Located) -> dict[str, Any]:
    """As JSON, with the mean saliency of every window and the seconds between clips."""
    content = located.as_json()
    for window in content["windows"]:
        window["saliency"] = round(mean_inside(located, window["start"], window["end"]), 4)
    return {**content, "edges": located.edges.round(4).tolist()}
