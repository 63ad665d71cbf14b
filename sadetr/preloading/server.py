"""A process that imports what jobs need, once, and forks one process per job.

Started by :mod:`sadetr.preloading.launch`, asked by :mod:`sadetr.preloading.client`. It computes nothing itself, never
looks for a GPU and has one thread, so that a fork is what a fresh Python is after the same imports. What would make a
difference is refused, and the job starts the usual way: other surroundings, or a module that was edited meanwhile.
"""

import atexit
import contextlib
import ctypes
import gc
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sadetr.preloading.client import ACCEPTED, BROUGHT, FORWARDED, SEPARATOR, STREAMS, surroundings
from sadetr.preloading.imports import Imports

PATIENCE = 5.0
"""Seconds that a request may take from its first byte to its last."""
TOGETHER = 1.0
"""Seconds within which a signal to this process and one to a client are taken for one to all of them, as Ctrl-C is."""
PR_SET_PDEATHSIG = 1


@dataclass
class Request:
    """A job: what it is started with."""

    words: list[str]
    """Behind ``python``."""
    surroundings: str
    umask: int
    variables: dict[bytes, bytes]
    streams: list[int]
    """Descriptors of standard input, output and error."""

    @classmethod
    def receive(cls, link: socket.socket) -> "Request":
        """Read what a client sends.

        Raises:
            OSError, ValueError: it sends something else, or not all of it.
        """
        link.settimeout(PATIENCE)
        head, streams, _, _ = socket.recv_fds(link, 8, len(STREAMS))
        try:
            if len(head) < 8 or len(streams) != len(STREAMS):
                raise ValueError("a request begins otherwise")
            length, content = int.from_bytes(head, "big"), b""
            while len(content) < length:
                if not (part := link.recv(min(length - len(content), 2**16))):
                    raise ValueError("a request ends early")
                content += part
            facts, umask, count, *rest = content.split(SEPARATOR)
            words, variables = rest[: int(count)], rest[int(count) :]
            named = dict(variable.split(b"=", 1) for variable in variables)
            return cls([os.fsdecode(word) for word in words], os.fsdecode(facts), int(umask), named, streams)
        except (OSError, ValueError):
            _close(streams)
            raise


class Server:
    """Accepts requests, forks, passes signals on, and tells clients how their jobs ended."""

    def __init__(self, listener: socket.socket, starter: int, imports: Imports, facts: str) -> None:
        """Serve ``listener`` until ``starter`` can be read: the other end of that pipe was closed by whoever died.

        ``facts`` are the surroundings that this process was started in.
        """
        self._listener = listener
        self._imports = imports
        self._surroundings = facts
        self._jobs: dict[int, socket.socket] = {}
        self._heard: dict[int, float] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for source in (listener, starter, self._woken):
            self._selector.register(source, selectors.EVENT_READ)
        self._starter = starter
        self._handlers = {signum: signal.getsignal(signum) for signum in (*FORWARDED, signal.SIGCHLD)}

    def serve(self) -> Request | None:
        """Run jobs until nobody can ask and all have ended.

        Returns:
            None; and in each forked process the request that it is to run.
        """
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for signum, handler in self._handlers.items():
            if handler != signal.SIG_IGN:
                signal.signal(signum, self._hear)
        listening = True
        while listening or self._jobs:
            ready = {key.fileobj for key, _ in self._selector.select()}
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._reap()
            for link in ready & set(self._jobs.values()):
                self._listen(link)
            if listening and (self._starter in ready or signal.SIGTERM in self._heard):
                listening = False
                self._selector.unregister(self._listener)
                self._selector.unregister(self._starter)
                self._listener.close()
            elif listening and self._listener in ready and (request := self._accept()):
                return request
        return None

    def _hear(self, signum: int, _: object) -> None:
        self._heard[signum] = time.monotonic()

    def _accept(self) -> Request | None:
        """Fork for the next client; returns its request in the forked process alone."""
        try:
            link, _ = self._listener.accept()
        except OSError:
            # Whoever asked is gone.
            return None
        try:
            request = Request.receive(link)
        except (OSError, ValueError) as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            link.close()
            return None
        link.setblocking(False)
        try:
            if reason := _gone(link) or self._refusal(request):
                print(f"refused: {' '.join(request.words)}: {reason}", file=sys.stderr, flush=True)
                link.close()
                return None
            parent = os.getpid()
            # A signal between the fork and the job's own handlers would be heard by nobody.
            signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
            if not (pid := os.fork()):
                link.close()
                self._become(request, parent)
                return request
        except OSError as error:
            print(f"refused: {' '.join(request.words)}: {error}", file=sys.stderr, flush=True)
            link.close()
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
            _close(request.streams)
        print(f"{pid}: {' '.join(request.words)}", file=sys.stderr, flush=True)
        self._jobs[pid] = link
        self._selector.register(link, selectors.EVENT_READ)
        with contextlib.suppress(OSError):
            link.send(ACCEPTED)
        return None

    def _refusal(self, request: Request) -> str | None:
        """Why a fresh Python would not do what a fork does."""
        if request.words[:1] != ["-m"] or len(request.words) < 2:
            return "not a module"
        if request.surroundings != self._surroundings:
            differing = set(request.surroundings.splitlines()) ^ set(self._surroundings.splitlines())
            return "another " + ", ".join(sorted({fact.partition(":")[0] for fact in differing}))
        if changed := self._imports.changed():
            return f"{changed} was changed"
        return None

    def _become(self, request: Request, parent: int) -> None:
        """Make this forked process what a fresh one would be; ``parent`` is the server."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._selector.close()
        _close([self._woken, self._waker])
        for link in (self._listener, *self._jobs.values()):
            link.close()
        for stream, descriptor in zip(STREAMS, request.streams, strict=True):
            os.dup2(descriptor, stream)
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
        os.umask(request.umask)
        for name in BROUGHT:
            os.environb.pop(name, None)
        os.environb.update(request.variables)
        # Chosen again, by the variables of the job.
        tempfile.tempdir = None

    def _listen(self, link: socket.socket) -> None:
        """Pass signals on; a client that is gone was killed."""
        (pid,) = (pid for pid, each in self._jobs.items() if each is link)
        try:
            signals = link.recv(64)
        except OSError:
            signals = b""
        if not signals:
            self._selector.unregister(link)
            os.kill(pid, signal.SIGKILL)
        for signum in signals:
            # What went to all of a group has reached the job already.
            if time.monotonic() - self._heard.get(signum, -TOGETHER) >= TOGETHER:
                os.kill(pid, signum)

    def _reap(self) -> None:
        while self._jobs:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            link = self._jobs.pop(pid)
            with contextlib.suppress(KeyError):
                self._selector.unregister(link)
            with contextlib.suppress(OSError):
                link.send(str(os.waitstatus_to_exitcode(status)).encode())
            link.close()


def _gone(link: socket.socket) -> str | None:
    """Says so where the client does not wait any more; it will have started its job itself."""
    try:
        return None if link.recv(1, socket.MSG_PEEK) else "gave up waiting"
    except BlockingIOError:
        return None
    except OSError as error:
        return str(error)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Ending:
    """Lets a job end after all its exit functions, without taking apart what was imported.

    Python would look at every imported object, which costs a forked process a copy of its memory: half a second.
    """

    def __init__(self) -> None:
        """To be made before anything else registers an exit function: the first one is called last."""
        self._status: int | None = None
        atexit.register(self._leave)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """The block is the job. How it ends is noted; with an exception other than SystemExit, Python ends it."""
        try:
            yield
            self._status = 0
        except SystemExit as error:
            if error.code is None or isinstance(error.code, int):
                self._status = (error.code or 0) & 0xFF
            raise

    def _leave(self) -> None:
        if self._status is None:
            return
        # A stream that cannot be written is for Python to report.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self._status)


def serve(descriptor: int, modules: Iterable[str]) -> None:
    """Import modules, then run jobs for whoever asks, until standard input ends.

    Who asks while they are imported waits: that is no longer than importing them once more.

    Args:
        descriptor: of a socket that listens; its folder is removed in the end.
        modules: names of what jobs import.
    """
    ending = Ending()
    # Before the imports, which set variables of their own: so they do in every job.
    facts = surroundings()
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    folder = Path(listener.getsockname()).parent
    imports = Imports(modules)
    request = None
    if threads := len(os.listdir("/proc/self/task")) - 1:
        print(f"nothing is preloaded: the imports started {threads} threads", file=sys.stderr, flush=True)
    else:
        # What is imported stays: looking through it for garbage would copy its memory in every job.
        gc.collect()
        gc.freeze()
        print(f"{len(sys.modules)} modules imported in {time.process_time():.1f} s", file=sys.stderr, flush=True)
        request = Server(listener, 0, imports, facts).serve()
    if request is not None:
        sys.argv = request.words[1:]
        with ending.noted():
            runpy.run_module(request.words[1], run_name="__main__", alter_sys=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
