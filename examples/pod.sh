#!/bin/sh
# pod.sh NAME PORT COMMAND...: plays a pod on this machine: a sidecar with HTTP on PORT, and the program beside it. Ctrl-C
# ends the program, and then the sidecar, as in a pod.
#
# It needs `sidecar` (cargo build --bin sidecar), and a kubeconfig of any Kubernetes that lets you write Leases: KUBECONFIG,
# else the usual one. LEASE (default: worker) and NAMESPACE (default: default) name the Lease.
set -eu
[ $# -ge 3 ] || { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
name=$1 port=$2
shift 2
sidecar=$(cd "$(dirname "$0")/.." && pwd)/target/debug/sidecar
[ -x "$sidecar" ] || sidecar=sidecar
# The program's variables; in a pod their defaults fit.
LEASEHOLD_SIDECAR_DIRECTORY=$(mktemp -d)
export LEASEHOLD_SIDECAR_DIRECTORY LEASEHOLD_ROLE_FILE="$LEASEHOLD_SIDECAR_DIRECTORY/role.json" SIDECAR="http://localhost:$port"

# In a session of its own, so Ctrl-C is for the program alone.
setsid "$sidecar" --namespace "${NAMESPACE:-default}" --lease "${LEASE:-worker}" --name "$name" --address "$name" \
  --listen "127.0.0.1:$port" --grace-period 5s --log warn ${KUBECONFIG:+--kubeconfig "$KUBECONFIG"} &
pid=$!
trap 'kill $pid 2>/dev/null; wait $pid || true; rm -rf "$LEASEHOLD_SIDECAR_DIRECTORY"' EXIT
trap : INT TERM
"$@"
