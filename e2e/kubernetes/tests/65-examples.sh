# shellcheck shell=bash
# The programs in examples/, as their pages say: of two pods one works, and another one when that pod is deleted. All at
# once, which takes not much longer than one.

example_names=(go python bash postgres)
[ "${EXAMPLES:-}" != all ] || example_names+=(java node)

# example_up NAME: its ConfigMap, and its Deployment with the images of this run
example_up() {
  local folder=$root/examples/$1 program
  for program in "$folder"/{worker.*,Worker.java,work.sh}; do
    [ ! -e "$program" ] || k create configmap "$1-worker" --from-file="$program" >/dev/null
  done
  # The image has the program in Go besides others, so that one is called by its name.
  sed "s|image: localhost/leasehold/sidecar:.*|image: $registry/leasehold/sidecar:$version|
       s|image: registry.example/you/go-worker|image: $EXAMPLES_IMAGE|
       s|command: \[/worker\]|command: [go-worker]|
       s|image: [a-z-]*:[0-9].*|image: $EXAMPLES_IMAGE|" "$folder/deployment.yaml" >"$results/example-$1.yaml"
  k apply -f "$results/example-$1.yaml" >/dev/null
}

postgres_up() {
  k create secret generic postgres --from-literal=PGHOST=postgres --from-literal=PGUSER=worker --from-literal=PGDATABASE=postgres >/dev/null
  k apply -f - >/dev/null <<Y
apiVersion: v1
kind: Service
metadata: {name: postgres}
spec: {selector: {app: postgres}, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: postgres, labels: {app: postgres}}
spec:
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: postgres
      image: $EXAMPLES_IMAGE
      command: [bash, -ec]
      args:
        - |
          initdb --pgdata=/data/db --username=worker --auth=trust --no-sync --no-locale --encoding=UTF8
          echo "host all all all trust" >>/data/db/pg_hba.conf
          exec postgres -D /data/db -c listen_addresses='*' -c unix_socket_directories=/data -c fsync=off -c jit=off
      readinessProbe: {tcpSocket: {port: 5432}, periodSeconds: 1}
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
Y
  wait_for "PostgreSQL to be ready" 120 is_ready postgres || { k describe pod postgres; k logs postgres; return 1; }
  wait_for "PostgreSQL to have its tables" 30 postgres_schema
}
postgres_schema() { k exec -i postgres -- psql -h /data -U worker -d postgres -v ON_ERROR_STOP=1 -q <"$root/examples/postgres/schema.sql"; }
postgres_ask() { k exec postgres -- psql -h /data -U worker -d postgres -qtA -c "$1"; }

example_leader() { k get lease "$1-worker" -o jsonpath='{.spec.holderIdentity}'; }
example_lines() { k logs -l "app=$1-worker" -c worker --tail=-1 | grep -E '^term [0-9]+: '; }
# example_works NAME [OLD]: the holder of the Lease, which is not OLD, has done some work
example_works() {
  local leader
  leader=$(example_leader "$1") && [ -n "$leader" ] && [ "$leader" != "${2:-}" ] &&
    [ "$(k logs "$leader" -c worker --tail=5 | grep -cE "^term [0-9]+: $leader (works|stored)")" -ge 2 ]
}
# example_one NAME: all lines of the pods that are there are of the holder, and of one term, which is printed
example_one() {
  local leader lines
  leader=$(example_leader "$1")
  lines=$(example_lines "$1" | cut -d ' ' -f 1-3 | sort -u)
  [[ $lines =~ ^term\ ([0-9]+):\ $leader$ ]] || { say "$1: $leader leads, but work was done in: $lines" >&2; return 1; }
  echo "${BASH_REMATCH[1]}"
}
example_gone() { [ -z "$(k get pods -l "app=$1-worker" -o name)" ]; }

one_pod_of_each_example_works_and_another_when_it_is_deleted() {
  local name order
  local -A old term
  postgres_up
  for name in "${example_names[@]}"; do example_up "$name"; done
  for name in "${example_names[@]}"; do
    k rollout status deployment "$name-worker" --timeout=120s >/dev/null
    wait_for "a pod of $name to work" 60 example_works "$name"
    old[$name]=$(example_leader "$name")
    term[$name]=$(example_one "$name")
  done
  for name in "${example_names[@]}"; do k delete pod "${old[$name]}" --wait=false >/dev/null; done
  for name in "${example_names[@]}"; do
    timed "$name: ${old[$name]} deleted with the others, another one works" \
      wait_for "another pod of $name to work" 60 example_works "$name" "${old[$name]}"
    # The logs of all pods, without that of one that ends or has not begun.
    wait_for "${old[$name]} to be gone" 60 gone "${old[$name]}"
    k rollout status deployment "$name-worker" --timeout=60s >/dev/null
    [ "$(example_one "$name")" -gt "${term[$name]}" ]
  done
  # What PostgreSQL says of the same: no row of an older term stands behind one of a newer term.
  order=$(postgres_ask "SELECT count(*) FILTER (WHERE term < before), count(DISTINCT term) > 1
    FROM (SELECT term, lag(term) OVER (ORDER BY id) AS before FROM result) r")
  [ "$order" = "0|t" ] || { say "the rows: $order"; return 1; }

  for name in "${example_names[@]}"; do
    k delete -f "$results/example-$name.yaml" --wait=false >/dev/null
    k delete configmap "$name-worker" --ignore-not-found >/dev/null
  done
  for name in "${example_names[@]}"; do
    wait_for "the pods of $name to be gone" 60 example_gone "$name"
    # A sidecar that ended later may have made the Lease again.
    k delete lease "$name-worker" "$name-worker.first" --ignore-not-found >/dev/null
  done
  k delete pod postgres --force --grace-period=0 >/dev/null 2>&1
  k delete service postgres >/dev/null
  k delete secret postgres >/dev/null
}

if [ -n "${EXAMPLES_IMAGE:-}" ]; then
  scenario one_pod_of_each_example_works_and_another_when_it_is_deleted
fi
