# shellcheck shell=bash
# A release with backups in a bucket: everything is lost but the bucket, and a new release begins with what was in it.
# Its own release, `archived`: the other scenarios' stays as it is.

s3_up() {
  k create secret generic s3-credentials --from-literal=AWS_ACCESS_KEY_ID=e2e --from-literal=AWS_SECRET_ACCESS_KEY=e2e-secret \
    --from-literal=AWS_REGION=us-east-1 >/dev/null
  k apply -f - >/dev/null <<Y
apiVersion: v1
kind: Service
metadata: {name: s3}
spec: {selector: {app: s3}, ports: [{port: 7070}]}
---
apiVersion: v1
kind: Pod
metadata: {name: s3, labels: {app: s3}}
spec:
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: s3
      image: $S3_IMAGE
      args: [--port, ":7070", --access, e2e, --secret, e2e-secret, --region, us-east-1, posix, /bucket]
      readinessProbe: {tcpSocket: {port: 7070}, periodSeconds: 1}
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: bucket, mountPath: /bucket}]
  volumes: [{name: bucket, emptyDir: {}}]
Y
  wait_for "the S3 server to be ready" 120 is_ready s3 || { k describe pod s3; k logs s3; return 1; }
  wait_for "the bucket" 30 make_bucket
}
# From a pod of the release that is always there: its image has curl. (This curl does not send that header by itself.)
make_bucket() {
  k exec database-cluster-0 -c store -- curl -s --fail --aws-sigv4 aws:amz:us-east-1:s3 --user e2e:e2e-secret \
    -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -X PUT http://s3:7070/backups
}
archived_install() { # archived_install ARGS...
  helm install archived "$chart" -n "$NAMESPACE" "${values[@]}" "${brief[@]}" --set persistence.size=1Gi \
    --set-json 'collections={"tenants":{"id":"string","indexes":[{"fields":["/email"],"unique":true}]}}' \
    --set backup.enabled=true --set backup.url=s3://backups/e2e --set backup.endpoint=http://s3:7070 --set backup.pathStyle=true \
    --set backup.existingSecret=s3-credentials --set backup.changesEvery=2s --set-string backup.drill.schedule="0 4 1 1 *" \
    "$@" --wait --timeout 240s
}
archived_gone() { [ -z "$(k get pods -l app.kubernetes.io/instance=archived -o name)" ]; }
archived_volumes_go() {
  wait_for "the pods to be gone" 90 archived_gone
  k delete pvc -l app.kubernetes.io/instance=archived --wait >/dev/null
}
backup() { k exec deploy/archived-backup -- backup "$@"; }
sequence() { in_pod "$(holder)" curl -s -o /dev/null -D - http://localhost:8089/tenants?limit=1 | tr -d '\r' | sed -n 's/^[Ll]easehold-[Ss]equence: //p'; }
archived_up_to() { # archived_up_to SEQUENCE
  local has
  has=$(k exec deploy/archived-backup -- curl -s --max-time 5 http://localhost:8092/metrics | sed -n 's/^leasehold_backup_recoverable_sequence //p')
  [ -n "$has" ] && [ "${has%.*}" -ge "$1" ]
}
at_leader() { # at_leader CURL-ARGUMENTS... PATH
  in_pod "$(holder)" curl -s --max-time 20 -H 'Content-Type: application/json' "${@:1:$#-1}" "http://localhost:8089${*: -1}"
}
cluster_of_pod() { ask "$1" /api/status | grep -o '"clusterId":"[^"]*"' | head -n 1 | cut -d '"' -f 4; }
job_done() { [ "$(k get job "$1" -o jsonpath='{.status.succeeded}')" = 1 ]; }
# items NUMBER: so many records, a thousand in a request
items() {
  # shellcheck disable=SC2016 # the pod's shell
  in_pod "$(holder)" bash -euc '
    curl -s --fail -X PUT -H "Content-Type: application/json" -d "{\"id\":\"string\"}" http://localhost:8089/api/collections/items >/dev/null
    for ((first = 0; first < $1; first += 1000)); do
      {
        printf "{\"operations\":["
        for ((i = first; i < first + 1000; i++)); do
          ((i == first)) || printf ,
          printf "{\"op\":\"create\",\"record\":{\"id\":\"item-%06d\",\"name\":\"Item number %d\",\"stock\":%d}}" $i $i $((i % 97))
        done
        printf "]}"
      } | curl -s --fail -X POST -H "Content-Type: application/json" --data-binary @- http://localhost:8089/items:batch >/dev/null
    done' - "$1"
}

all_is_lost_but_the_bucket_and_a_new_release_begins_with_it() {
  # The vocabulary of lib.sh, about this release. What it acknowledges is no part of the other one's.
  local RELEASE=archived cluster_name=archived-cluster results=$results/backup old new end lost began leader
  mkdir -p "$results"
  : >"$results/acknowledged"
  s3_up
  quietly install archived_install
  settle
  old=$(cluster_of_pod "$(pod 0)")
  items 100000
  at_leader --fail -X PUT -d '{"name":"First","email":"it@first.example"}' /tenants/first >/dev/null

  # Under load, with leaders that go.
  writer_start
  for _ in 1 2; do
    leader=$(holder)
    k delete pod "$leader" --force --grace-period=0 >/dev/null 2>&1
    wait_for "another leader" 60 another_leads "$leader"
    writer_goes_on
  done
  settle
  end=$(sequence)
  wait_for "the bucket to have sequence $end" 60 archived_up_to "$end"
  backup list | sed 's/^/     /'
  backup verify | sed 's/^/     /'
  k create job --from=cronjob/archived-backup-drill drill >/dev/null
  wait_for "the drill to succeed" 90 job_done drill || { k describe job drill; k logs job/drill; return 1; }
  k logs job/drill | sed 's/^/     /'
  k delete job drill >/dev/null

  # Everything goes at once, the agent, too.
  writer_goes_on
  lost=${EPOCHREALTIME/[.,]/}
  k delete pods -l app.kubernetes.io/instance=archived --force --grace-period=0 --wait=false >/dev/null 2>&1
  k delete pods -l app.kubernetes.io/name=leasehold-backup --force --grace-period=0 --wait=false >/dev/null 2>&1
  helm uninstall archived -n "$NAMESPACE" >/dev/null
  writer_stop
  archived_volumes_go
  # Promised: what was acknowledged earlier than changesEvery (2 s) and a second before that.
  awk -v before=$((lost - 3000000)) '$1 == "acknowledged" && $2 < before {print $3}' "$results/writer.log" >"$results/acknowledged"
  awk '$1 == "acknowledged" {print $3}' "$results/writer.log" | sort -u >"$results/all"

  began=$(milliseconds)
  quietly restored archived_install --set restore.url=s3://backups/e2e --set restore.endpoint=http://s3:7070 \
    --set restore.pathStyle=true --set restore.existingSecret=s3-credentials --set restore.clusterId="$old"
  say "helm install with a restore of 100,000 records: $(($(milliseconds) - began)) ms until all pods are ready"
  settle
  verify
  persons_of "$(pod 0)" >"$results/restored"
  say "lost: $(comm -23 "$results/all" "$results/restored" | wc -l) of $(wc -l <"$results/all") acknowledged writes"
  [ "$(ask "$(pod 2)" /api/collections/items | grep -o '"count":[0-9]*')" = '"count":100000' ] ||
    { ask "$(pod 2)" /api/collections; return 1; }
  new=$(cluster_of_pod "$(pod 0)")
  [ -n "$new" ] && [ "$new" != "$old" ] || { say "the cluster is still $old"; return 1; }
  at_leader -X POST -d '{"id":"copy","email":"it@first.example"}' /tenants | grep -q unique-conflict ||
    { say "a second record has the same e-mail"; return 1; }
  ask "$(pod 1)" "/api/watch?after=1&cluster=$old" | grep -q other-cluster || { say "a watch of the old cluster is not refused"; return 1; }

  # `restore` stays in the values; the credentials do not.
  k delete secret s3-credentials >/dev/null
  at_leader --fail -X PUT -d '{"name":"Later","email":"it@later.example"}' /tenants/later >/dev/null
  k delete pod "$(pod 0)" "$(pod 1)" "$(pod 2)" >/dev/null
  settle 180
  [ "$(cluster_of_pod "$(pod 0)")" = "$new" ] || { say "another cluster began"; return 1; }
  at_leader /tenants/later | grep -q it@later.example || { say "what was written after the restore is gone"; return 1; }
  verify

  helm uninstall archived -n "$NAMESPACE" >/dev/null
  archived_volumes_go
  k delete pod s3 --force --grace-period=0 >/dev/null 2>&1
  k delete service s3 >/dev/null
  k delete secret archived-peer-key --ignore-not-found >/dev/null
}

if [ -n "${S3_IMAGE:-}" ]; then
  scenario all_is_lost_but_the_bucket_and_a_new_release_begins_with_it
fi
