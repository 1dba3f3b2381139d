"""Several processes of one sweep: how they find each other (Slurm, TPU pods, GKE, or three flags)."""

import contextlib
import os
import pathlib
import re
import socket
import traceback
from collections.abc import Iterator
from importlib import util

import jax
from absl import flags

from launch import command_line
from launch.command_line import UsageError
from rgflow.engine import hosts
from rgflow.schema.files import Unreadable

SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
"""Variables that Slurm sets for every task of srun, and that jax reads."""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags that name a process by hand."""
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, when detection is not wanted", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "how many processes share the sweep", flag_values=values)
    flags.DEFINE_integer("process_id", None, "which of them this is, from 0", flag_values=values)


def by_hand(values: flags.FlagValues) -> dict | None:
    """Returns the three flags as arguments of ``jax.distributed.initialize``, None when none of them is given."""
    given = {name: values[name].value for name in ("coordinator", "num_processes", "process_id")}
    if all(value is None for value in given.values()):
        return None
    for name, value in given.items():
        if value is None:
            raise UsageError(f"--{name} is missing: --coordinator, --num_processes and --process_id go together")
    coordinator, count, process = values.coordinator, values.num_processes, values.process_id
    host, colon, port = coordinator.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise UsageError(f"--coordinator = {coordinator!r}: must be HOST:PORT")
    if count < 1:
        raise UsageError(f"--num_processes = {count}: must be at least 1")
    if not 0 <= process < count:
        raise UsageError(f"--process_id = {process}: must be from 0 to {count - 1}")
    found = {"coordinator_address": coordinator, "num_processes": count, "process_id": process}
    return {**found, "cluster_detection_method": "deactivate"}


def detect(variables: dict[str, str], files: pathlib.Path = pathlib.Path("/dev")) -> str:
    """Returns the kind of cluster that this process runs on: 'slurm', 'tpu' or 'gke'; '' when it is alone.

    A TPU machine with a single host is a cluster too: only its metadata server knows the number of hosts.
    """
    if all(name in variables for name in SLURM) and int(variables["SLURM_NTASKS"]) > 1:
        return "slurm"
    platforms = variables.get("JAX_PLATFORMS") or "tpu"
    tpu = any(files.glob("accel[0-9]*")) or any(files.glob("vfio/[0-9]*"))
    if "tpu" in platforms and util.find_spec("libtpu") is not None and tpu:
        return "tpu"
    if "KUBERNETES_SERVICE_HOST" in variables and "JOB_COMPLETION_INDEX" in variables:
        return "gke"
    return ""


def first_host(nodes: str) -> str:
    """Returns the first name of a list of nodes as Slurm writes it: the host of process 0, as jax takes it.

    >>> first_host("node[001-015],login"), first_host("gpu[3,7]"), first_host("one,two")
    ('node001', 'gpu3', 'one')
    """
    prefix, _, numbers = nodes.partition(",")[0].partition("[")
    return prefix + re.split(r"[,\-\]]", numbers)[0]


def check_host(host: str) -> None:
    """Raises UsageError when the host of process 0 has no address, and Failed when no name service answers.

    jax would wait for five minutes and then abort.
    """
    advice = "every host must know its name, or have JAX_COORDINATOR_ADDRESS=ADDRESS:PORT in the environment"
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:  # may pass
            text = f"{host!r}, the host of process 0: no name service answers ({error.strerror}); {advice}"
            raise command_line.Failed(text, command_line.RESUMABLE) from error
        raise UsageError(f"{host!r}, the host of process 0: no such host ({error.strerror}); {advice}") from error
    except UnicodeError as error:
        raise UsageError(f"{host!r}, the host of process 0: cannot be the name of a host; {advice}") from error


def join(values: flags.FlagValues) -> None:
    """Joins the other processes of the sweep, if there are any; call it before the first use of a device.

    Raises UsageError when the flags contradict each other or the host of process 0 is not known, Failed when the others
    are not found in five minutes.
    """
    arguments, kind = by_hand(values), detect(dict(os.environ))
    if arguments is None and not kind:
        return
    if kind == "gke" and arguments is None and util.find_spec("kubernetes") is None:
        raise UsageError("on Kubernetes the processes find each other through: pip install 'jax[k8s]'")
    address = arguments["coordinator_address"] if arguments else os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    if address:
        check_host(address.rpartition(":")[0].strip("[]"))
    elif kind == "slurm":
        check_host(first_host(os.environ["SLURM_STEP_NODELIST"]))
    # Its own handler of SIGTERM would take the signal from ours, which saves and stops.
    if hasattr(jax.config, "jax_enable_preemption_service"):
        jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**(arguments or {}))
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        # A cluster's scheduler may have lost a machine at the start: worth another try.
        code = command_line.FAILED if arguments else command_line.RESUMABLE
        raise command_line.Failed(f"the processes of the sweep did not find each other: {reason}", code) from error
    one_task_per_node = re.fullmatch(r"1(\(x\d+\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")) is not None
    free = arguments is None and "JAX_LOCAL_DEVICE_IDS" not in os.environ
    if kind == "slurm" and one_task_per_node and free:
        # jax gives every Slurm task one GPU, by its place on the node; a task that has the node to itself takes all.
        for vendor in ("cuda", "rocm"):
            jax.config.update(f"jax_{vendor}_visible_devices", "all")


def start_name() -> dict[str, str]:
    """Returns the name that a batch script gave to this start, as a field of an event; nothing where none did."""
    return {"start": name} if (name := os.environ.get("RGFLOW_START")) else {}


def leave() -> None:
    """Waits for the other processes and disconnects from them; after that every process works alone."""
    if hosts.count() > 1:
        hosts.gather([0])
        jax.distributed.shutdown()


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Ends this process at once when it fails or another one is gone; an orderly exit would wait for the others."""
    try:
        yield
    except (UsageError, Unreadable):
        raise  # every process finds the same fault
    except KeyboardInterrupt:
        if hosts.count() > 1:
            command_line.end_now(command_line.INTERRUPTED)
        raise
    except Exception as error:
        if isinstance(error, hosts.PeerLost) or (hosts.count() > 1 and "Gloo" in str(error)):
            reason = (str(error).splitlines() or [""])[0][:120]
            command_line.complain(f"another process of the sweep is gone ({reason}); start all of them again to go on")
            command_line.end_now(command_line.RESUMABLE)
        if hosts.count() == 1:
            raise
        known = isinstance(error, command_line.Failed)
        command_line.complain(f"error: {error}" if known else traceback.format_exc())
        command_line.end_now(command_line.FAILED_AMONG_OTHERS)
