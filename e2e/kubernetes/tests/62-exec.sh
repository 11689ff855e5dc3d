# shellcheck shell=bash
# `sidecar exec`: a program that knows nothing of leaders runs only where its pod leads. Once by kustomize/exec, as a shell script; once
# by `sidecar inject --exec`, as the only file of its image (scratch/).
#
# Both write a line for each piece of work, with its time: `term 3: queue-0 works at 1764581234123456`. The lines of all pods, also of
# those that are gone, must be of one pod for each term, and no term may begin before the one below it has ended.

# How far apart the clocks of two nodes may be, in microseconds. The nodes of a cluster of our own have one clock.
clocks_differ=$([ -n "$cluster" ] && echo 0 || echo 100000)

exec_pods() { k get pods -l "app=$1" -o jsonpath='{.items[*].metadata.name}'; }
exec_gone() { [ -z "$(exec_pods "$1")" ]; }
exec_leader() { k get lease "$1" -o jsonpath='{.spec.holderIdentity}'; }
# exec_works NAME [OLD]: the holder of the Lease, which is not OLD, has done some work
exec_works() {
  local leader
  leader=$(exec_leader "$1") && [ -n "$leader" ] && [ "$leader" != "${2:-}" ] &&
    [ "$(k logs "$leader" -c app --tail=5 | grep -cE "^term [0-9]+: $leader works")" -ge 2 ]
}
exec_restarts() { k get pod "$1" -o jsonpath='{.status.containerStatuses[?(@.name=="app")].restartCount}'; }
exec_was_restarted() { [ "$(exec_restarts "$1")" -gt "$2" ] && is_ready "$1"; } # exec_was_restarted POD OLD-COUNT

# exec_follow NAME: keeps the lines of the pods that are there now, as the log of a pod that is deleted is gone with it. The followers
# end with the containers, or with the scenario. (By kubectl, not by k: its pid must be the one to kill.)
exec_follow() {
  local pod
  mkdir -p "$results/exec-$1"
  for pod in $(exec_pods "$1"); do
    kubectl -n "$NAMESPACE" logs -f "$pod" -c app >"$results/exec-$1/$pod.$(uid_of "$pod").log" 2>/dev/null &
  done
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT # those that have ended are no failure
}
# exec_lines NAME: all lines about work that any pod has written, in the order in which they were
exec_lines() {
  local pod
  for pod in $(exec_pods "$1"); do
    k logs "$pod" -c app >"$results/exec-$1/$pod.now.log" 2>/dev/null || true
    k logs "$pod" -c app --previous >"$results/exec-$1/$pod.previous.log" 2>/dev/null || true
  done
  # The last line of a follower may still be written.
  { grep -hE '^term [^ ]+: [^ ]+ works at [0-9]{16}$' "$results/exec-$1"/*.log || true; } | sort -u | sort -n -k 6,6
}
# exec_one NAME: who worked when; fails if two did at once, or in one term, or one without a term
exec_one() {
  exec_lines "$1" >"$results/exec-$1/lines"
  awk -v slack="$clocks_differ" '
    {term = $2 + 0; pod = $3; at = $6}
    $2 !~ /^[0-9]+:$/ {print pod " worked without a term: it was not started by sidecar exec"; bad = 1; exit}
    (term in of) && of[term] != pod {print "term " term " is of " of[term] ", and " pod " worked in it, too, at " at; bad = 1; exit}
    !(term in of) {of[term] = pod; from[term] = at; if (term > most) most = term}
    {until[term] = at; pieces[term]++}
    END {
      if (bad) exit 1
      if (!most) {print "nobody worked"; exit 1}
      for (term = 1; term <= most; term++) {
        if (!(term in of)) continue
        printf "term %d: %s, %d pieces of work", term, of[term], pieces[term]
        if (last) printf ", %.0f ms after the last one of term %d", (from[term] - until[last]) / 1000, last
        print ""
        if (last && from[term] < until[last] - slack) {
          printf "%s and %s were at work at once for %.0f ms: term %d until %.0f, term %d from %.0f\n", \
            of[last], of[term], (until[last] - from[term]) / 1000, last, until[last], term, from[term]
          bad = 1
        }
        last = term
      }
      exit bad
    }' "$results/exec-$1/lines" >"$results/exec-$1/order" || { sed 's/^/     /' "$results/exec-$1/order"; say "the lines: $results/exec-$1/lines"; return 1; }
  sed 's/^/     /' "$results/exec-$1/order"
}
exec_terms() { awk '{print $2}' "$results/exec-$1/lines" | sort -u | wc -l; }

# exec_up KIND NAME: of the pods of $results/NAME.yaml one works
exec_up() {
  k apply -f "$results/$2.yaml" >/dev/null
  k rollout status "$1/$2" --timeout=120s >/dev/null || { say "the pods of $2 do not start:"; k get pods -l "app=$2"; k describe pods -l "app=$2" | tail -n 20; return 1; }
  exec_follow "$2"
  timed "one of $2 works" wait_for "a pod of $2 to work" 60 exec_works "$2" || { exec_why "$2"; return 1; }
}
# exec_next NAME OLD WHAT: after that, another one than OLD works
exec_next() {
  timed "$3, another one works" wait_for "another pod of $1 than $2 to work" 60 exec_works "$1" "$2" || { exec_why "$1"; return 1; }
}
# exec_why NAME: what the pods say when the right one does not work
exec_why() {
  local pod
  say "the Lease $1 names '$(exec_leader "$1")'"
  k get pods -l "app=$1"
  for pod in $(exec_pods "$1"); do
    k logs "$pod" -c app --tail=3 | sed "s/^/     $pod, app: /" || true
    k logs "$pod" -c sidecar --tail=3 | sed "s/^/     $pod, sidecar: /" || true
  done
}
exec_down() {
  k delete -f "$results/$1.yaml" --wait=false >/dev/null
  wait_for "the pods of $1 to be gone" 60 exec_gone "$1"
  # A sidecar that ended later may have made the Lease again.
  k delete lease "$1" "$1.first" --ignore-not-found >/dev/null
}

# exec_app KIND NAME KILL...: one works; it is killed (by KILL in its container), and the other one works; that one's pod is deleted,
# and the first works again.
exec_app() {
  local kind=$1 name=$2 first second uid restarts
  shift 2
  exec_up "$kind" "$name"
  first=$(exec_leader "$name") uid=$(uid_of "$first") restarts=$(exec_restarts "$first")
  # 137: the container ended before the one that killed its program could say so.
  k exec "$first" -c app -- "$@" || [ $? = 137 ] || { say "the program of $first cannot be killed by: $*"; exec_why "$name"; return 1; }
  exec_next "$name" "$first" "the program of $first killed"
  second=$(exec_leader "$name")
  # `exec` ends with its program, so the kubelet starts it again: in the same pod, where it waits.
  wait_for "the container of $first to be started again" 60 exec_was_restarted "$first" "$restarts" || { exec_why "$name"; return 1; }
  [ "$(uid_of "$first")" = "$uid" ] || { say "the pod $first was replaced"; return 1; }
  [ "$(exec_leader "$name")" = "$second" ] || { say "the leadership went back from $second to $(exec_leader "$name")"; return 1; }
  k delete pod "$second" --wait=false >/dev/null
  exec_next "$name" "$second" "$second deleted"
  wait_for "$kind $name to be complete" 60 k rollout status "$kind/$name" --timeout=5s
  exec_one "$name"
  [ "$(exec_terms "$name")" -ge 3 ] || { say "three leaders, and $(exec_terms "$name") terms"; return 1; }
  exec_down "$name"
}

# exec_kustomized NAME: a Deployment of a script, by kustomize/exec
exec_kustomized() {
  local folder=$results/kustomize-$1
  mkdir -p "$folder"
  cat >"$folder/kustomization.yaml" <<Y
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [app.yaml, leasehold.yaml]
components: ["$(realpath --relative-to="$folder" "$root/kustomize/exec")"]
images: [{name: localhost/leasehold/sidecar, newName: $registry/leasehold/sidecar, newTag: "$version"}]
Y
  sed "s/^  lease: .*/  lease: $1/; s/^  account: .*/  account: $1/; s/^  gracePeriod: .*/  gracePeriod: 10s/" \
    "$root/kustomize/example-exec/leasehold.yaml" >"$folder/leasehold.yaml"
  cat >"$folder/app.yaml" <<Y
apiVersion: apps/v1
kind: Deployment
metadata:
  name: $1
  annotations: {leasehold.dev/inject: "true"}
spec:
  replicas: 2
  selector:
    matchLabels: {app: $1}
  template:
    metadata:
      labels: {app: $1}
    spec:
      enableServiceLinks: false
      terminationGracePeriodSeconds: 10
      securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: app
          image: $registry/leasehold/store:$version
          command: [bash, -c]
          args:
            - |
              exec {never}<> <(:)
              while :; do
                echo "term \${LEASEHOLD_TERM:-none}: \${LEASEHOLD_POD:-nobody} works at \${EPOCHREALTIME/[.,]/}"
                read -r -t 0.02 -u \$never
              done
          resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
Y
  kubectl kustomize "$folder" >"$results/$1.yaml"
}
# Only what `exec` starts has a term in its environment.
exec_kill='
  killed=no
  for process in /proc/[0-9]*; do
    ! grep -qsz "^LEASEHOLD_TERM=" "$process/environ" || { kill -KILL "${process#/proc/}" && killed=yes; }
  done
  [ $killed = yes ]'

# exec_scratch NAME: a StatefulSet of the image that has its program alone, by `sidecar inject --exec`
exec_scratch() {
  cat >"$results/$1.plain.yaml" <<Y
apiVersion: v1
kind: Service
metadata: {name: $1}
spec: {clusterIP: None, selector: {app: $1}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: $1
spec:
  replicas: 2
  serviceName: $1
  podManagementPolicy: Parallel
  selector:
    matchLabels: {app: $1}
  template:
    metadata:
      labels: {app: $1}
    spec:
      enableServiceLinks: false
      terminationGracePeriodSeconds: 10
      securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: app
          image: $SCRATCH_IMAGE
          command: [/worker]
          resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
Y
  "$injector" inject --exec -f "$results/$1.plain.yaml" --lease "$1" --image "$registry/leasehold/sidecar:$version" >"$results/$1.yaml"
}

a_program_that_kustomize_wraps_runs_in_one_pod() {
  exec_kustomized nightly
  exec_app Deployment nightly bash -c "$exec_kill"
}

a_program_alone_in_its_image_runs_in_one_pod() {
  exec_scratch queue
  exec_app StatefulSet queue /worker kill
}

# Nobody says to the program that its time is over: `exec` knows by itself.
a_program_is_ended_in_time_when_its_sidecar_freezes() {
  local old
  exec_kustomized frozen
  exec_up Deployment frozen
  old=$(exec_leader frozen)
  "$cluster" signal "$NAMESPACE" "$old" sidecar STOP
  exec_next frozen "$old" "the sidecar of $old frozen" || { "$cluster" signal "$NAMESPACE" "$old" sidecar CONT; return 1; }
  "$cluster" signal "$NAMESPACE" "$old" sidecar CONT || true # its liveness probe may have been faster
  exec_one frozen
  exec_down frozen
}

scenario a_program_that_kustomize_wraps_runs_in_one_pod
if [ -n "${SCRATCH_IMAGE:-}" ] && [ -x "$injector" ]; then scenario a_program_alone_in_its_image_runs_in_one_pod; fi
at_night scenario_with_faults a_program_is_ended_in_time_when_its_sidecar_freezes
