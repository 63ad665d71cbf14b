"""A Slurm cluster of this one machine, for tests: daemons of its own, files in one folder, no accounting.

    python -m tests.slurm.node COMMAND...

runs a command beside such a cluster. Needs root and the programs of PROGRAMS (Debian: slurmctld, slurmd, slurm-client
and munge). Its one GPU is ``/dev/null``: jobs can ask for it, and nobody can compute on it.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
SECONDS = 30
"""Within which the daemons must be there."""
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=100000
GresTypes=gpu
ReturnToService=2
MinJobAge=600
KillWait=3
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""
# The plug-in hides SLURM_CONF from the `srun` within a job; on a cluster the file lies where `srun` looks by itself.
SRUN = """#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""
GRES = "NodeName={host} Name=gpu File=/dev/null\n"


def missing() -> str | None:
    """Why there can be no such cluster here; None if there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"no Slurm here: {', '.join(absent)} not found"
    return None if os.geteuid() == 0 else "only root can start Slurm's daemons"


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Start the daemons, and stop them at the end; yields the environment in which Slurm's commands find them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm_")))
        # Whoever talks to munge must be able to reach its socket.
        folder.chmod(0o755)
        environment = {**os.environ, "PATH": f"{folder}:{_path()}", "SLURM_CONF": str(folder / "slurm.conf")}
        _write(folder)
        munge = ["--key-file", "munge.key", "--socket", "munge.socket", "--log-file", "munge.log"]
        munge += ["--pid-file", "munge.pid", "--seed-file", "munge.seed"]
        munge = [word if word.startswith("--") else str(folder / word) for word in munge]
        commands = [["munged", "--foreground", *munge], ["slurmctld", "-D", "-c"], ["slurmd", "-D"]]
        ready = [
            lambda: (folder / "munge.socket").exists(),
            lambda: "is UP" in _output(environment, "scontrol", "ping"),
            lambda: "idle" in _output(environment, "sinfo", "--noheader", "--format=%t"),
        ]
        for command, started in zip(commands, ready, strict=True):
            stack.enter_context(_daemon(command, environment, folder))
            _wait(started, folder / f"{command[0]}.out")
        try:
            yield environment
        finally:
            subprocess.run(["scancel", "--me", "--full"], env=environment, check=False)
            _wait(lambda: not _output(environment, "squeue", "--noheader"), folder / "slurmctld.out")


def _write(folder: Path) -> None:
    host = socket.gethostname().partition(".")[0]
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    values = {
        "host": host,
        "folder": folder,
        "controller": _free_port(),
        "daemon": _free_port(),
        "cores": os.cpu_count(),
        "srun": shutil.which("srun", path=_path()),
        "memory": pages * page // 2**20 * 9 // 10,
    }
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
    (folder / "gres.conf").write_text(GRES.format(**values))
    (folder / "srun").write_text(SRUN.format(**values))
    (folder / "srun").chmod(0o755)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))


@contextmanager
def _daemon(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with open(folder / f"{command[0]}.out", "wb") as output:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _output(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _wait(reached: Callable[[], bool], output: Path) -> None:
    end = time.monotonic() + SECONDS
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"{output.stem} did not start:\n{output.read_text()}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def main() -> int:
    if reason := missing():
        sys.exit(f"error: {reason}")
    with running() as environment:
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
