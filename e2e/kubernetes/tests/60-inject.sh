# shellcheck shell=bash
# Manifests that know nothing of Leasehold, after `sidecar inject`: a Deployment and a StatefulSet of two pods.

injector=$(dirname "${E2E:-/nowhere}")/sidecar

# plain_app KIND NAME: each pod says hello once a second while its sidecar says that it leads.
plain_app() {
  cat <<Y
# The Service of the StatefulSet; a Deployment does not mind it.
apiVersion: v1
kind: Service
metadata: {name: $2}
spec: {clusterIP: None, selector: {app: $2}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: $1
metadata:
  name: $2   # its name
spec:
  replicas: 2
$([ "$1" = Deployment ] || printf '  serviceName: %s\n  podManagementPolicy: Parallel\n' "$2")
  selector:
    matchLabels: {app: $2}
  template:
    metadata:
      labels: {app: $2}
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
              trap 'exit 0' TERM
              ! touch /run/leasehold/of-the-app 2>/dev/null || echo "the directory may be written"
              while :; do
                if curl -sf -m 1 localhost:8088/leader >/dev/null; then echo "hello from \$HOSTNAME"; else echo waiting; fi
                sleep 1 & wait \$!
              done
          ports:
            - containerPort: 8080
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
Y
}

injected_leader() { k get lease "$1" -o jsonpath='{.spec.holderIdentity}'; }
# injected_greets NAME [OLD]: the holder of the Lease, which is not OLD, says hello
injected_greets() {
  local name
  name=$(injected_leader "$1") && [ -n "$name" ] && [ "$name" != "${2:-}" ] && k logs "$name" -c app --tail=2 | grep -q "^hello from $name"
}
says_leader() { [ "$(k exec "$1" -c app -- cat /run/leasehold/role)" = leader ]; }
labelled_leader() { [ "$(k get pods -l "app=$1,leasehold.dev/role=leader" -o name)" = "pod/$(injected_leader "$1")" ]; }

# injected_app KIND NAME: one leads at once; its pod is deleted, and the other one leads
injected_app() {
  local kind=$1 name=$2 manifest=$results/$2.yaml old
  plain_app "$kind" "$name" >"$results/$name.plain.yaml"
  "$injector" inject -f "$results/$name.plain.yaml" --lease "$name" --image "$registry/leasehold/sidecar:$version" >"$manifest"
  "$injector" inject -f "$manifest" --lease "$name" --image "$registry/leasehold/sidecar:$version" | cmp - "$manifest"
  k apply -f "$manifest" >/dev/null
  k rollout status "$kind/$name" --timeout=120s >/dev/null
  timed "one of $kind $name leads" wait_for "a leader" 60 injected_greets "$name"
  old=$(injected_leader "$name")
  k logs -l "app=$name" -c app --tail=-1 --prefix >"$results/$name.log"
  if grep hello "$results/$name.log" | grep -v "hello from $old" || grep 'may be written' "$results/$name.log"; then return 1; fi
  k get lease "$name" -o jsonpath='{.metadata.annotations}' | grep ':8080' >/dev/null || { say "the Lease does not say where $old is"; return 1; }
  wait_for "the word for shells" 10 says_leader "$old"
  if [ "$kind" = StatefulSet ]; then
    # Its Role names the pods, so all that a sidecar does is allowed.
    wait_for "the label of the leader" 30 labelled_leader "$name"
    if k logs -l "app=$name" -c sidecar --tail=-1 | grep -i forbidden; then return 1; fi
  fi
  k delete pod "$old" --wait=false >/dev/null
  timed "$old deleted, the other one leads" wait_for "the other one" 60 injected_greets "$name" "$old"
  # Applied again, the manifest does not touch who leads.
  old=$(injected_leader "$name")
  k apply -f "$manifest" >/dev/null
  [ "$(injected_leader "$name")" = "$old" ]
  k delete -f "$manifest" --wait=false >/dev/null
  wait_for "its pods to be gone" 60 injected_gone "$name"
  # A sidecar that ended later may have made the Lease again.
  k delete lease "$name" "$name.first" --ignore-not-found >/dev/null
}
injected_gone() { [ -z "$(k get pods -l "app=$1" -o name)" ]; }

a_deployment_that_was_injected_has_one_leader() { injected_app Deployment injected-web; }
a_stateful_set_that_was_injected_has_one_leader() { injected_app StatefulSet injected-queue; }

if [ -x "$injector" ]; then
  scenario a_deployment_that_was_injected_has_one_leader
  scenario a_stateful_set_that_was_injected_has_one_leader
fi
