# shellcheck shell=bash disable=SC2154
# A box is a machine: network, mount, PID and host name of its own. PID 1 of it is `pause`, which only reaps orphans.
# SIGKILL to that is a power cut: the kernel ends all the box's processes at once, and all its mounts go with the mount
# namespace. So only the box's PID 1 must be remembered.
#
#   cluster ── nsenter --net ── unshare --mount --pid --fork ── PID 1: cluster __init, then pause
#                                                               └─ daemons, by `enter` (nsenter -t)

# The file holds PID and start time of the box's PID 1, as the host sees it.
init_pid() { cut -d' ' -f1 "$STATE/$(box "$1")/init.pid" 2>/dev/null || true; }

is_up() {
  local pid started
  read -r pid started 2>/dev/null <"$STATE/$(box "$1")/init.pid" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ]
}

# enter BOX PROGRAM...: in the box's network, mounts, PIDs and host name
enter() {
  local b=$1
  shift
  is_up "$b" || { say "$(box "$b") is down"; return 1; }
  nsenter -t "$(init_pid "$b")" -n -m -p -u -- "$@"
}

boot_box() {
  local b=$1 folder=$STATE/$(box "$1") network parent child end=$((SECONDS + 30))
  is_up "$b" && return 0
  mkdir -p "$folder/log" "$folder/pid" "$STATE/disks"
  rm -f "$folder"/pid/* "$folder/init.pid"
  network=$(network_of "$b")
  nsenter --net="$network" -- setsid \
    unshare --mount --propagation private --pid --fork --mount-proc --uts \
    "$SELF" __init "$b" </dev/null >>"$folder/log/init.log" 2>&1 &
  parent=$! # nsenter, setsid and unshare replace each other; only unshare forks
  until [ -e "$folder/pid/ready" ]; do
    if [ "$SECONDS" -ge "$end" ] || [ ! -d "/proc/$parent" ]; then
      say "$(box "$b") did not start:"
      tail -n 5 "$folder/log/init.log" >&2
      return 1
    fi
    sleep 0.03
  done
  # Not earlier: until all of them have replaced each other, the only child may be another one, and soon gone.
  child=$(tr -d ' ' <"/proc/$parent/task/$parent/children")
  disown "$parent" 2>/dev/null || true
  echo "$child $(start_time "$child")" >"$folder/init.pid"
}

# init_box BOX: what PID 1 of the box does before it becomes pause
init_box() {
  local b=$1 folder=$STATE/$(box "$1") path setting file
  hostname "$(box "$b")"
  if [ "$b" != cp ]; then
    # The node's own /run, /var/lib and /var/log: all default paths are private, and can be the same on every node.
    # A tmpfs first, so that no folder of the host becomes a mount point.
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs -o mode=755 tmpfs /var/lib
    mount -t tmpfs -o mode=755 tmpfs /var/log
    mkdir -p /run/containerd /run/netns /run/lock /run/node/sys
    for path in var/lib/containerd var/lib/kubelet var/lib/cni var/log/pods var/log/containers; do
      mkdir -p "$folder/$path" "/$path"
      mount --bind "$folder/$path" "/$path"
    done
    mount --make-rshared /var/lib/kubelet
    # The kubelet insists on some sysctls that belong to the whole machine. It is shown the values that it wants; otherwise
    # it would write the host's.
    for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
      kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
      file=/run/node/sys/$(basename "${setting%=*}")
      echo "${setting#*=}" >"$file"
      mount --bind "$file" "/proc/sys/${setting%=*}"
    done
    : >/run/node/resolv.conf # nothing to forward queries to
  fi
  touch "$folder/pid/ready"
  exec "$BIN/pause"
}

# daemon BOX NAME COMMAND...: starts it in the box, detached, and restarts it whenever it ends by itself, as systemd or a
# kubelet would: a kube-scheduler ends by itself if it finds, after an outage of the API server, that it has missed too
# much. The file holds the PID (as the box sees it) and start time of the present run; without the file, or with another run
# in it, nothing is restarted.
daemon() {
  local b=$1 name=$2 folder=$STATE/$(box "$1")
  shift 2
  is_running "$b" "$name" && return 0
  # shellcheck disable=SC2016 # for the shell inside
  enter "$b" setsid -f sh -c '
    file=$1
    shift
    while :; do
      "$@" &
      run="$! $(sed "s/.*) //" /proc/$!/stat | cut -d" " -f20)"
      echo "$run" >"$file"
      wait $!
      code=$?
      [ "$(cat "$file" 2>/dev/null)" = "$run" ] || exit 0
      echo "$1 ended by itself with code $code: restarting it"
      sleep 1
    done' sh "$folder/pid/$name" "$@" </dev/null >>"$folder/log/$name.log" 2>&1
}

# is_running BOX NAME
is_running() {
  local pid started
  read -r pid started 2>/dev/null <"$STATE/$(box "$1")/pid/$2" || return 1
  runs "$1" "$pid" "$started"
}

# runs BOX PID STARTED: whether that process of the box lives
runs() {
  is_up "$1" || return 1
  # shellcheck disable=SC2016
  [ "$(enter "$1" sh -c 'sed "s/.*) //" "/proc/$1/stat" 2>/dev/null | cut -d" " -f20' sh "$2")" = "$3" ]
}

# stop_daemon BOX NAME [SIGNAL]: waits for its end, except for STOP and CONT
stop_daemon() {
  local b=$1 name=$2 signal=${3:-TERM} file pid started end=$((SECONDS + 20))
  file=$STATE/$(box "$b")/pid/$name
  is_running "$b" "$name" || { say "$name is not running on $(box "$b")"; return 1; }
  read -r pid started <"$file"
  # First the file, so that it is not restarted.
  case $signal in STOP | CONT) ;; *) rm -f "$file" ;; esac
  enter "$b" kill "-$signal" "$pid"
  case $signal in STOP | CONT) return 0 ;; esac
  while runs "$b" "$pid" "$started"; do
    [ "$SECONDS" -lt "$end" ] || { say "$name does not end"; return 1; }
    sleep 0.05
  done
}

# crash_box BOX: power cut
crash_box() {
  local pid started
  is_up "$1" || { say "$(box "$1") is down already"; return 0; }
  read -r pid started <"$STATE/$(box "$1")/init.pid"
  kill -9 "$pid"
  while [ "$(start_time "$pid")" = "$started" ]; do sleep 0.02; done
  rm -f "$STATE/$(box "$1")/init.pid"
}
