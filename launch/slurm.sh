#!/usr/bin/env bash
# Runs rgflow sweeps under Slurm. Submit it from the root of the source tree.
#
# One sweep over all nodes of a job:
#
#   sbatch --nodes=2 --gpus-per-node=8 --cpus-per-task=64 --time=12:00:00 \
#       launch/slurm.sh --config=configs/rank_flow.py:paper --workdir=/shared/paper
#
# One independent sweep per array task, at most four at a time; line k of the file holds the flags of sweep k, quoted as
# in a shell (nothing is expanded or executed); blank lines and lines that begin with # do not count:
#
#   sbatch --array=1-8%4 --gpus-per-node=1 --time=12:00:00 launch/slurm.sh sweeps.txt
#
# The workdir must lie on a file system that all nodes share; the default, checkpoints/..., is below the folder of
# submission. Two sweeps must not share a workdir. The same sbatch command given again resumes.
#
# Environment (sbatch hands it on):
#   RGFLOW_PYTHON        interpreter, the same path on every node; default .venv/bin/python below the folder of
#                        submission, else python3
#   RGFLOW_REQUEUE       0: do not put a stopped sweep back into the queue
#   RGFLOW_MAX_RESTARTS  how often at most a job is put back, default 100
#
# To stop a sweep with a checkpoint, and for good: scontrol update JobId=ID Requeue=0; scancel --signal=TERM ID
# To stop it with a checkpoint and let it go on later:                            scancel --signal=TERM ID
# A plain scancel also reaches this script, which then puts nothing back into the queue.
#
# Exit codes are those of the sweep: 0 done, 2 bad usage or config, 75 stopped and resumable, 1 anything else.

#SBATCH --job-name=rgflow
#SBATCH --nodes=1

# One task per node, and all GPUs of the node belong to it: one JAX process drives all devices of its host, so there is
# one program, one share of the checkpoint and one writer of records per node instead of eight.
#SBATCH --ntasks-per-node=1

# Three minutes before the time limit every process of the sweep gets SIGTERM: it finishes the running chunk, saves and
# exits 75. Give more time (sbatch --signal=TERM@600) when a chunk and a checkpoint together take longer. Without "B:"
# the signal goes to the job step, which is the sweep; with "B:" it would go to this shell alone, and the sweep would
# never hear of it.
#SBATCH --signal=TERM@180

# The job may be put back into the queue: by this script after exit code 75, by Slurm itself when a node fails or the job
# is preempted. It then starts again from the top, under the same job id, and its log goes on where it ended.
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail

readonly BAD_USAGE=2 RESUMABLE=75

usage() {
  cat >&2 <<'TEXT'
usage: sbatch [sbatch options] launch/slurm.sh --config=FILE[:PRESET] [--workdir=DIR] [--config.KEY=VALUE ...]
       sbatch [sbatch options] --array=1-8%4 launch/slurm.sh SWEEPS.txt    (line k: the flags of sweep k)
TEXT
  exit "$BAD_USAGE"
}

refuse() {
  echo "error: $1" >&2
  exit "$BAD_USAGE"
}

if [[ -z ${SLURM_JOB_ID:-} ]]; then
  echo "error: not inside a Slurm job; submit this script with sbatch" >&2
  usage
fi
(($# > 0)) || usage

# sbatch runs a copy of this file from its spool folder, so the source tree is known only from where it was submitted.
cd "${SLURM_SUBMIT_DIR:-.}"

python=${RGFLOW_PYTHON:-}
if [[ -z $python ]]; then
  python=python3
  [[ ! -x .venv/bin/python ]] || python=$PWD/.venv/bin/python
fi

# --- which flags -------------------------------------------------------------------------------------------------------

# Prints the words of sweep number $2 in file $1, each followed by a NUL. shlex splits as a shell does and runs nothing.
words_of_sweep() {
  "$python" -c '
import shlex, sys

path, number = sys.argv[1], int(sys.argv[2])
try:
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    sweeps = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= number <= len(sweeps):
        sys.exit(f"error: {path}: no sweep {number}, the file holds {len(sweeps)}")
    words = shlex.split(sweeps[number - 1])
except (OSError, ValueError) as error:
    sys.exit(f"error: {path}: sweep {number}: {error}")
sys.stdout.write("".join(word + "\0" for word in words))
' "$1" "$2"
}

if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
  # Flags instead of a file would start the same sweep in the same workdir once per array task.
  [[ $# -eq 1 && $1 != -* ]] || refuse "a job array takes one file with the flags of one sweep per line"
  mapfile -d '' -t flags < <(words_of_sweep "$1" "$SLURM_ARRAY_TASK_ID")
  wait "$!" || exit "$BAD_USAGE" # the status of the process substitution
  job=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID} # SLURM_JOB_ID alone can name the whole array
else
  [[ $1 == -* ]] || refuse "'$1': not a flag; a file of sweeps needs sbatch --array"
  flags=("$@")
  job=$SLURM_JOB_ID
fi

# --- the sweep ---------------------------------------------------------------------------------------------------------

nodes=${SLURM_JOB_NUM_NODES:-1}
step=(
  srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1
  # Since Slurm 22.05 a step does not inherit the CPUs per task of its job.
  ${SLURM_CPUS_PER_TASK:+"--cpus-per-task=$SLURM_CPUS_PER_TASK"}
  # A process whose peer is gone notices it, and stops with 75. Slurm must not help: --kill-on-bad-exit=1 sends SIGKILL
  # to all others as soon as the first process has stopped with 75, and srun then returns 137, so a sweep that stopped as
  # it should would not be put back. Half an hour after the first process has ended, srun ends any that hang; the report
  # that the first process writes at the end takes less.
  --kill-on-bad-exit=0 --wait=1800
)

# The processes speak to each other only; a web proxy in the environment can make their first contact hang.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export PYTHONUNBUFFERED=1

# This shell gets SIGTERM when the whole job is to end: scancel, preemption, or the time limit itself. Slurm signals the
# sweep at the same time; forwarding to srun would only make it kill the sweep at once. bash runs the trap after srun has
# returned, so the sweep has the time that the cluster grants (KillWait, 30 s by default) to save.
ended=
trap 'ended=yes' TERM

echo "rgflow: job $job on $nodes node(s), start $((${SLURM_RESTART_COUNT:-0} + 1)): ${flags[*]}"
code=0
# No shell around the interpreter: Slurm signals the first process of a task, not its children.
"${step[@]}" "$python" -m launch.sweep "${flags[@]}" || code=$?

# --- afterwards --------------------------------------------------------------------------------------------------------

if ((code == RESUMABLE)); then
  if [[ -n $ended ]]; then
    echo "rgflow: job $job was ended from outside; the same sbatch command resumes"
  elif [[ ${RGFLOW_REQUEUE:-1} == 0 ]]; then
    echo "rgflow: stopped; RGFLOW_REQUEUE=0, so the same sbatch command resumes"
  elif ((${SLURM_RESTART_COUNT:-0} >= ${RGFLOW_MAX_RESTARTS:-100})); then
    echo "rgflow: stopped; already started again ${SLURM_RESTART_COUNT:-0} times, so the same sbatch command resumes"
  elif scontrol requeue "$job"; then
    echo "rgflow: stopped; job $job is back in the queue"
  else
    echo "rgflow: stopped; Slurm did not take job $job back, so the same sbatch command resumes" >&2
  fi
fi
exit "$code"
