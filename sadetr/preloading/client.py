"""Stands for ``python`` in the commands of jobs: has the words run by a preloaded process, or by a Python of their own.

    python -I -S client.py -m sadetr train ...

The preloaded process (:mod:`sadetr.preloading.server`) listens at the socket that the variable ``SADETR_PRELOADED``
names. Where there is none, or where it refuses, this program becomes ``python -m sadetr train ...``. Otherwise it hands
over its standard streams, waits, passes signals on, and ends as the job did. If it is killed, so is the job.

Run as a script, before Python knows where packages lie: it imports what starts in a few hundredths of a second.
"""

import array
import os
import resource
import signal
import socket
import sys

VARIABLE = "SADETR_PRELOADED"
ACCEPTED = b"+"
SEPARATOR = b"\0"
PATIENCE = 60.0
"""Seconds after which a process that does not answer, because it still imports or hangs, is not waited for."""
STREAMS = (0, 1, 2)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
BROUGHT = (b"TMPDIR", b"TMP", b"TEMPDIR", b"TEMP", b"PWD", b"OLDPWD", b"SHLVL", b"_")
"""Variables that a job may have a value of its own of; all others must be those that the server was started with."""


def surroundings() -> str:
    """All that decides what a Python does and that a forked process has of its parent, not of whoever asked for it.

    Two processes in which this text is the same start the same program in the same way.
    """
    limits = [name for name in sorted(dir(resource)) if name.startswith("RLIMIT_")]
    facts = {
        "Python": (sys.executable, sys.version),
        "folder": os.getcwd(),
        "users": (os.getresuid(), os.getresgid(), sorted(os.getgroups())),
        "session": (os.getsid(0), os.getpgid(0)),
        "limits": [(name, resource.getrlimit(getattr(resource, name))) for name in limits],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": sorted(os.sched_getaffinity(0)),
        "ignored signals": [signum for signum in FORWARDED if signal.getsignal(signum) == signal.SIG_IGN],
    }
    facts |= {f"${os.fsdecode(key)}": value for key, value in sorted(os.environb.items()) if key not in BROUGHT}
    return "\n".join(f"{name}: {value}" for name, value in facts.items())


def main() -> None:
    """Run the words of the command line."""
    words = sys.argv[1:]
    address = os.environ.get(VARIABLE)
    status = ask(address, words) if address and _has_streams() else None
    if status is None:
        os.execv(sys.executable, [sys.executable, *words])
    end_as(status)


def _has_streams() -> bool:
    """Whether none is closed; a socket would take its place."""
    try:
        for stream in STREAMS:
            os.fstat(stream)
    except OSError:
        return False
    return True


def ask(address: str, words: list[str]) -> int | None:
    """Have ``words`` run at ``address``; returns the exit code, or minus the signal; None if nobody runs them."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    signals = Signals(link)
    try:
        link.settimeout(PATIENCE)
        link.connect(address)
        # A signal must not be passed on in the middle of a request.
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        _send(link, words)
        signals.pass_on()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        accepted = link.recv(1) == ACCEPTED
    except OSError:
        accepted = False
    if not accepted:
        link.close()
        signals.take_back()
        return None
    link.settimeout(None)
    answer = b"".join(iter(lambda: _receive(link), b""))
    if not answer:
        os.write(2, b"error: the preloaded process that ran this job was killed; start the same command again\n")
    return int(answer or -signal.SIGKILL)


class Signals:
    """Signals to this process, which are passed on to whoever runs its job."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._usual = {signum: signal.getsignal(signum) for signum in FORWARDED}
        self._heard: list[int] = []

    def pass_on(self) -> None:
        """From now on; what the job ignores is ignored here too."""
        for signum, handler in self._usual.items():
            if handler != signal.SIG_IGN:
                signal.signal(signum, self._hear)

    def take_back(self) -> None:
        """There is no job: what has come since then means this process."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        for signum, handler in self._usual.items():
            signal.signal(signum, handler)
        for signum in self._heard:
            os.kill(os.getpid(), signum)

    def _hear(self, signum: int, _: object) -> None:
        self._heard.append(signum)
        try:
            self._link.send(bytes([signum]))
        except OSError:
            # The job has ended; how, is read next.
            return


def _send(link: socket.socket, words: list[str]) -> None:
    """A length, then what the server needs to know, separated by what can be part of none of it."""
    umask = os.umask(0)
    os.umask(umask)
    parts = [
        *(os.fsencode(surroundings()), str(umask).encode(), str(len(words)).encode()),
        *map(os.fsencode, words),
        *(b"=".join((name, os.environb[name])) for name in BROUGHT if name in os.environb),
    ]
    message = SEPARATOR.join(parts)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", STREAMS))]
    link.sendmsg([len(message).to_bytes(8, "big")], rights)
    link.sendall(message)


def _receive(link: socket.socket) -> bytes:
    try:
        return link.recv(64)
    except ConnectionResetError:
        return b""


def end_as(status: int) -> None:
    """End as a process with this exit code did, or, below 0, by this signal."""
    if status >= 0:
        os._exit(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)


if __name__ == "__main__":
    main()
