"""A Slurm of two virtual nodes on this machine, for tests that need a real one."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIG = Path("/etc/slurm/slurm.conf")  # job steps strip SLURM_CONF, so it must be here
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")

TEXT = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={work}/munge.socket
StateSaveLocation={work}/state
SlurmdSpoolDir={work}/spool-%n
SlurmdPidFile={work}/slurmd-%n.pid
SlurmctldPidFile={work}/slurmctld.pid
SlurmdLogFile={work}/slurmd-%n.log
SlurmctldLogFile={work}/slurmctld.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
MinJobAge=36000
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=64000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=64000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=2
"""


def lacking() -> str:
    """Why there can be no Slurm here; empty if there can."""
    if missing := [name for name in DAEMONS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]:
        return f"{', '.join(missing)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid() != 0:
        return "starting Slurm's daemons takes root"
    return f"{CONFIG} is there: this machine has a Slurm of its own" if CONFIG.exists() else ""


@contextmanager
def two_nodes(work: Path) -> Iterator[None]:
    """Starts the daemons, and ends them and takes the configuration away in any case."""
    (work / "state").mkdir(parents=True)
    (work / "munge.key").write_bytes(secrets.token_bytes(1024))
    (work / "munge.key").chmod(0o400)
    ports = dict(zip(("port", "n1", "n2"), _free_ports(3), strict=True))
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(TEXT.format(host=socket.gethostname().split(".")[0], work=work, **ports))
    files = {"--key-file": "munge.key", "--socket": "munge.socket", "--pid-file": "munge.pid",
             "--log-file": "munge.log", "--seed-file": "munge.seed"}  # fmt: skip
    munge = ["munged", "--force", "--foreground", *(f"{option}={work / name}" for option, name in files.items())]
    daemons = [munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]]
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number, words in enumerate(daemons):
            with (work / f"daemon{number}.txt").open("wb") as out:
                running.append(subprocess.Popen(words, env=environment, stdout=out, stderr=out))
            time.sleep(1)
        _wait_for_nodes(work)
        yield
    finally:
        CONFIG.unlink()
        for daemon in reversed(running):
            daemon.terminate()
        for daemon in running:
            daemon.wait(timeout=30)


def submit(script: Path, *options: str) -> str:
    """Number of the job that a batch script becomes."""
    words = ["sbatch", "--parsable", *options, str(script)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def job(number: str) -> dict[str, str]:
    """What Slurm says of a job: ``JobState``, ``Restarts`` and so on."""
    shown = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", number], check=True, capture_output=True, text=True
    )
    return dict(word.split("=", 1) for word in shown.stdout.split() if "=" in word)


def wait_for(happens: Callable[[], bool], seconds: float = 300) -> None:
    """Returns when it does.

    Raises:
        TimeoutError: it does not.
    """
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.5)


def _wait_for_nodes(work: Path) -> None:
    for _ in range(60):
        found = subprocess.run(["sinfo", "-h", "-t", "idle", "-o", "%D"], capture_output=True, text=True)
        if found.stdout.strip() == "2":
            return
        time.sleep(1)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(work.glob("*.log")))
    raise RuntimeError(f"two nodes did not come up: {found.stdout}{found.stderr}\n{logs}")


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
