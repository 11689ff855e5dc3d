# shellcheck shell=bash disable=SC2154
# What all layers use: messages, waiting, identifying processes, the machine's requirements.

say() { printf '%s %s\n' "$(date +%H:%M:%S.%3N)" "$*" >&2; }

nodes() { seq 1 "$NODES"; }

# box N: the name of a box. The control plane's is cp, node 2's is node2.
box() { [ "$1" = cp ] && echo cp || echo "node$1"; }

ip_of() { [ "$1" = cp ] && echo "$CP" || ip_of_node "$1"; }

# address IP PORT, url IP PORT: an IPv6 address has brackets where a port follows
address() { case $1 in *:*) echo "[$1]:$2" ;; *) echo "$1:$2" ;; esac; }
url() { echo "http://$(address "$1" "$2")"; }

# until_ok WHAT SECONDS COMMAND...
until_ok() {
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ]; then
      say "gave up waiting for $what; the last try said:"
      "$@" >&2 && return 0
      return 1
    fi
    sleep 0.1
  done
}

# A PID alone says little: numbers are reused. With its start time (field 22 of stat, in ticks since the machine's boot, the
# same in every namespace) it identifies one process.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# can_run: whether this machine can run the cluster. Lists everything that is missing at once.
can_run() {
  local wrong=() missing controller
  [ "$(id -u)" = 0 ] || wrong+=("it must be run by root")
  for controller in cpu cpuacct cpuset memory devices freezer pids; do
    [ -d "/sys/fs/cgroup/$controller" ] && continue
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
      wrong+=("this machine has cgroup v2, and this cluster needs the controllers of cgroup v1: install Docker and kind (https://kind.sigs.k8s.io) instead; make e2e takes kind by itself where a Docker engine runs")
    else
      wrong+=("there is no cgroup v1 controller $controller under /sys/fs/cgroup")
    fi
    break
  done
  missing=$(missing_packages | xargs)
  [ -z "$missing" ] || wrong+=("packages are missing: apt-get install -y --no-install-recommends $missing")
  [ -x "$BIN/kubebox" ] && [ -x "$BIN/coredns" ] && [ -x "$BIN/helm" ] && [ -x "$BIN/pause" ] ||
    wrong+=("the programs are not built: $HERE/build.sh")
  [ "${#wrong[@]}" = 0 ] && return 0
  printf 'cluster: %s\n' "${wrong[@]}" >&2
  return 1
}

# missing_packages: the required Debian packages that are missing; each is recognised by one of its commands or files.
missing_packages() {
  local package file
  while read -r package file; do
    command -v "$file" >/dev/null || [ -e "$file" ] || echo "$package"
  done <<'T'
containerd containerd
runc runc
buildah buildah
containernetworking-plugins /usr/lib/cni/host-local
debootstrap debootstrap
iproute2 ip
nftables nft
conntrack conntrack
iptables iptables
gcc gcc
libc6-dev /usr/include/stdio.h
openssl openssl
curl curl
e2fsprogs mkfs.ext4
T
}
