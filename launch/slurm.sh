#!/usr/bin/env bash
# Runs rgflow sweeps under Slurm. Submit it from the root of the source tree; from elsewhere it is refused.
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
#   RGFLOW_WARNING       how many seconds before the time limit a sweep is told to stop, default 180; at most a quarter of
#                        the limit. It must be enough for a chunk and a checkpoint.
#   RGFLOW_REQUEUE       0: do not put a stopped sweep back into the queue
#   RGFLOW_MAX_RESTARTS  how often at most a job is put back, default 100
#
# A sweep is told to stop three minutes before the time limit, or when three quarters of a short limit have passed. It
# then goes back into the queue, and so does a sweep that has lost one of its processes, until it is done or two starts in
# a row have left no new record and no new checkpoint.
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
  echo "error: $*" >&2
  exit "$BAD_USAGE"
}

if [[ -z ${SLURM_JOB_ID:-} ]]; then
  echo "error: not inside a Slurm job; submit this script with sbatch" >&2
  usage
fi
(($# > 0)) || usage

# sbatch runs a copy of this file from its spool folder, so the source tree is known only from where it was submitted.
cd "${SLURM_SUBMIT_DIR:-.}"
if [[ ! -f launch/sweep.py ]]; then
  tree=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|^ *Command=\(/.*\)/launch/slurm\.sh.*|\1|p' | head -n 1) || tree=''
  refuse "submitted from '$PWD', which is not the root of the source tree; type: cd $(printf '%q' "${tree:-SOURCE_TREE}")" \
    "&& sbatch [the same options] launch/slurm.sh$(printf ' %q' "$@")"
fi

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

# --- the warning -------------------------------------------------------------------------------------------------------

# Prints how many seconds the job has left, nothing where it has no end or Slurm does not say.
seconds_left() {
  local text
  text=$(squeue --noheader --job="$job" --format=%L) || return 0
  [[ $text =~ ^((([0-9]+)-)?([0-9]+):)?([0-9]+):([0-9]+)$ ]] || return 0
  local days=${BASH_REMATCH[3]:-0} hours=${BASH_REMATCH[4]:-0} minutes=${BASH_REMATCH[5]} seconds=${BASH_REMATCH[6]}
  echo $((((10#$days * 24 + 10#$hours) * 60 + 10#$minutes) * 60 + 10#$seconds))
}

# Sends SIGTERM to every process of the sweep, in time before the job ends: it finishes the running chunk, saves and exits
# 75. Slurm's own --signal does this up to a minute early, so that of a limit of minutes nothing is left to compile in.
warn() {
  local left warning=${RGFLOW_WARNING:-180}
  left=$(seconds_left)
  [[ -n $left ]] || return 0
  ((warning * 4 <= left)) || warning=$((left / 4))
  while ((left > warning)); do # asked again: the limit may have been changed
    sleep $((left - warning))
    left=$(seconds_left)
    [[ -n $left ]] || return 0
  done
  # In the log first: a sweep that does not come to the end of its chunk is killed with this shell, and nothing says why.
  echo "rgflow: $left s of the time limit are left, the sweep is told to save; if the job ends as TIMEOUT, its compilation" \
    "and one chunk take longer than its limit leaves room for: sbatch --time gives more"
  scancel --signal=TERM "$job" >/dev/null 2>&1 # to the steps, not to this shell
}

# --- the start ---------------------------------------------------------------------------------------------------------

# This shell gets SIGTERM when the whole job is to end: scancel, preemption, or the time limit itself. Slurm signals the
# sweep at the same time. bash runs the trap after srun has returned, so the sweep has the time that the cluster grants
# (KillWait, 30 s by default) to save.
ended=
trap 'ended=yes' TERM

restarts=${SLURM_RESTART_COUNT:-0}
export RGFLOW_START=$job.$restarts
echo "rgflow: job $job on $nodes node(s), start $((restarts + 1)): ${flags[*]}"
set -m # in a process group of its own, so that its sleep ends with it
warn </dev/null 2>/dev/null &
warner=$!
set +m
code=0
# No shell around the interpreter: Slurm signals the first process of a task, not its children.
"${step[@]}" "$python" -m launch.sweep "${flags[@]}" || code=$?
kill -- "-$warner" 2>/dev/null || true

# --- afterwards --------------------------------------------------------------------------------------------------------

# srun returns the largest code. A process that is killed alone has 137; the others end with 75, or jax aborts them (134).
# One that is told to stop before it can listen has 143.
case $code in
  134 | 137) ((nodes == 1)) || code=$RESUMABLE ;;
  143) code=$RESUMABLE ;;
esac

# A sweep that its warning came too late for, and that has saved after the time limit all the same, goes on.
if [[ -n $ended && $(squeue --noheader --job="$job" --format=%r 2>/dev/null) == TimeLimit ]]; then
  ended=
fi

if ((code == RESUMABLE)); then
  stopped="rgflow: stopped after $SECONDS s;"
  resume="so the same sbatch command resumes"
  if [[ -n $ended ]]; then
    echo "rgflow: job $job was ended from outside; the same sbatch command resumes"
  elif [[ ${RGFLOW_REQUEUE:-1} == 0 ]]; then
    echo "$stopped RGFLOW_REQUEUE=0, $resume"
  elif ((restarts >= ${RGFLOW_MAX_RESTARTS:-100})); then
    echo "$stopped already started again $restarts times, $resume"
  elif ! "$python" -c 'import sys; from launch import requeue; sys.exit(requeue.main(sys.argv[1:]))' \
    "$RGFLOW_START" "${flags[@]}"; then
    echo "$stopped job $job does not go back into the queue; with what it lacked (see above; more time: sbatch --time)" \
      "the same sbatch command resumes"
  elif scontrol requeue "$job"; then
    echo "$stopped job $job is back in the queue"
  else
    echo "$stopped Slurm did not take job $job back, $resume" >&2
  fi
fi
exit "$code"
