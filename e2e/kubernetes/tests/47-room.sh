# shellcheck shell=bash
# A store whose memory is small, filled to the brim.

small_pods() { k get pods -l app.kubernetes.io/instance=small "$@"; }
restarts() { small_pods -o jsonpath='{.items[*].status.containerStatuses[?(@.name=="store")].restartCount}' | tr ' ' '\n' | awk '{n += $1} END {print n + 0}'; }
filler() { k exec filler -- bash -c "$1"; }
small_records() { k exec "$1" -c store -- curl -s --max-time 20 'http://localhost:8089/persons' | grep -oE '"id":"' | wc -l; }
small_has() { [ "$(small_records "$1")" = "$2" ]; } # small_has POD RECORDS

# Batches of 500 records of some 600 bytes, through the leader's Service, until an answer is not 200.
filling='
shopt -s lastpipe # send is the end of a pipe, and sets a variable to the result
create() { # create RECORDS
  local n id
  for n in $(seq "$1"); do
    read -r id </proc/sys/kernel/random/uuid
    [ "$n" = 1 ] || printf ,
    printf "{\"op\":\"create\",\"record\":{\"id\":\"%s\",\"firstName\":\"%s\",\"lastName\":\"%s\"}}" "$id" "$text" "$text"
  done | send
}
send() { # sends its input as the operations of a batch; the answer is in /tmp/answer
  { printf "{\"operations\":["; cat; printf "]}"; } >/tmp/batch
  code=$(curl -s -o /tmp/answer -w "%{http_code}" --max-time 20 -H "Content-Type: application/json" --data-binary @/tmp/batch http://small-leader:8089/persons:batch)
}
text=$(printf "x%.0s" $(seq 250)) code=200
'

# The container may use 96 MiB, and is given more than it can hold. Once it was killed over and over, and its successor
# never started.
a_small_memory_is_filled_and_no_pod_is_killed() {
  local initial taken counted leader i
  timed "helm install small" quietly small helm install small "$chart" -n "$NAMESPACE" "${values[@]}" "${brief[@]}" \
    --set resources.store.requests.memory=96Mi,resources.store.limits.memory=96Mi --wait --timeout 240s
  k apply -f - >/dev/null <<Y
apiVersion: v1
kind: Pod
metadata: {name: filler}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: filler
      image: $registry/leasehold/store:$version
      command: [bash, -c, "sleep infinity"]
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: tmp, mountPath: /tmp}]
  volumes: [{name: tmp, emptyDir: {}}]
Y
  wait_for "the filler to be started" 120 is_ready filler
  initial=$(small_records small-cluster-0)
  taken=$(filler "$filling"'
    batches=0
    while create 500; [ "$code" = 200 ] && [ "$batches" -lt 1000 ]; do batches=$((batches + 1)); done
    echo "$((batches * 500)) $code $(head -c 300 /tmp/answer)"')
  say "records accepted, and the answer after that: $taken"
  case $taken in *" 507 "*out-of-room*) ;; *) return 1 ;; esac
  leader=$(k get lease small-cluster -o jsonpath='{.spec.holderIdentity}')
  k exec "$leader" -c store -- sh -c 'echo "     memory of the leader: $(grep VmRSS /proc/1/status)"'
  for i in 0 1 2; do wait_for "small-cluster-$i to have all" 60 small_has "small-cluster-$i" "$((initial + ${taken%% *}))"; done
  [ "$(restarts)" = 0 ] || { say "a store was killed"; small_pods; return 1; }
  # All of them start with their data, one after the other, including the last leader's successors.
  k rollout restart statefulset small-cluster >/dev/null
  quietly small-rollout k rollout status statefulset small-cluster --timeout 240s
  for i in 0 1 2; do wait_for "small-cluster-$i to have all" 60 small_has "small-cluster-$i" "$((initial + ${taken%% *}))"; done
  # Deletes are accepted, and make room for other records by themselves.
  counted=$(filler "$filling"'
    for page in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
      curl -s --max-time 20 "http://small-leader:8089/persons?limit=500" | grep -oE "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}" |
        sort -u | sed "s/.*/{\"op\":\"delete\",\"id\":\"&\"}/" | paste -sd, | send
      [ "$code" = 200 ] || break
    done
    echo "$page $code $(head -c 300 /tmp/answer)"')
  case $counted in "20 200 "*) ;; *) say "deletes: $counted"; return 1 ;; esac
  wait_for "writes to be taken again" 60 filled_again
  [ "$(restarts)" = 0 ] || { say "a store was killed"; small_pods; return 1; }
  k delete pod filler --force --grace-period=0 >/dev/null 2>&1
  helm uninstall small -n "$NAMESPACE" --wait --timeout 120s >/dev/null
  k delete pvc -l app.kubernetes.io/instance=small >/dev/null
  k delete secret small-peer-key >/dev/null
}
filled_again() { [ "$(filler "$filling"'create 1; echo "$code"')" = 200 ]; }

scenario a_small_memory_is_filled_and_no_pod_is_killed
