# shellcheck shell=bash
# A chart that is well formed, an installation, and what the README shows.

the_chart_is_as_its_golden_files() { HELM=$(command -v helm) "$chart/tests/run.sh"; }

helm_install_waits_until_all_pods_serve() {
  # First, so that it applies to the pods: "restricted" is the strictest of Kubernetes' pod security standards.
  kubectl create namespace "$NAMESPACE" >/dev/null
  kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted >/dev/null
  cd "$root" || return 1
  timed "helm install --wait" quietly install helm install database ./helm -n database --create-namespace \
    --wait --timeout 180s "${values[@]}"
  settle
  k get pods -o wide | sed 's/^/     /'
}

the_walk_through_works_word_for_word() {
  local command="" line output
  while IFS= read -r line; do
    case $line in
    '#= '*)
      output=$(bash -c "$command" 2>&1) || { say "FAILED: $command: $output"; return 1; }
      tr '\n' ' ' <<<"$output" | grep -qE -- "${line#'#= '}" || { say "UNEXPECTED: $command: $output"; return 1; }
      say "ok: ${command:0:110}"
      ;;
    '#'*) ;;
    *) command=$line ;;
    esac
  done <"$here/walk-through"
  echo e956b5d0-fa0c-40e8-9da9-333c214dcaf7 >>"$results/acknowledged"
}

helm_test_writes_and_reads_through_the_services() {
  timed "helm test" quietly helm-test helm_test "$RELEASE"
}

the_sidecar_may_do_what_it_does_and_nothing_else() {
  local as="system:serviceaccount:$NAMESPACE:$cluster_name" allowed denied what
  allowed=("create leases" "get leases/$cluster_name" "update leases/$cluster_name" "watch leases/$cluster_name"
    "watch statefulsets/$cluster_name" "watch endpointslices" "create endpointslices" "update endpointslices/$RELEASE-leader-ipv4"
    "create events.events.k8s.io" "patch pods/$cluster_name-0")
  denied=("delete leases/$cluster_name" "update leases/other" "list leases" "get secrets" "get pods/$cluster_name-0"
    "delete pods/$cluster_name-0" "patch pods/other" "update statefulsets/$cluster_name" "update endpointslices/other" "create pods")
  for what in "${allowed[@]}"; do
    # shellcheck disable=SC2086 # verb and resource
    [ "$(k auth can-i $what --as "$as" 2>/dev/null)" = yes ] || { say "not allowed: $what"; return 1; }
  done
  for what in "${denied[@]}"; do
    # shellcheck disable=SC2086
    [ "$(k auth can-i $what --as "$as" 2>/dev/null)" = no ] || { say "allowed: $what"; return 1; }
  done
  in_pod "$(pod 0)" test ! -e /var/run/secrets/kubernetes.io || { say "the store has a token"; return 1; }
  # The API server refused none of the sidecars' requests.
  ! k logs -l app.kubernetes.io/name=leasehold -c sidecar --tail=-1 | grep -i forbidden
}

# As the README says.
a_port_is_forwarded_to_the_leaders_pod_and_not_to_its_service() {
  local forward code=1
  # kubectl cannot: it looks for pods by a Service's selector.
  if timeout 10 kubectl port-forward -n database svc/database-leader 18089:8089 >"$results/forward.txt" 2>&1; then return 1; fi
  grep -q 'selector' "$results/forward.txt" || { cat "$results/forward.txt"; return 1; }
  # shellcheck disable=SC2046 # as the README has it
  kubectl port-forward -n database $(kubectl get lease -n database database-cluster -o jsonpath='pod/{.spec.holderIdentity}') 18089:8089 \
    >"$results/forward.txt" 2>&1 &
  forward=$!
  wait_for "an answer of the leader" 30 forwarded && code=0
  kill "$forward"
  wait "$forward" || true
  return $code
}
forwarded() { [ "$(curl -s --max-time 2 -H 'Accept: text/plain' http://localhost:18089/api/leader)" = true ]; }

# Without a visible cluster no key is made; with one, only once.
a_rendering_without_a_cluster_is_refused() {
  if helm template database "$chart" -n database --kube-version 1.35.0 >"$results/template.txt" 2>&1; then return 1; fi
  grep -q 'kubectl create secret generic database-peer-key -n database' "$results/template.txt" || { cat "$results/template.txt"; return 1; }
  # What a cluster would get from an existing release: no other key.
  helm upgrade database "$chart" -n database "${values[@]}" --dry-run=server >"$results/template.txt"
  grep -q 'kind: StatefulSet' "$results/template.txt" && ! grep -q 'kind: Secret' "$results/template.txt"
}

scenario the_chart_is_as_its_golden_files
scenario helm_install_waits_until_all_pods_serve
scenario the_walk_through_works_word_for_word
scenario helm_test_writes_and_reads_through_the_services
scenario the_sidecar_may_do_what_it_does_and_nothing_else
scenario a_port_is_forwarded_to_the_leaders_pod_and_not_to_its_service
scenario a_rendering_without_a_cluster_is_refused
