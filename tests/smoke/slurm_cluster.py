"""A real Slurm on one machine: slurmctld, and a slurmd for each node, with eight empty files for GPUs.

It needs the package slurm-wlm (slurmd must know -N) and nothing else: no munge, no cgroup, no database, no systemd. All
of its files lie in one folder.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import time

HERE = socket.gethostname().partition(".")[0]
NODES = (HERE, f"{HERE}-2")
"""The first in the alphabet is the host of process 0 and must have an address."""

UNKNOWN = ("nowhere-1", "nowhere-2")
"""Nodes of the partition "unknown", whose names have no address."""

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel", "srun")

CONF = """\
ClusterName=rgflowtest
SlurmctldHost={here}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPort={port}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=2
ReturnToService=2
KillWait=30
SlurmdParameters=config_overrides
GresTypes=gpu
PartitionName=all Nodes={nodes} Default=YES MaxTime=INFINITE State=UP
PartitionName=unknown Nodes={unknown} MaxTime=INFINITE State=UP
"""
NODE = "NodeName={} NodeHostname={} NodeAddr=127.0.0.1 Port={} CPUs=64 RealMemory=8000 Gres=gpu:8\n"


class Unavailable(Exception):
    """This machine cannot run a Slurm; the text says why."""


def free_ports(count):
    """Returns ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def end_with_parent():
    """Has this process get SIGTERM when the one that started it ends, even by SIGKILL (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Slurm:
    """A running Slurm; ``folder`` holds its files and those of its jobs."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "RGFLOW_"))}
        self.environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        self.daemons = []

    def program(self, name):
        return shutil.which(name, path=self.environment["PATH"])

    def start(self, seconds=30):
        """Starts the daemons and waits until all nodes are idle; raises Unavailable when they do not become so."""
        missing = [name for name in PROGRAMS if not self.program(name)]
        if missing:
            raise Unavailable(f"no {', '.join(missing)} on PATH: install slurm-wlm")
        every = (*NODES, *UNKNOWN)
        for name in ("state", "log", "run", "dev", *(f"spool-{node}" for node in every)):
            (self.folder / name).mkdir()
        for k in range(8):
            (self.folder / "dev" / f"gpu{k}").touch()
        port, *ports = free_ports(1 + len(every))
        facts = {"here": HERE, "user": os.getuid(), "folder": self.folder, "port": port}
        conf = CONF.format(nodes=",".join(NODES), unknown=",".join(UNKNOWN), **facts)
        conf += "".join(NODE.format(node, HERE, port) for node, port in zip(every, ports, strict=True))
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "gres.conf").write_text(f"NodeName={','.join(every)} Name=gpu File={self.folder}/dev/gpu[0-7]\n")
        self._daemon("slurmctld", "-D")
        for node in every:
            self._daemon("slurmd", "-N", node, "-D")
        deadline = time.monotonic() + seconds
        while self.call("sinfo", "--noheader", "--Node", "--format=%T").split() != ["idle"] * len(every):
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in self.daemons):
                raise Unavailable(f"the daemons of Slurm did not start: {self._complaint()}")
            time.sleep(0.2)

    def _daemon(self, *words):
        with open(self.folder / "log" / f"{len(self.daemons)}.out", "w") as log:
            how = {"env": self.environment, "stdout": log, "stderr": log, "preexec_fn": end_with_parent}
            self.daemons.append(subprocess.Popen([self.program(words[0]), *words[1:]], **how))

    def _complaint(self):
        lines = [line for log in (self.folder / "log").iterdir() for line in log.read_text().splitlines()]
        return next(
            (line for line in lines if re.search(r"fatal|error", line) and "pmix" not in line), "no reason given"
        )

    def stop(self):
        """Cancels every job, waits for the end of their processes, and ends the daemons."""
        if self.daemons:
            self.call("scancel", "--full", "--signal=KILL", f"--user={os.getuid()}")
            self.call("scancel", f"--user={os.getuid()}")
            with contextlib.suppress(AssertionError):
                self.wait(lambda: not self.call("squeue", "--noheader"), 60)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def call(self, *words, cwd=None, **variables):
        """Runs a client and returns what it printed, errors included."""
        ended = subprocess.run(
            words,
            env=self.environment | variables,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return ended.stdout.strip()

    def wait(self, condition, seconds=300):
        """Waits until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.call("squeue", "--all", "--long")
            time.sleep(0.2)
