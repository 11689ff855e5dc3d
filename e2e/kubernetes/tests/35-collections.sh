# shellcheck shell=bash
# A release with collections of its own values: definitions, first records, and what an upgrade and an administrator change.

tenants_pods() { k get pods -l app.kubernetes.io/instance=tenants "$@"; }
tenants_leader() { k get lease tenants-cluster -o jsonpath='{.spec.holderIdentity}'; }
# tenants CURL-ARGUMENTS...: at the pod that leads; the path is the last argument
tenants() { k exec "$(tenants_leader)" -c store -- curl -s --max-time 10 "${@:1:$#-1}" "http://localhost:8089${*: -1}"; }
tenants_settled() {
  local name
  name=$(tenants_leader) && [ -n "$name" ] &&
    [ "$(k get statefulset tenants-cluster -o jsonpath='{.status.readyReplicas} {.status.updatedReplicas} {.status.currentRevision}')" = \
      "3 3 $(k get statefulset tenants-cluster -o jsonpath='{.status.updateRevision}')" ] &&
    [ "$(k exec "$name" -c store -- curl -s --max-time 2 -H 'Accept: text/plain' http://localhost:8089/api/leader)" = true ]
}
is_applied() { tenants /api/status | grep -q '"collectionsFile":{"applied":true'; }
says() { tenants "$1" | grep -q -- "$2"; }           # says PATH PATTERN
has_event() { k get events.events.k8s.io -o jsonpath='{range .items[*]}{.reason} {.note}{"\n"}{end}' | grep -q -- "$1"; }
upgrade_tenants() { # upgrade_tenants ARGS...
  helm upgrade tenants "$chart" -n "$NAMESPACE" "${values[@]}" "${brief[@]}" --values "$chart/examples/tenant-registry.yaml" "$@" --timeout 240s
}

collections_are_as_the_values_say_and_an_administrators_change_stays() {
  local leader
  # Initial data of a collection of the values, besides those of the example.
  quietly tenants-install helm install tenants "$chart" -n "$NAMESPACE" "${values[@]}" "${brief[@]}" --values "$chart/examples/tenant-registry.yaml" \
    --set-json 'initialData={"tenants":[{"id":"first","name":"First","email":"it@first.example","plan":"free"}]}' --wait --timeout 240s
  wait_for "the release to settle" 120 tenants_settled
  wait_for "the definitions to be applied" 60 is_applied
  says /tenants '"id":"first"' || { tenants /tenants; return 1; }
  says /api/collections '"name":"members"' || { tenants /api/collections; return 1; }
  tenants -X PUT -H 'Content-Type: application/json' -d '{"name":"Copy","email":"it@first.example","plan":"free"}' /tenants/copy |
    grep -q unique-conflict || { say "a second record has the same e-mail"; return 1; }

  # An administrator's change, and another leader.
  tenants -X PUT -H 'Content-Type: application/json' -d '{"id":"string","maxRecords":77}' /api/collections/members >/dev/null
  leader=$(tenants_leader)
  k delete pod "$leader" >/dev/null
  wait_for "the release to settle" 120 tenants_settled
  says /api/collections/members '"maxRecords":77' || { say "another leader undid it"; tenants /api/collections/members; return 1; }

  # Other values; the leader is deleted while the pods are replaced. (--wait would be over only afterwards.)
  quietly tenants-upgrade upgrade_tenants --set collections.members.maxRecords=500 --set collections.audit.id=string \
    --set collections.tenants.maxRecords=1000
  k delete pod "$(tenants_leader)" --wait=false >/dev/null
  wait_for "the release to settle" 240 tenants_settled
  wait_for "the definitions to be applied" 60 is_applied
  says /api/collections/members '"maxRecords":500' || { tenants /api/collections/members; return 1; }
  says /api/collections '"name":"audit"' || { tenants /api/collections; return 1; }
  says /tenants '"id":"first"'

  # What the records do not fit is refused by itself, and no pod ends.
  quietly tenants-refused upgrade_tenants --set collections.members.maxRecords=600 --set collections.audit.id=string \
    --set collections.tenants.maxRecords=1000 \
    --set-json 'collections.tenants.schema.required=["name","email","plan","seats"]' --wait
  wait_for "the release to settle" 240 tenants_settled
  wait_for "the definitions to be applied" 60 is_applied
  says /api/collections/members '"maxRecords":600' || { tenants /api/collections/members; return 1; }
  wait_for "the refusal to be in the status" 60 says /api/status '"tenants":"refused"'
  wait_for "an Event of it" 60 has_event '^DefinitionsRefused .*tenants: the record first does not fit'
  says /metrics 'leasehold_store_collections_file{state="refused"} 1'
  [ "$(tenants_pods -o jsonpath='{.items[*].status.containerStatuses[?(@.name=="store")].restartCount}')" = "0 0 0" ] ||
    { tenants_pods; return 1; }
  helm uninstall tenants -n "$NAMESPACE" --wait --timeout 120s >/dev/null
  k delete pvc -l app.kubernetes.io/instance=tenants >/dev/null
  k delete secret tenants-peer-key >/dev/null
}

scenario collections_are_as_the_values_say_and_an_administrators_change_stays
