# shellcheck shell=bash
# Trust: a pod that does not belong to the cluster, keys and certificates that change, TLS and tokens for clients. No
# NetworkPolicy helps here (the cluster of our own does not enforce any): the store itself refuses.

key_secret=$RELEASE-peer-key
status_of() { ask "$1" /api/status; }
keys_of() { status_of "$1" | grep -oE '"keys":\[[^]]*\]' | grep -oE '[0-9a-f]{16}' | wc -l; }
all_know() { # all_know COUNT: every pod has read its Secret and knows this many keys
  local i
  for i in $(seq 0 $(($(members) - 1))); do [ "$(keys_of "$(pod "$i")")" = "$1" ] || return 1; done
}
key_file() { k get secret "$key_secret" -o jsonpath="{.data.$1}"; }
upgrade() { # upgrade ARGS...: and every pod is of the new revision. They drain quickly: there are many of these
  helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" --set drainMinSeconds=1 "$@" --wait --timeout 300s >"$results/upgrade.txt" 2>&1 ||
    { cat "$results/upgrade.txt"; return 1; }
}

# outsider_start: a pod of the same namespace and image, without the key. It logs what it receives.
outsider_start() {
  k delete pod outsider --ignore-not-found --force --grace-period=0 >/dev/null 2>&1
  k apply -f - >/dev/null <<Y
apiVersion: v1
kind: Pod
metadata: {name: outsider, labels: {app: outsider}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: outsider
      image: $registry/leasehold/store:$version
      command: [bash, -c, "exec {never}<> <(:); read -r -u \$never"]
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
Y
  wait_for "the outsider to be started" 120 is_ready outsider
}
outsider_says() { # outsider_says POD PATH ARGS...: the status of the answer. By its IP: a DNS cache may not know a new pod yet
  local ip path=$2
  ip=$(k get pod "$1" -o jsonpath='{.status.podIP}')
  case $ip in *:*) ip="[$ip]" ;; esac
  shift 2
  k exec outsider -- curl -s -o /dev/null -w '%{http_code}' --max-time 5 "$@" "http://$ip:8090$path"
}

an_outsider_pod_cannot_read_write_vote_or_invite() {
  local i before who claim code rejected
  before=$(term) who=$(holder)
  outsider_start
  claim="{\"clusterId\": \"$(status_of "$who" | grep -oE '"clusterId":"[^"]*"' | head -n 1 | cut -d'"' -f4)\", \"term\": $((before + 100)),
    \"incarnation\": \"11111111-1111-4111-8111-111111111111\", \"name\": \"outsider\", \"peerAddress\": \"outsider:8090\"}"
  for i in 0 1 2; do
    code=$(outsider_says "$(pod "$i")" /v1/state)
    [ "$code" = 401 ] || { say "GET /v1/state of $(pod "$i"): $code"; return 1; }
    code=$(outsider_says "$(pod "$i")" /v1/claim -H 'Content-Type: application/json' -d "$claim")
    [ "$code" = 401 ] || { say "POST /v1/claim of $(pod "$i"): $code"; return 1; }
    code=$(outsider_says "$(pod "$i")" /v1/replicate -H 'Connection: upgrade' -H 'Upgrade: websocket' \
      -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==')
    [ "$code" = 401 ] || { say "GET /v1/replicate of $(pod "$i"): $code"; return 1; }
    rejected=$(ask "$(pod "$i")" /metrics | sed -n 's/^leasehold_store_peer_rejected_total{reason="key"} //p')
    [ "${rejected:-0}" -ge 3 ] || { say "$(pod "$i") counted ${rejected:-none} of three"; return 1; }
    status_of "$(pod "$i")" | grep -q '"reason":"key"' || { say "$(pod "$i") does not say so in its status"; return 1; }
  done
  [ "$(term) $(holder)" = "$before $who" ] || { say "the leadership moved: $before $who, now $(term) $(holder)"; return 1; }
  k delete pod outsider --force --grace-period=0 >/dev/null 2>&1
  verify
}

# As docs/kubernetes.md says.
the_key_is_changed_while_clients_write() {
  local old new
  old=$(key_file current)
  new=$(head -c 48 /dev/urandom | base64 -w0 | base64 -w0)
  writer_start
  k patch secret "$key_secret" -p "{\"data\": {\"next\": \"$new\"}}" >/dev/null
  timed "every pod knows both keys" wait_for "both keys" 240 all_know 2
  k patch secret "$key_secret" -p "{\"data\": {\"current\": \"$new\", \"next\": null}}" >/dev/null
  timed "every pod knows the new key alone" wait_for "the new key" 240 all_know 1
  # Connections made with the old key survive; a restart ends them.
  k rollout restart statefulset "$cluster_name" >/dev/null
  settle 240
  writer_goes_on
  writer_stop
  [ "$(key_file current)" = "$new" ] && [ "$new" != "$old" ]
  verify
}

# The rollback's target revision was made before the key was changed.
an_upgrade_and_a_rollback_keep_the_key() {
  local before
  before=$(key_file current)
  [ -n "$before" ] || return 1
  upgrade --set-string podAnnotations.trust=1
  settle
  [ "$(key_file current)" = "$before" ] || { say "the upgrade changed the key"; return 1; }
  writer_start
  timed "helm rollback" quietly rollback helm rollback "$RELEASE" -n "$NAMESPACE" --wait --timeout 300s
  settle
  writer_goes_on
  writer_stop
  [ "$(key_file current)" = "$before" ] || { say "the rollback changed the key"; return 1; }
  verify
}

# certificates: one authority, one certificate for the pods, one for the Services
certificates() {
  local dir=$results/certificates host=$RELEASE-service.$NAMESPACE.svc.cluster.local name names
  rm -rf "$dir"
  mkdir -p "$dir"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=e2e -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
  for name in peer api; do
    names="DNS:$host,DNS:*.$host"
    [ $name = peer ] || names="$names,DNS:$RELEASE-leader,DNS:$RELEASE-read,DNS:$RELEASE-leader.$NAMESPACE.svc.cluster.local,DNS:localhost"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 2 \
      -extfile <(echo "subjectAltName=$names") -out "$dir/$name.crt" 2>/dev/null
    k delete secret "e2e-$name" --ignore-not-found >/dev/null
    k create secret generic "e2e-$name" --from-file=tls.crt="$dir/$name.crt" --from-file=tls.key="$dir/$name.key" \
      --from-file=ca.crt="$dir/ca.crt" >/dev/null
  done
}

tls_between_the_pods_comes_and_goes_while_clients_write() {
  local tls=(--set peerTls.existingSecret=e2e-peer)
  certificates
  writer_start
  timed "TLS offered" upgrade "${tls[@]}" --set peerTrust=optional
  settle
  timed "TLS demanded" upgrade "${tls[@]}"
  settle
  status_of "$(pod 0)" | grep -qE '"certificates":\["[0-9a-f]{16}"' || { say "no certificate is in use"; return 1; }
  timed "TLS no more demanded" upgrade "${tls[@]}" --set peerTrust=optional
  settle
  timed "TLS gone" upgrade
  settle
  writer_goes_on
  writer_stop
  verify
}

token_of() { k get secret "$RELEASE-api-tokens" -o jsonpath="{.data.$1}" | base64 -d; } # token_of KEY, with its dots as \.
code_of() { in_pod "$(pod 0)" curl -s -o /dev/null -w '%{http_code}' --max-time 5 --cacert /etc/leasehold-trust/api-tls/ca.crt "$@"; }
answers_with() { [ "$(code_of "${@:2}")" = "$1" ]; } # answers_with CODE ARGS...
redirected_write=(--cacert /etc/leasehold-trust/api-tls/ca.crt --location-trusted -H 'Content-Type: application/json'
  -d '{"firstName": "Johanna", "lastName": "Redirected"}' https://localhost:8089/persons)
redirects_a_write() { # redirects_a_write POD TOKEN
  [ "$(in_pod "$1" curl -s -o /dev/null -w '%{http_code}' --max-time 5 "${redirected_write[@]}" -H "Authorization: Bearer $2")" = 201 ]
}
# A bucket of the agent's own: its folder goes with its pod.
archived=(--set backup.enabled=true --set backup.url=file:///archive --set backup.changesEvery=1s
  --set-json 'backup.extraVolumes=[{"name":"archive","emptyDir":{}}]'
  --set-json 'backup.extraVolumeMounts=[{"name":"archive","mountPath":"/archive"}]')
by_the_agent() { k exec "deploy/$RELEASE-backup" -- "$@"; }
is_archived() { # is_archived SEQUENCE: a restore would lead there
  local has
  has=$(by_the_agent curl -s --max-time 5 http://localhost:8092/metrics | sed -n 's/^leasehold_backup_recoverable_sequence //p')
  [ -n "$has" ] && [ "${has%.*}" -ge "$1" ]
}
clients_need_tls_and_a_token_where_that_is_asked_for() {
  local token reader admin backup orders code expected redirected last url=https://localhost:8089
  local secured=(--set apiTls.existingSecret=e2e-api --set apiTokens.create=true --set followerWrites=redirect "${archived[@]}")
  certificates
  # --wait tests that the kubelet's probes still work: the pods become ready.
  timed "upgraded" upgrade "${secured[@]}"
  wait_for "the rollout" 240 k rollout status statefulset "$cluster_name" --timeout=5s
  token=$(token_of write) reader=$(token_of read) admin=$(token_of admin) backup=$(token_of backup)
  [ -n "$admin" ] && [ -n "$backup" ] || { say "the chart made no admin or no backup"; return 1; }
  for expected in "401 $url/persons" "200 $url/healthz" "200 $url/readyz" "401 $url/metrics" \
    "200 $url/persons -H Authorization:\ Bearer\ $reader" "403 $url/persons -X POST -H Authorization:\ Bearer\ $reader" \
    "200 $url/metrics -H Authorization:\ Bearer\ $token" \
    "403 $url/api/expiry -X PUT -H Authorization:\ Bearer\ $token" \
    "415 $url/api/expiry -X PUT -H Authorization:\ Bearer\ $admin" \
    "403 $url/persons -H Authorization:\ Bearer\ $backup" "403 $url/%70ersons -H Authorization:\ Bearer\ $backup" \
    "200 $url/persons:watch -H Authorization:\ Bearer\ $backup"; do
    eval "set -- $expected"
    code=$1
    shift
    [ "$(code_of "$@")" = "$code" ] || { say "not $code but $(code_of "$@"): ${*:1:1}"; return 1; }
  done
  # A key for one collection, and one that is gone: the chart makes that again, and leaves the others as they are.
  orders=0123456789-orders-$RANDOM
  k patch secret "$RELEASE-api-tokens" -p "{\"data\": {\"backup\": null, \"read.persons\": \"$(printf %s "$orders" | base64 -w0)\"}}" >/dev/null
  wait_for "the pods to know the new token" 240 answers_with 200 "$url/persons" -H "Authorization: Bearer $orders"
  [ "$(code_of "$url/orders" -H "Authorization: Bearer $orders")" = 403 ] || { say "a token of persons may read orders"; return 1; }
  timed "a missing key is added" upgrade "${secured[@]}"
  [ "$(token_of write) $(token_of admin) $(token_of 'read\.persons')" = "$token $admin $orders" ] ||
    { say "the upgrade changed a token"; return 1; }
  [ -n "$(token_of backup)" ] && [ "$(token_of backup)" != "$backup" ] || { say "the upgrade added no backup"; return 1; }
  # A redirect names the leader's pod as its certificate does: curl follows it, as soon as DNS knows the new pod. For half a
  # minute its caches (of names and of missing names) return the old one; a write that did not arrive is not done.
  redirected=$(a_follower)
  wait_for "a redirected write" 75 redirects_a_write "$redirected" "$token" ||
    { say "$(in_pod "$redirected" curl -sS -i --max-time 5 "${redirected_write[@]}" -H "Authorization: Bearer $token" 2>&1)"; return 1; }
  # The agent of backups comes by the headless Service's name, with the CA and the token that the chart gives it.
  last=$(in_pod "$redirected" curl -s -o /dev/null -D - --max-time 5 --cacert /etc/leasehold-trust/api-tls/ca.crt \
    -H "Authorization: Bearer $token" "$url/persons?consistency=strong" | tr -d '\r' | sed -n 's/^[Ll]easehold-[Ss]equence: //p')
  [ -n "$last" ] || { say "a read has no sequence"; return 1; }
  timed "the agent has sequence $last" wait_for "the agent to archive" 60 is_archived "$last" ||
    { k logs "deploy/$RELEASE-backup"; return 1; }
  quietly archive-verify by_the_agent backup verify
  # curl ends with an error, as it should: kubectl's message about that is no news.
  [ "$(in_pod "$(pod 0)" curl -s -o /dev/null -w '%{http_code}' --max-time 5 http://localhost:8089/healthz 2>/dev/null)" = 000 ] ||
    { say "plain HTTP is answered"; return 1; }
  timed "helm test" quietly helm-test-tls helm_test "$RELEASE"
  # The sidecars need neither: `status` shows every pod.
  [ "$(k exec "$(pod 0)" -c sidecar -- sidecar status | grep -c "^$cluster_name-")" -ge "$(members)" ]
  timed "back" upgrade
  settle
  verify
}

# Without tokens: a page whose own name leads to the port, and pages of other origins.
foreign_names_and_pages_get_nothing() {
  local host
  for host in localhost "$RELEASE-read" "$RELEASE-leader.$NAMESPACE" "$RELEASE-service.$NAMESPACE.svc" \
    "$RELEASE-read.$NAMESPACE.svc.cluster.local" "$(pod 0)" "$(pod 1).$RELEASE-service.$NAMESPACE.svc.cluster.local"; do
    [ "$(plain_code -H "Host: $host:8089" http://localhost:8089/persons)" = 200 ] || { say "$host is no name of it"; return 1; }
  done
  [ "$(plain_code -H 'Host: evil.example' http://localhost:8089/persons)" = 403 ] || { say "evil.example is a name of it"; return 1; }
  [ "$(plain_code -H 'Host: evil.example' http://localhost:8089/readyz)" = 200 ] || { say "probes need a name"; return 1; }
  [ "$(plain_code -X DELETE -H 'Origin: http://evil.example' "http://localhost:8089/persons/$(cat /proc/sys/kernel/random/uuid)")" = 403 ] ||
    { say "a foreign page may delete"; return 1; }
  timed "another name is given" upgrade --set 'apiHosts={db.example.com}'
  settle
  [ "$(plain_code -H 'Host: db.example.com' http://localhost:8089/persons)" = 200 ] || { say "db.example.com is no name of it"; return 1; }
  timed "back" upgrade
  settle
  verify
}
plain_code() { in_pod "$(pod 0)" curl -s -o /dev/null -w '%{http_code}' --max-time 5 "$@"; }

scenario an_outsider_pod_cannot_read_write_vote_or_invite
scenario the_key_is_changed_while_clients_write
scenario an_upgrade_and_a_rollback_keep_the_key
scenario tls_between_the_pods_comes_and_goes_while_clients_write
scenario clients_need_tls_and_a_token_where_that_is_asked_for
scenario foreign_names_and_pages_get_nothing
