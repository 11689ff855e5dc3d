#!/usr/bin/env bash
# plain-figures.sh [RUNS] [CASE...]: for how long nobody of three pods of a plain app works, in each case (default: all),
# RUNS times (20), and whether two ever work at once. The app is the same (e2e/bench/peers/cmd/plain-worker), and leads by
#
#   stream      a sidecar (`sidecar inject`), whose stream it follows. It ends on SIGTERM, and says nothing
#   word        the same, and it says `released` when it has stopped
#   exec        `sidecar inject --exec`
#   client-go   client-go's leader election, with the times and the release that its documentation proposes
#
# all of them in one cluster, by turns. On a cluster of our own that is up, with the images of the sidecar and the examples:
#
#   e2e/cluster/cluster exec e2e/kubernetes/plain-figures.sh 20 deleted killed
#
# Each pod writes when it works, every 2 ms, to a file of its own on this machine, whose clock all nodes share. So what is
# measured is from the last work of the old leader to the first of the next one, whatever kubectl or the kubelet do.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")
cluster=$root/e2e/cluster/cluster
registry=${REGISTRY:-localhost}
version=$(sed -n 's/^appVersion: //p' "$root/helm/Chart.yaml")
results=${RESULTS:-$here/results/plain-figures}
namespace=${FIGURES_NAMESPACE:-plain-figures} # another one, and RESULTS: cases that do not touch each other at once
# Pods of an earlier run would write into a folder that is gone.
kubectl delete namespace "$namespace" --ignore-not-found --timeout=120s >/dev/null 2>&1
rm -rf "$results"
mkdir -p "$results/home" "$results/events"
export HOME=$results/home
# shellcheck source=lib.sh
. "$here/lib.sh"
NAMESPACE=$namespace
events=$results/events
chmod 1777 "$events" # the pods are another user

runs=${1:-20}
shift $(($# > 0 ? 1 : 0))
read -ra systems <<<"${SYSTEMS:-stream word exec client-go}" # fewer, for a quicker look
cases=(install deleted killed unfit node-cut node-power-cut api-outage)
[ $# = 0 ] || cases=("$@")

# The sidecar of the very image writes the manifests.
injector=${INJECTOR:-$results/sidecar}
[ -x "$injector" ] || {
  archive=${CLUSTER_IMAGES:-$root/e2e/cluster/images}/sidecar.tar
  layer=$(tar -xOf "$archive" manifest.json | sed 's/.*"Layers":\["\([^"]*\)".*/\1/')
  tar -xOf "$archive" "$layer" | tar -xOf - usr/local/bin/sidecar >"$injector"
  chmod +x "$injector"
}

# chosen NAME...: those that are of the chosen systems
chosen() {
  local name
  for name in "$@"; do [[ " ${systems[*]} " != *" $(system_of "$name") "* ]] || echo "$name"; done
}

# ---- the app

# plain_app NAME SYSTEM
plain_app() {
  local mode=$2
  case $2 in stream) mode=sidecar ;; exec) mode=alone ;; esac
  cat <<Y
apiVersion: apps/v1
kind: Deployment
metadata:
  name: $1
spec:
  replicas: 3
  selector:
    matchLabels: {app: $1}
  template:
    metadata:
      labels: {app: $1}
    spec:
      enableServiceLinks: false
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: $1}}}
      securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
$([ "$2" != client-go ] || echo "      serviceAccountName: client-go")
      containers:
        - name: worker
          image: $registry/leasehold/examples:$version
          command: [plain-worker, $mode]
          env:
            - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: NAMESPACE, value: $NAMESPACE}
            - {name: LEASE, value: $1}
            - {name: EVENTS, value: /events}
          resources:
            requests: {cpu: 10m, memory: 16Mi}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          volumeMounts:
            - {name: events, mountPath: /events}
      volumes:
        - name: events
          hostPath: {path: $events, type: Directory}
Y
}

client_go_rights() {
  k apply -f - >/dev/null <<Y
apiVersion: v1
kind: ServiceAccount
metadata: {name: client-go}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: client-go}
rules: [{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: client-go}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: client-go}
subjects: [{kind: ServiceAccount, name: client-go}]
Y
}

# manifest NAME SYSTEM [health]: of a container that `exec` starts, what runs first says that it runs.
manifest() {
  local flags=(--lease "$1" --image "${SIDECAR_IMAGE:-$registry/leasehold/sidecar:$version}")
  [ "$2" != exec ] || flags+=(--exec)
  if [ "$2" = client-go ]; then
    plain_app "$1" "$2"
  else
    plain_app "$1" "$2" | "$injector" inject "${flags[@]}" |
      sed 's|command: \[\(/run/leasehold-bin/.*\)|command: [plain-worker, started, \1|' |
      if [ -z "${3:-}" ]; then cat; else
        sed 's|^\( *\)- {name: LEASEHOLD_SIDECAR_LEASE, .*|&\n\1- {name: LEASEHOLD_SIDECAR_HEALTH_URL, value: "http://127.0.0.1:8080/healthz"}|'
      fi
  fi
}

# system_of NAME: names are the system's, or end with it
system_of() { sed 's/^.*-\(stream\|word\|exec\)$/\1/; s/^.*-client-go$/client-go/' <<<"$1"; }
deploy() {
  manifest "$1" "$(system_of "$1")" "${2:-}" >"$results/$1.yaml"
  k apply -f "$results/$1.yaml" >/dev/null
}
remove() {
  k delete -f "$results/$1.yaml" --wait=false >/dev/null
  wait_for "the pods of $1 to be gone" 90 none_of "$1"
  k delete lease "$1" "$1.first" --ignore-not-found >/dev/null # a sidecar that ended later may have made it again
}
none_of() { [ -z "$(k get pods -l "app=$1" -o name)" ]; }

# ---- what the pods wrote: FILE TERM FROM UNTIL for each time of work, in nanoseconds

works() { find "$events" -name "$1-*.*" -exec awk '$1 == "work" {print FILENAME, $2, $3, $4}' {} + | sort -k3,3; }
now() { echo "${EPOCHREALTIME/[.,]/}000"; }
# worker NAME: the file of who works now
worker() {
  works "$1" | sort -k4,4 | tail -n 1 | awk -v now="$(now)" 'now - $4 < 300e6 {print $1; found = 1} END {exit !found}'
}
pod_of() { local file=${1##*/}; echo "${file%.*}"; }
# ready NAME: three pods that are there, none that ends, and one that works
ready() {
  [ "$(k get pods -l "app=$1" -o jsonpath='{range .items[*]}{.metadata.deletionTimestamp}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}')" = $'True\nTrue\nTrue' ] &&
    worker "$1"
}
settle_all() { local name; for name in "$@"; do wait_for "three pods of $name, of which one works" 240 ready "$name"; done; }

# next NAME FILE SINCE: the ms from the old one's last work to the next one's first, and from SINCE to that
next() {
  works "$1" | awk -v old="$2" -v since="$3" '
    $1 == old && !from {until = $4}
    $1 != old && $3 > since && !from {from = $3}
    END {if (!from) exit 1; printf "%.0f %.0f\n", (from - until) / 1e6, (from - since) / 1e6}'
}
# measure NAME FILE SINCE SECONDS: adds both to the figures of its system
measure() {
  local found gap all
  wait_for "the next one of $1" "$4" next "$1" "$2" "$3" || { add "$1" nobody "$(($4 * 1000))"; return 0; }
  found=$(next "$1" "$2" "$3")
  read -r gap all <<<"$found"
  add "$1" "after the end of the old one's work" "$gap"
  add "$1" "after the event" "$all"
}

# ---- figures

declare -A figures=()
order=()
# add NAME WHAT MS
add() {
  local key
  key="$(system_of "$1")|$2"
  [ -n "${figures[$key]:-}" ] || order+=("$key")
  figures[$key]+=" $3"
  echo "$case $key $3" >>"$results/figures.txt"
}
report() {
  local key
  for key in "${order[@]}"; do
    xargs -n 1 <<<"${figures[$key]}" | sort -n | awk -v what="$1, ${key/|/: }" -v all="${figures[$key]}" '
      {n[NR] = $1} END {
        median = NR % 2 ? n[(NR + 1) / 2] : (n[NR / 2] + n[NR / 2 + 1]) / 2
        printf "%-68s median %6d ms, worst %6d ms of %d  (%s)\n", what, median, n[NR], NR, substr(all, 2)}'
  done
  figures=() order=()
}
# two_at_once NAME: how often two files say that they worked at one time, and for how long at most
two_at_once() {
  works "$1" | awk -v name="$1" '
    NR > 1 && $1 != file && until > $3 {n++; end = until < $4 ? until : $4; if (end - $3 > most) most = end - $3}
    NR == 1 || $4 > until {until = $4; file = $1}
    END {printf "%-68s %d times, at most %.0f ms; %d times of work in all\n", name ": two at work at once", n, most / 1e6, NR}'
}

# ---- what can be broken

node_is_ready() { [ "$(kubectl get node "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
# kill_worker FILE: the app's own process, under `exec` not the one that started it
kill_worker() {
  local pod node
  pod=$(pod_of "$1") node=$(node_of "$pod")
  since=$(now)
  # shellcheck disable=SC2016
  "$cluster" node "$node" bash -c '
    for pid in $(pgrep -x plain-worker); do ! grep -qz "^POD=$1$" "/proc/$pid/environ" 2>/dev/null || kill -9 "$pid"; done' - "$pod"
}
starts() { find "$events" -name "$1-*.*" -exec awk '$1 == "start" {print $3}' {} + | sort; }
has_begun() { [ "$(starts "$1" | wc -l)" = 3 ] && [ -n "$(works "$1")" ]; }

case_install() {
  local system name first last work
  for system in $(chosen stream exec client-go); do
    name=install$1-$system
    deploy "$name"
    wait_for "a leader of $name" 120 has_begun "$name"
    first=$(starts "$name" | head -n 1) last=$(starts "$name" | tail -n 1) work=$(works "$name" | head -n 1 | cut -d ' ' -f 3)
    add "$name" "after the first pod's app runs" $(((work - first) / 1000000))
    add "$name" "after all pods' apps run" $(((work - last) / 1000000))
    remove "$name"
    two_at_once "$name" >>"$results/two-at-once.txt"
  done
}

case_deleted() {
  local name file since
  for name in $(chosen stream word exec client-go); do
    settle_all "$name"
    file=$(worker "$name") since=$(now)
    k delete pod "$(pod_of "$file")" --wait=false >/dev/null
    measure "$name" "$file" "$since" 60
  done
}

# The pod whose app was killed is replaced: the kubelet makes it wait longer each time.
case_killed() {
  local name since
  local -A files=() sinces=()
  needs client-go exec stream
  # client-go's Lease runs out while the others are measured.
  for name in $(chosen client-go exec stream); do
    files[$name]=$(worker "$name")
    kill_worker "${files[$name]}"
    sinces[$name]=$since
    [ "$name" = client-go ] || measure "$name" "${files[$name]}" "$since" 60
  done
  name=client-go
  [ -z "${files[$name]:-}" ] || measure "$name" "${files[$name]}" "${sinces[$name]}" 60
  for name in $(chosen client-go exec stream); do k delete pod "$(pod_of "${files[$name]}")" --wait=false >/dev/null; done
}

# client-go knows no health of the app: its own check for /healthz is about the renewals alone.
case_unfit() {
  local name file since
  for name in $(chosen fit-stream fit-word fit-exec); do
    settle_all "$name"
    file=$(worker "$name") since=$(now)
    touch "$events/sick-$(pod_of "$file")"
    measure "$name" "$file" "$since" 90
    rm "$events/sick-$(pod_of "$file")"
    # Under exec a pod that was unfit counts as such until another one has led well for long: two runs later all would be. A new
    # pod is as good as one that had that time.
    [ "$name" != fit-exec ] || k delete pod "$(pod_of "$file")" --wait=false >/dev/null
  done
}

# A node of one of the leaders; others whose leader is there are measured as well.
case_node() {
  local fault=$1 name node since
  local -A files=() nodes=()
  needs stream exec client-go
  for name in $(chosen stream exec client-go); do
    files[$name]=$(worker "$name")
    nodes[$name]=$(node_of "$(pod_of "${files[$name]}")")
  done
  node=$(printf '%s\n' "${nodes[@]}" | sort | uniq -c | sort -rn | awk '{print $2; exit}')
  # A node that lately had most of them has fewer now, so each system gets its share.
  since=$(now)
  "$cluster" fault "$fault" "${node#node}"
  for name in $(chosen stream exec client-go); do
    [ "${nodes[$name]}" != "$node" ] || measure "$name" "${files[$name]}" "$since" 60
  done
  case $fault in cut) "$cluster" fault heal "${node#node}" ;; crash) "$cluster" fault boot "${node#node}" ;; esac
  wait_for "$node" 120 node_is_ready "$node"
}
case_node-cut() { case_node cut; }
case_node-power-cut() { case_node crash; }

api_answers() { kubectl --request-timeout=2s get --raw /readyz; }
begun_since() { works "$1" | awk -v since="$2" '$3 > since || ($3 < since && $4 > since + 2e9) {found = 1} END {exit !found}'; }
case_api-outage() {
  local name since back
  needs stream exec client-go
  since=$(now)
  "$cluster" fault stop cp kube-apiserver KILL
  sleep 25 # longer than a Lease
  "$cluster" fault start cp kube-apiserver
  wait_for "the API server" 120 api_answers
  back=$(now)
  for name in $(chosen stream exec client-go); do
    wait_for "one of $name to work" 60 begun_since "$name" "$back"
    works "$name" | awk -v since="$since" '
      $4 < since {next}
      !ended {until = $4; ended = 1; next}
      $3 - until < 60e6 && !nobody {until = $4; next}
      !nobody {nobody = $3 - until; printf "%.0f %.0f\n", (until - since) / 1e6, nobody / 1e6}
      END {if (!nobody) printf "%.0f 0\n", (until - since) / 1e6}' >"$results/outage"
    read -r worked nobody <"$results/outage"
    add "$name" "worked on without the API server" "$worked"
    add "$name" "nobody at work" "$nobody"
    read -r worked nobody < <(works "$name" | awk -v back="$back" '$3 > back - 5e9 {printf "%.0f 0\n", ($3 - back) / 1e6; exit}') || continue
    add "$name" "after the API server was seen to answer" "$worked"
  done
}

# ---- all of it

trap 'kubectl delete namespace "$NAMESPACE" --wait=false >/dev/null' EXIT
kubectl create namespace "$NAMESPACE" >/dev/null
client_go_rights
deployed=()
needs() {
  local name names
  mapfile -t names < <(chosen "$@")
  for name in "${names[@]}"; do
    [[ " ${deployed[*]} " != *" $name "* ]] || continue
    deploy "$name" "$([[ $name != fit-* ]] || echo health)"
    deployed+=("$name")
  done
  settle_all "${names[@]}"
}
for case in "${cases[@]}"; do
  case $case in
  install) ;;
  deleted) needs stream word exec client-go ;;
  unfit) needs fit-stream fit-word fit-exec ;;
  *) needs stream exec client-go ;;
  esac
  for run in $(seq "$runs"); do "case_$case" "$run"; done
  report "$case"
done
for name in "${deployed[@]}"; do two_at_once "$name" | tee -a "$results/two-at-once.txt"; done
