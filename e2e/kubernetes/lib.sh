# shellcheck shell=bash
# The tests' vocabulary. It uses kubectl and helm, as a user would: the tests see nothing that a user cannot see.

chart=$root/helm
cluster_name=database-cluster
export NAMESPACE=database RELEASE=database

k() { kubectl -n "$NAMESPACE" "$@"; }
milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
say() { printf '     %s\n' "$*"; }

# wait_for WHAT SECONDS COMMAND...: until it succeeds. Never a bare sleep.
wait_for() {
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { say "gave up waiting: $what"; return 1; }
    sleep 0.25
  done
}

# timed WHAT COMMAND...: prints how long it took
timed() {
  local what=$1 began
  began=$(milliseconds)
  shift
  "$@" || return 1
  say "$what: $(($(milliseconds) - began)) ms"
}

# quietly FILE COMMAND...: its output goes to the file, and is shown only if it fails
quietly() {
  local file=$results/$1.txt
  shift
  "$@" >"$file" 2>&1 || { cat "$file"; return 1; }
}

# helm_test RELEASE: its pod is deleted if it succeeds (so `--logs` would fail), and stays for reading if it does not. A
# chart that was packaged without the test succeeds as well, so the test must have run.
helm_test() {
  local output
  output=$(helm test "$1" -n "$NAMESPACE" --timeout 60s) || { echo "$output"; k logs "$1-test"; return 1; }
  echo "$output"
  grep -q '^Phase: *Succeeded' <<<"$output" || { say "the chart has no test"; return 1; }
}

# ---- what the cluster reports

pod() { echo "$cluster_name-$1"; }
in_pod() { local name=$1; shift; k exec "$name" -c store -- "$@"; }
ask() { in_pod "$1" curl -s --max-time 5 "http://localhost:8089$2"; }
holder() { k get lease "$cluster_name" -o jsonpath='{.spec.holderIdentity}'; }
term() { k get lease "$cluster_name" -o jsonpath='{.spec.leaseTransitions}'; }
node_of() { k get pod "$1" -o jsonpath='{.spec.nodeName}'; }
uid_of() { k get pod "$1" -o jsonpath='{.metadata.uid}'; }
leads() { [ "$(in_pod "$1" curl -s --max-time 2 -H 'Accept: text/plain' http://localhost:8089/api/leader)" = true ]; }
a_follower() { local i; for i in 0 1 2; do [ "$(pod "$i")" = "$(holder)" ] || { pod "$i"; return; }; done; }
members() { k get statefulset "$cluster_name" -o jsonpath='{.spec.replicas}'; }
gone() { [ -z "$(k get pod "$1" --ignore-not-found -o name)" ]; }
is_ready() { [ "$(k get pod "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
is_new() { local uid; uid=$(uid_of "$1" 2>/dev/null) && [ -n "$uid" ] && [ "$uid" != "$2" ]; } # is_new POD OLD-UID
voters() { ask "$1" /metrics | sed -n 's/^leasehold_store_voters\(_total\)\?\({[^}]*}\)\? //p'; }

# settled: all wanted pods are ready and of the newest revision, the Lease names a pod that leads, and every member is a
# voter.
settled() {
  local wanted now
  wanted=$(members)
  now=$(k get statefulset "$cluster_name" -o jsonpath='{.status.readyReplicas} {.status.replicas} {.status.updatedReplicas} {.status.observedGeneration} {.metadata.generation}')
  read -r ready all updated observed generation <<<"$now"
  [ "$ready $all $updated" = "$wanted $wanted $wanted" ] && [ "$observed" = "$generation" ] || return 1
  now=$(holder) && [ -n "$now" ] && leads "$now" && [ "$(voters "$now")" = "$wanted" ]
}
settle() { wait_for "the cluster to settle" "${1:-120}" settled; }
another_leads() { local now; now=$(holder) && [ -n "$now" ] && [ "$now" != "$1" ] && leads "$now"; } # another_leads OLD

# ---- writes that continue while something is broken

# writer_start [AVOIDED-NODE...]: a pod that writes to every member all the time, on a node that will not be broken.
# WRITE_TO="HOST..." writes there instead; BY_IP=1 writes to the members' present IPs. (By a member's name a DNS cache leads
# to its pod of half a minute ago, or to none.)
writer_start() {
  local avoid="" node hosts="" i
  for i in $(seq 0 $(($(members) - 1))); do
    if [ -n "${BY_IP:-}" ]; then
      hosts="$hosts $(k get pod "$(pod "$i")" -o jsonpath='{.status.podIP}')"
    else
      hosts="$hosts $cluster_name-$i.$RELEASE-service"
    fi
  done
  # Also as clients do, which need not know a pod's name.
  [ -n "${BY_IP:-}" ] || hosts="$hosts $RELEASE-leader"
  for node in "$@"; do avoid="$avoid,\"$node\""; done
  k delete pod writer --ignore-not-found --force --grace-period=0 >/dev/null 2>&1
  {
    cat <<Y
apiVersion: v1
kind: Pod
metadata: {name: writer, labels: {app: writer}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  enableServiceLinks: false
  tolerations: [{operator: Exists, effect: NoExecute}]
  securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
Y
    [ -z "$avoid" ] || cat <<Y
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [
    {key: kubernetes.io/hostname, operator: NotIn, values: [${avoid#,}]}]}]}}}
Y
    cat <<Y
  containers:
    - name: writer
      image: $registry/leasehold/store:$version
      env: [{name: HOSTS, value: "${WRITE_TO:-$hosts}"}]
      command: [bash, -c]
      args:
        - |
$(sed 's/^/          /' "$here/writer.sh")
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: tmp, mountPath: /tmp}]
  volumes: [{name: tmp, emptyDir: {}}]
Y
  } | k apply -f - >/dev/null
  wait_for "the writer to be started" 120 is_ready writer && wait_for "the first write" 60 writer_wrote
}
writer_wrote() { k logs writer --tail=20 | grep -q '^acknowledged'; }
writer_marks() { [ "$(k logs writer --tail=-1 | grep -c '^acknowledged')" -gt "$1" ]; }
# writer_goes_on: a write that starts after now is acknowledged
writer_goes_on() {
  local have
  have=$(k logs writer --tail=-1 | grep -c '^acknowledged')
  wait_for "writes to go on" "${1:-60}" writer_marks "$((have + 5))"
}

# writer_stop: adds the acknowledged writes to the list of all, and reports the longest gap
writer_stop() {
  k exec writer -- touch /tmp/stop
  wait_for "the writer to end" 30 writer_ended
  k logs writer --tail=-1 >"$results/writer.log"
  awk '$1 == "acknowledged" {print $3}' "$results/writer.log" >>"$results/acknowledged"
  awk '$1 == "acknowledged" {print $2}' "$results/writer.log" | sort -n | awk '
    NR > 1 && $1 - last > gap {gap = $1 - last} {last = $1} END {printf "%d %d\n", NR, gap / 1000}' >"$results/gap"
  read -r count gap <"$results/gap"
  awk '$1 == "answered" && $3 != 421 {n++} END {print n + 0}' "$results/writer.log" >"$results/failed"
  say "$count writes acknowledged, the longest gap between two of them $gap ms"
  awk '$1 == "answered" && $3 != 421 {n[$3]++} END {for (code in n) printf "     %d requests: %s\n", n[code], code < 100 ? "no answer (curl: " code ")" : code}' "$results/writer.log"
  k delete pod writer --force --grace-period=0 >/dev/null 2>&1
}
writer_ended() { [ "$(k get pod writer -o jsonpath='{.status.phase}')" = Succeeded ]; }

# ---- nothing acknowledged is lost

# persons_of POD: looked for in the pod, so that only the ids come through kubectl
persons_of() {
  in_pod "$1" sh -c "curl -s --max-time 5 http://localhost:8089/persons | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'" | sort -u
}
has_all() { # has_all POD: every write that was ever acknowledged
  persons_of "$1" >"$results/persons.$1"
  [ -s "$results/persons.$1" ] && [ -z "$(comm -23 "$results/acknowledged.sorted" "$results/persons.$1")" ]
}
verify() {
  local i
  settle "${1:-120}"
  sort -u "$results/acknowledged" >"$results/acknowledged.sorted"
  for i in $(seq 0 $(($(members) - 1))); do
    wait_for "$(pod "$i") to have every acknowledged write" 30 has_all "$(pod "$i")" || {
      say "MISSING on $(pod "$i"): $(comm -23 "$results/acknowledged.sorted" "$results/persons.$(pod "$i")" | wc -l) writes"
      return 1
    }
  done
  say "all $(wc -l <"$results/acknowledged.sorted") acknowledged records are on all $(members) pods; leader $(holder), term $(term)"
}

# ---- when something is wrong

diagnose() {
  local to=$1 name container
  mkdir -p "$to"
  {
    kubectl get nodes -o wide
    k get pods,pvc,lease,endpointslices -o wide
    k get lease "$cluster_name" -o yaml
    k get events.events.k8s.io --sort-by=.metadata.creationTimestamp
    k describe pods
  } >"$to/objects.txt" 2>&1
  for name in $(k get pods -o name 2>/dev/null); do
    name=${name#pod/}
    for container in store sidecar writer worker; do
      k logs "$name" -c $container >"$to/$name.$container.log" 2>/dev/null || rm -f "$to/$name.$container.log"
      k logs "$name" -c $container --previous >"$to/$name.$container.previous.log" 2>/dev/null || rm -f "$to/$name.$container.previous.log"
    done
    in_pod "$name" sh -c 'cd /var/run/leasehold; for f in *; do echo "== $f"; cat "$f"; echo; done; curl -s -m 2 localhost:8089/api/status' >"$to/$name.files.txt" 2>&1
  done
  sed -n '1,40p' "$to/objects.txt"
  for name in "$to"/*.store.log "$to"/*.sidecar.log; do
    [ -s "$name" ] || continue
    echo "---- the end of $name"
    tail -n 8 "$name"
  done
}
