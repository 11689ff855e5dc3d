#!/usr/bin/env bash
# figures.sh [RUNS] [FAULT...]: how long nobody could write, and how many requests failed, for each fault (default: all),
# RUNS times (5); and the sidecars' requests to the API server in a minute. On a cluster of our own that a run of the tests
# left up, with its release:
#
#   make e2e KEEP=1 ARGS=10-install && e2e/cluster/cluster exec e2e/kubernetes/figures.sh
#
# The gap is between two acknowledged writes of all writers, as writer.sh measures it: from outside, with a new connection
# for each write. Each fault is undone, and the cluster settled, before the next. If a fault is planned, or affects all
# pods, four loops write through the -leader Service, as clients do; otherwise one loop writes to each member.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")
cluster=$root/e2e/cluster/cluster
registry=${REGISTRY:-localhost}
version=$(sed -n 's/^appVersion: //p' "$root/helm/Chart.yaml")
results=${RESULTS:-$here/results/figures}
# shellcheck disable=SC2034 # of lib.sh
values=()
mkdir -p "$results/home"
export HOME=$results/home
: >"$results/acknowledged"
. "$here/lib.sh"
runs=${1:-5}
shift $(($# > 0 ? 1 : 0))
faults=(killed killed-without-dns frozen deleted deleted-by-force switchover rolling-restart all-deleted node-cut node-power-cut)
[ $# = 0 ] || faults=("$@")
number() { echo "${1#node}"; }
node_is_ready() { [ "$(kubectl get node "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ]; }

# break_it FAULT LEADER NODE UID; mend_it: the same
break_it() {
  case $1 in
  killed) "$cluster" signal "$NAMESPACE" "$2" store KILL ;;
  killed-without-dns)
    "$cluster" fault stop cp coredns KILL
    sleep 35 # longer than its answers are kept
    "$cluster" signal "$NAMESPACE" "$2" store KILL
    ;;
  switchover) k exec "$2" -c sidecar -- sidecar switchover ;;
  rolling-restart)
    k rollout restart statefulset "$cluster_name" >/dev/null
    k rollout status statefulset "$cluster_name" --timeout=300s >/dev/null
    ;;
  all-deleted) k delete pods -l app.kubernetes.io/name=leasehold --wait=false >/dev/null ;;
  frozen) "$cluster" signal "$NAMESPACE" "$2" store STOP ;;
  deleted) k delete pod "$2" --wait=false >/dev/null ;;
  deleted-by-force) k delete pod "$2" --force --grace-period=0 >/dev/null 2>&1 ;;
  node-cut) "$cluster" fault cut "$(number "$3")" ;;
  node-power-cut) "$cluster" fault crash "$(number "$3")" ;;
  esac
}
mend_it() {
  case $1 in
  frozen) "$cluster" signal "$NAMESPACE" "$2" store CONT ;;
  killed-without-dns) "$cluster" fault start cp coredns ;;
  node-cut) "$cluster" fault heal "$(number "$3")" ;;
  node-power-cut) "$cluster" fault boot "$(number "$3")" ;;
  deleted*) wait_for "$2" 120 is_new "$2" "$4" ;;
  esac
  wait_for "$3" 120 node_is_ready "$3"
}

for fault in "${faults[@]}"; do
  gaps=() failures=()
  for _ in $(seq "$runs"); do
    settle 240
    leader=$(holder) node=$(node_of "$leader") uid=$(uid_of "$leader")
    case $fault in
    switchover | rolling-restart | deleted | all-deleted) leader_service=$RELEASE-leader avoided=() ;;
    *) leader_service="" avoided=("$node") ;;
    esac
    WRITE_TO=${leader_service:+$leader_service $leader_service $leader_service $leader_service} \
      BY_IP=$([ "$fault" != killed-without-dns ] || echo 1) writer_start "${avoided[@]}" >&2
    writer_goes_on >&2
    break_it $fault "$leader" "$node" "$uid"
    writer_goes_on >&2
    mend_it $fault "$leader" "$node" "$uid"
    settle 240
    writer_stop | grep requests: || true
    read -r _ gap <"$results/gap"
    gaps+=("$gap")
    failures+=("$(cat "$results/failed")")
  done
  mapfile -t sorted < <(printf '%s\n' "${gaps[@]}" | sort -n)
  printf '%-18s median %5d ms, worst %5d ms   (%s), failed requests %s\n' "$fault" "${sorted[$((runs / 2))]}" "${sorted[-1]}" "${gaps[*]}" "${failures[*]}"
done
verify

audit=${CLUSTER_STATE:-$root/e2e/cluster/run}/cp/audit.log
if [ -r "$audit" ]; then
  from=$(wc -l <"$audit")
  sleep 60
  echo "requests to the API server in 60 s, by pod and verb (a watch is logged when it ends; the holder is $(holder)):"
  tail -n "+$((from + 1))" "$audit" | grep -F "system:serviceaccount:$NAMESPACE:" |
    sed -n 's/.*"verb":"\([a-z]*\)".*"authentication.kubernetes.io\/pod-name":\["\([^"]*\)"\].*/\2 \1/p' | sort | uniq -c
fi
