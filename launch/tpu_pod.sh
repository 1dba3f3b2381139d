#!/usr/bin/env bash
# Runs one rgflow sweep on every worker of a Cloud TPU slice, from a machine with gcloud. Runs from any folder:
#
#   launch/tpu_pod.sh TPU_NAME ZONE --config=configs/rank_flow.py:paper --workdir=/mnt/shared/paper [--config.KEY=VALUE ...]
#
# Needed before: the slice exists (gcloud compute tpus tpu-vm create), `ssh-add ~/.ssh/google_compute_engine` has been
# called (gcloud reaches several workers only through an ssh agent), and all workers have mounted one shared file system,
# such as Filestore or another NFS, that holds the workdir. A bucket will not do: finished records get their names by a
# rename, which gs:// does not have, and the workers' own disks will not do either: each has its own.
#
# Environment:
#   RGFLOW_PROJECT       Google Cloud project, if not gcloud's default
#   RGFLOW_SKIP_SETUP    1: use the virtual environment that an earlier call has made (the source is copied all the same)
#   RGFLOW_MAX_RESTARTS  how often at most the sweep is started again, default 100
#   RGFLOW_RESTART_WAIT  seconds before it is started again, default 30
#
# The sweep is started again after exit code 75 (a worker was told to stop, or lost a peer) and after 255 (connection
# lost), until it is done or two starts in a row have left no new record and no new checkpoint. Ctrl-C or SIGTERM stops
# it on all workers with a checkpoint; the same command resumes.
#
# Exit codes are those of the sweep: 0 done, 2 bad usage or config, 75 stopped and resumable, 1 anything else (a slice
# that is gone among them); 255 is a lost connection. When workers differ, gcloud gives the first one that is not 0.

set -euo pipefail

readonly BAD_USAGE=2 RESUMABLE=75 CONNECTION_LOST=255
readonly FOLDER=rgflow # on the workers, below the home folder

source_tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tpu='' zone='' flags=()
signals=0 # how many SIGINT and SIGTERM this script has got
job=''    # process group of the gcloud that runs the sweep
archive=''
worker=all # those that gcloud calls

refuse() {
  echo "error: $1" >&2
  exit "$BAD_USAGE"
}

# Sets tpu, zone and flags; refuses what cannot work before anything is copied.
check_arguments() {
  if (($# < 3)) || [[ $1 == -* || $2 == -* ]]; then
    echo "usage: launch/tpu_pod.sh TPU_NAME ZONE --config=FILE[:PRESET] --workdir=/SHARED/DIR [--config.KEY=VALUE ...]" >&2
    exit "$BAD_USAGE"
  fi
  tpu=$1 zone=$2
  shift 2
  flags=("$@")
  local workdir=''
  while (($# > 0)); do
    case $1 in
      --workdir=* | -workdir=*) workdir=${1#*=} ;;
      --workdir | -workdir) workdir=${2:-} ;;
    esac
    shift
  done
  case $workdir in
    '') refuse "--workdir is missing: give a folder that all workers share; their home folders are not shared" ;;
    gs://*) refuse "--workdir = '$workdir': a bucket cannot rename files; mount Filestore or another NFS on all workers" ;;
    /*) ;;
    *) refuse "--workdir = '$workdir': give an absolute path of a file system that all workers share" ;;
  esac
}

# gcloud compute tpus tpu-vm $1, with the flags that every call has after the others, on the workers of $worker.
tpu_vm() {
  gcloud compute tpus tpu-vm "$@" --zone="$zone" --worker="$worker" ${RGFLOW_PROJECT:+"--project=$RGFLOW_PROJECT"}
}

# Runs a shell command on every worker at the same time.
on_all_workers() {
  tpu_vm ssh "$tpu" --command="$1"
}

# Packs the source without history, results and environments, and unpacks it on every worker.
copy_source() {
  archive=$(mktemp "${TMPDIR:-/tmp}/rgflow-source.XXXXXX")
  COPYFILE_DISABLE=1 tar -czf "$archive" -C "$source_tree" --exclude=./.git --exclude=./checkpoints \
    --exclude='./.venv*' --exclude=__pycache__ --exclude='.*_cache' .
  tpu_vm scp "$archive" "$tpu:$FOLDER.tgz"
  on_all_workers "mkdir -p $FOLDER && tar -xzf $FOLDER.tgz -C $FOLDER"
}

# Makes the virtual environment. The TPU images can have a Python that is too old; uv then brings one of its own.
install_package() {
  # shellcheck disable=SC2016 # expanded on the workers
  on_all_workers "cd $FOLDER"' || exit 1
    for python in python3.13 python3.12 python3.11 none; do
      [ -x .venv/bin/python ] && break
      [ "$python" = none ] || "$python" -m venv .venv 2>/dev/null || rm -rf .venv
    done
    if [ ! -x .venv/bin/python ]; then
      python3 -m pip install --quiet --user uv && python3 -m uv venv --seed --python 3.12 .venv || exit 1
    fi
    .venv/bin/python -m pip install --quiet -e ".[tpu]"'
}

# Prints what every worker runs; $1 names this start.
#
# A sweep outlives its connection. Therefore a worker first stops a sweep that an earlier start has left behind. And
# gcloud, when it loses the connection to one worker, calls the command there again by itself: a worker that has seen
# the name of this start before says 75, its peers then stop too, and this script starts all of them together.
remote_command() {
  local words
  words=$(printf ' %q' "${flags[@]}")
  # shellcheck disable=SC2016 # expanded on the workers
  printf '%s\n' "cd $FOLDER || exit 1" "start=$1" '
running() { [ -s .sweep.pid ] && ps -ww -o args= -p "$(cat .sweep.pid)" | grep -q launch.sweep; }
if running; then
  kill -TERM "$(cat .sweep.pid)"
  for second in $(seq 300); do running || break; sleep 1; done
  if running; then kill -KILL "$(cat .sweep.pid)"; fi
fi
if [ "$(cat .sweep.start 2>/dev/null)" = "$start" ]; then exit 75; fi
echo "$start" > .sweep.start' "RGFLOW_START=\$start .venv/bin/python -u -m launch.sweep$words &" '
echo $! > .sweep.pid
wait $!'
}

# Tells the sweep on every worker to finish its chunk, save and exit 75.
stop_sweep() {
  # shellcheck disable=SC2016 # expanded on the workers
  on_all_workers "cd $FOLDER"' && ps -ww -o args= -p "$(cat .sweep.pid)" | grep -q launch.sweep && kill -TERM "$(cat .sweep.pid)"
    true' </dev/null || true
}

# The first SIGINT or SIGTERM is carried to the workers (ssh carries none by itself: ended, it would leave them running);
# the script then waits until they have saved, and ends with their exit code. A second one ends the connections and
# leaves at once; the workers go on stopping.
on_signal() {
  signals=$((signals + 1))
  if [[ -z $job ]]; then
    exit "$RESUMABLE"
  elif ((signals == 1)); then
    echo "stopping the sweep on all workers; once more leaves at once" >&2
    stop_sweep
  else
    kill -TERM -- "-$job" 2>/dev/null || true
    exit "$RESUMABLE"
  fi
}

# Runs the sweep on all workers once and returns its exit code; $1 names this start.
run_sweep() {
  local command code before
  command=$(remote_command "$1")
  # In a process group of its own, so that Ctrl-C reaches this script and not the connections.
  set -m
  on_all_workers "$command" </dev/null &
  job=$!
  set +m
  while true; do
    before=$signals code=0
    wait "$job" || code=$?
    ((signals == before)) && break # else it was the signal that ended the wait, not the sweep
  done
  job=''
  return "$code"
}

# Returns whether another start would be in vain; $1 names the last one. The workers share the workdir: one is asked.
in_vain() {
  local words code=0
  words=$(printf ' %q' "$1" "${flags[@]}")
  worker=0 tpu_vm ssh "$tpu" --command="cd $FOLDER && .venv/bin/python -c \
    'import sys; from launch import requeue; sys.exit(requeue.main(sys.argv[1:]))'$words" </dev/null || code=$?
  ((code == 1))
}

main() {
  check_arguments "$@"
  trap on_signal INT TERM
  trap 'rm -f "$archive"' EXIT
  copy_source
  [[ ${RGFLOW_SKIP_SETUP:-0} == 1 ]] || install_package

  local code restarts=0 name
  name=$(date +%s)-$$
  while true; do
    code=0
    run_sweep "$name.$restarts" || code=$?
    ((code == RESUMABLE || code == CONNECTION_LOST)) || break
    ((signals == 0)) || break
    if ((restarts >= ${RGFLOW_MAX_RESTARTS:-100})); then
      echo "stopped; already started again $restarts times, so the same command resumes" >&2
      break
    fi
    if ((code == RESUMABLE && restarts > 0)) && in_vain "$name.$restarts"; then
      echo "stopped; with what it lacked (see above) the same command resumes" >&2
      break
    fi
    restarts=$((restarts + 1))
    echo "exit code $code; starting again ($restarts)" >&2
    sleep "${RGFLOW_RESTART_WAIT:-30}"
  done
  return "$code"
}

main "$@"
