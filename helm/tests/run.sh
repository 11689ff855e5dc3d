#!/usr/bin/env bash
# The chart without a cluster: helm lint, the rendered output against golden files, and values that must be refused.
#
#   helm/tests/run.sh            compares
#   helm/tests/run.sh --update   writes the golden files anew; look at the diff before you commit it
#
# HELM names the program; without it, the one on PATH or the one that e2e/cluster/build.sh built.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
chart=..
helm=${HELM:-$(command -v helm || echo ../../e2e/cluster/bin/helm)}
[ -x "$helm" ] || {
  echo "no helm: the chart is not tested here (make e2e builds one)"
  exit 0
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# --kube-version: the rendering must not depend on the Kubernetes that this helm was built for.
render() { "$helm" template --kube-version 1.35.0 "$@" 2>&1; }

# Without a cluster the chart makes no key: one is named wherever the test is not about that.
key=peerKey.existingSecret=database-peer-key

golden() { # golden NAME RELEASE ARGS...
  local name=$1
  shift
  render "$@" >"$scratch/$name.yaml" || { cat "$scratch/$name.yaml"; failed=1; return; }
  if [ "${update:-}" = yes ]; then
    cp "$scratch/$name.yaml" "golden/$name.yaml"
  elif diff -u "golden/$name.yaml" "$scratch/$name.yaml"; then
    echo "ok   $name is as in golden/$name.yaml"
  else
    echo "FAIL $name differs from golden/$name.yaml (--update, if it is meant)"
    failed=1
  fi
}

refused() { # refused WHY-PATTERN RELEASE ARGS...
  local why=$1 output
  shift
  if output=$(render "$1" $chart --set $key "${@:3}"); then
    echo "FAIL not refused: $*"
    failed=1
  elif grep -qE -- "$why" <<<"$output"; then
    echo "ok   refused: $1 ${*:3}"
  else
    echo "FAIL refused for another reason than $why: $output"
    failed=1
  fi
}

accepted() { # accepted RELEASE ARGS...
  local output
  if output=$(render "$1" $chart --set $key "${@:3}"); then
    echo "ok   accepted: $1 ${*:3}"
  else
    echo "FAIL not accepted: $* $output"
    failed=1
  fi
}

[ "${1:-}" != --update ] || update=yes

"$helm" lint --quiet --strict --set $key $chart && echo "ok   helm lint" || failed=1
golden default database $chart --namespace database --set $key
golden all-values other $chart --namespace elsewhere --values all-values.yaml
for example in feature-flags tenant-registry job-queue; do
  golden $example $example $chart --namespace database --set $key --values $chart/examples/$example.yaml --show-only templates/configmap.yaml
  accepted $example $chart --values $chart/examples/$example.yaml
done

forty=a234567890123456789012345678901234567890
accepted "${forty}1234" $chart
refused 'has 53 characters' "${forty}12345" $chart
refused 'has 53 characters' short $chart --set "fullnameOverride=${forty}12345"
refused 'fullnameOverride' database $chart --set fullnameOverride=Upper
refused 'replicas' database $chart --set replicas=5
refused 'memoryLimit' database $chart --set store.memoryLimit=1G
refused 'unreadyAfter' database $chart --set store.unreadyAfter=30
refused 'formatMax' database $chart --set store.formatMax=0
accepted database $chart --set store.formatMax=2
refused 'corsOrigins' database $chart --set 'store.corsOrigins={https://app.example/}'
refused 'corsOrigins' database $chart --set 'store.corsOrigins={app.example}'
accepted database $chart --set 'store.corsOrigins={*}'
refused 'apiHosts' database $chart --set 'apiHosts={https://db.example.com}'
refused 'apiHosts' database $chart --set 'apiHosts={db.example.com:80}'
accepted database $chart --set 'apiHosts={*}'
refused 'replicaCount' database $chart --set-string replicaCount=three
refused 'replicaCount' database $chart --set replicaCount=-1
refused 'accessModes' database $chart --set 'persistence.accessModes={ReadWriteMany}'
refused 'durationSeconds' database $chart --set lease.durationSeconds=0
refused 'initialData' database $chart --set 'initialData[0].name=Adam'
accepted database $chart --set-json 'initialData={"persons":[]}'
refused 'define that collection in collections' database $chart --set-json 'initialData={"orders":[{"id":"1"}]}'
refused 'take store.formatMax away' database $chart --set store.formatMax=1 --set collections.orders.id=string --set-json 'initialData={"orders":[{"id":"1"}]}'
refused 'initialData' database $chart --set collections.orders.id=string --set-json 'initialData={"orders":{"id":"1"}}'
refused 'initialData' database $chart --set-json 'initialData={"persons":[{"name":"Adam"}]}'
refused 'Orders' database $chart --set collections.Orders.id=string
refused "'api'" database $chart --set collections.api.id=string
refused 'collections' database $chart --set collections.orders.id=number
refused 'collections' database $chart --set collections.orders.maxRecords=5
refused 'collections' database $chart --set-json 'collections={"orders":{"id":"string","indexes":[{"fields":["tenant"]}]}}'
refused 'collections' database $chart --set-json 'collections={"orders":{"id":"string","schemas":{}}}'
refused 'store' database $chart --set store.resources.limits.cpu=1
refused 'terminationGracePeriodSeconds' database $chart --set terminationGracePeriodSeconds=5
refused 'followerWrites' database $chart --set followerWrites=perhaps
refused '[kK]ube' database $chart --kube-version 1.28.0
refused 'either existingSecret' database $chart --set peerTls.existingSecret=a,peerTls.certManager.issuerRef.name=b
refused 'either existingSecret' database $chart --set apiTls.existingSecret=a,apiTls.certManager.issuerRef.name=b
refused 'either existingSecret' database $chart --set apiTokens.existingSecret=a,apiTokens.create=true
refused 'peerTrust' database $chart --set peerTrust=none
refused 'issuerRef' database $chart --set peerTls.certManager.issuerRef.kind=Issuer
refused 'networkPolicy' database $chart --set networkPolicy.from=x
accepted database $chart --set global.anything.at.all=1
accepted database $chart --set-json 'initialData=[]'
accepted database $chart --set serviceAccount.create=false --set rbac.create=false

has() { # has WHAT PATTERN ARGS...: the rendering has such a line
  local what=$1 pattern=$2 output
  output=$(render database $chart --set $key "${@:3}")
  if grep -qE -- "$pattern" <<<"$output"; then echo "ok   $what"; else echo "FAIL $what: no $pattern"; failed=1; fi
}
hasnt() {
  local what=$1 pattern=$2 output
  output=$(render database $chart --set $key "${@:3}") || { echo "FAIL $what: $output"; failed=1; return; }
  if grep -qE -- "$pattern" <<<"$output"; then echo "FAIL $what: $pattern"; failed=1; else echo "ok   $what"; fi
}
hasnt 'a given key is not made' '^kind: Secret$' --set peerKey.existingSecret=mine
has 'a given key is mounted' 'secretName: "mine"' --set peerKey.existingSecret=mine
hasnt 'without a key nothing of it is left' 'peer-key' --set peerKey.enabled=false
hasnt 'the probes are plain, also with TLS: they have a port of their own' 'scheme: HTTPS' --set apiTls.existingSecret=mine
hasnt 'without a policy there is none' 'NetworkPolicy' --set networkPolicy.enabled=false

hasnt 'without collections the pods get no file of them' 'collections' --show-only templates/statefulset.yaml
hasnt 'without collections there is no file of them' '^  collections.json:' --show-only templates/configmap.yaml
annotation() { render database $chart --set $key "$@" --show-only templates/statefulset.yaml | sed -n 's/^ *leasehold.dev\/collections: //p'; }
one=$(annotation --set collections.orders.id=string)
two=$(annotation --set collections.orders.id=uuid)
data=$(annotation --set collections.orders.id=string --set-json 'initialData=[]')
if [ -n "$one" ] && [ "$one" != "$two" ] && [ "$one" = "$data" ]; then
  echo "ok   other collections make other pods, and other initial data do not"
else
  echo "FAIL the annotations of the collections: $one, $two, $data"
  failed=1
fi

# A cluster is what remembers a key: e2e/kubernetes/tests/85-trust.sh has what happens there.
refused 'kubectl create secret generic database-peer-key -n default --from-literal=current=' database $chart --set peerKey.existingSecret=
refused 'then set apiTokens.existingSecret=database-api-tokens' database $chart --set apiTokens.create=true
refused '--from-literal=admin=.* --from-literal=backup=.* --from-literal=read=.* --from-literal=write=' database $chart --set apiTokens.create=true
has 'the names of Services and pods are known, and those that are given' 'API_HOSTS, value: "[*][.]database-service.default.svc.cluster.local,database-service.default.svc.cluster.local,database-read.default.svc.cluster.local,database-leader.default.svc.cluster.local,db.example.com"' --set 'apiHosts={db.example.com}'
accepted database $chart --set peerKey.enabled=false,peerKey.existingSecret=
# Where they run under OpenShift's rules, and where nobody has any.
hasnt 'numbers are left to the cluster' 'runAsUser|runAsGroup|fsGroup:' --set podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null,podSecurityContext.fsGroup=null
has 'the rest of the rules stays' 'runAsNonRoot: true' --set podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null,podSecurityContext.fsGroup=null
hasnt 'security contexts can be emptied' 'securityContext|runAsNonRoot|allowPrivilege' --set podSecurityContext=null,securityContext=null
has "the sidecar has the store's lost-time" 'LEASEHOLD_SIDECAR_LOST_TIME, value: "2s"' --set store.lostTime=2s
refused 'at most a third' database $chart --set store.heartbeat=400ms
refused 'at most 1m' database $chart --set store.lostTime=61s,lease.durationSeconds=100
refused 'below lease.durationSeconds 15' database $chart --set store.lostTime=15s
refused 'lostTime' database $chart --set store.lostTime=1
accepted database $chart --set store.lostTime=1m,store.heartbeat=20s,lease.durationSeconds=61
refused 'unhealthyPodEvictionPolicy' database $chart --set podDisruptionBudget.unhealthyPodEvictionPolicy=Never
refused 'type' database $chart --set services.leader.type=ExternalName
refused 'ipFamilies' database $chart --set 'services.ipFamilies={IPv5}'
refused 'mountPath' database $chart --set 'extraVolumeMounts.store[0].name=x'

# Backups. None of it is there by default.
archive=backup.enabled=true,backup.url=s3://bucket/prefix
hasnt 'without a backup there is none' 'backup|BACKUP|restore'
refused 'backup.enabled needs backup.url' database $chart --set backup.enabled=true
refused 'url' database $chart --set backup.enabled=true,backup.url=bucket
refused 'url' database $chart --set backup.enabled=true,backup.url=file://folder
refused 'Mount a volume there' database $chart --set backup.enabled=true,backup.url=file:///archive
accepted database $chart --set backup.enabled=true,backup.url=file:///archive --set 'backup.extraVolumeMounts[0].name=a,backup.extraVolumeMounts[0].mountPath=/archive'
refused 'changesEvery' database $chart --set $archive,backup.changesEvery=500ms
accepted database $chart --set $archive,backup.fullEvery=1d,backup.keep.pointInTime=14d
refused 'must be at least backup.changesEvery' database $chart --set $archive,backup.fullEvery=5s
refused 'fullEvery' database $chart --set $archive,backup.fullEvery=daily
refused 'fulls' database $chart --set $archive,backup.keep.fulls=0
refused 'recipients' database $chart --set $archive --set 'backup.recipients={AGE-SECRET-KEY-1}'
refused 'schedule' database $chart --set $archive --set backup.drill.schedule=24h
refused 'backup.drill.schedule needs backup.enabled' database $chart --set backup.drill.schedule=@daily
refused 'needs backup.drill.identitySecret' database $chart --set $archive,backup.drill.schedule=@daily --set 'backup.recipients={age1abc}'
refused 'app.kubernetes.io/name' database $chart --set $archive --set 'backup.podLabels.app\.kubernetes\.io/name=leasehold'
refused 'restore needs restore.url' database $chart --set restore.clusterId=00000000-0000-4000-8000-000000000001
refused 'restore needs restore.url' database $chart --set restore.at=811
refused 'restore needs restore.url' database $chart --set restore.pathStyle=true
refused 'nothing is mounted there' database $chart --set restore.url=file:///archive
accepted database $chart --set restore.url=file:///archive --set 'extraVolumeMounts.restore[0].name=a,extraVolumeMounts.restore[0].mountPath=/archive'
refused 'clusterId' database $chart --set restore.url=s3://bucket/prefix,restore.clusterId=database
refused 'at' database $chart --set restore.url=s3://bucket/prefix,restore.at=yesterday
for at in latest 811 2026-11-30T15:31:28Z 2026-11-30T16:31:28.5+01:00; do
  has "restores at $at" "BACKUP_AT, value: \"${at//+/[+]}\"" --set restore.url=s3://bucket/prefix --set-string restore.at=$at
done
has 'a number given as a number stays one' 'BACKUP_AT, value: "12345678"' --set restore.url=s3://bucket/prefix --set-json restore.at=12345678
count() { # count WHAT NUMBER PATTERN ARGS...: the rendering has so many such lines
  local what=$1 number=$2 pattern=$3 output found
  output=$(render database $chart --set $key "${@:4}")
  found=$(grep -cE -- "$pattern" <<<"$output" || true)
  if [ "$found" = "$number" ]; then echo "ok   $what"; else echo "FAIL $what: $found times $pattern"; failed=1; fi
}
count 'of the bucket only the backup has the credentials' 1 'name: "secret-of-the-bucket"' --set $archive,backup.existingSecret=secret-of-the-bucket
count 'of the tokens the backup has its own alone' 1 'items: .*key: backup, path: backup' --set $archive,apiTokens.existingSecret=mine
count 'the credentials of a restore may be gone later' 2 'optional: true' --set restore.url=s3://bucket/prefix,restore.existingSecret=mine,restore.identitySecret=theirs
hasnt 'none of the pods of the backup is an endpoint' '^ {8,}app.kubernetes.io/name: leasehold$' --set $archive --set backup.drill.schedule=@daily --set fullnameOverride=d --show-only templates/backup.yaml
hasnt 'nobody connects to the backup but monitoring' '8092, protocol' --set $archive
has 'monitoring connects to the backup' '8092, protocol' --set $archive --set 'networkPolicy.monitoringFrom[0].podSelector.matchLabels.app=prometheus'
count 'where clients are named, the backup is one' 2 'name: leasehold-backup$' --set $archive --set 'networkPolicy.apiFrom[0].podSelector.matchLabels.app=mine' --show-only templates/networkpolicy.yaml
# The sidecar's role.json is what the restore reads, so it comes first.
order=$(render database $chart --set $key,restore.url=s3://bucket/prefix --show-only templates/statefulset.yaml | grep -oE '^        - name: (sidecar|restore|store)$' | awk '{print $3}' | xargs)
if [ "$order" = "sidecar restore store" ]; then echo "ok   the restore is between sidecar and store"; else echo "FAIL the containers: $order"; failed=1; fi

# Monitoring. The alerts themselves are asked of promtool, where it is (Debian: prometheus).
hasnt 'without monitoring there is none' 'monitoring.coreos.com|grafana'
monitored="monitoring.podMonitor.enabled=true,monitoring.rules.enabled=true"
hasnt 'without a backup nobody misses one' 'LeaseholdBackup|leasehold_backup' --set $monitored
has 'with one its alerts are there' 'LeaseholdBackupAbsent' --set $monitored --set $archive
has 'with tokens Prometheus shows one' 'key: read' --set $monitored,apiTokens.existingSecret=mine --show-only templates/monitoring.yaml
hasnt 'but not where the metrics are open' 'authorization' --set $monitored,apiTokens.existingSecret=mine,apiTokens.openMetrics=true --show-only templates/monitoring.yaml
has 'without an address the alerts name the file' 'runbook: docs/runbook.md#leaseholdnoleader' --set $monitored
refused 'runbookUrl' database $chart --set monitoring.rules.runbookUrl=wiki
render database $chart --namespace database --set $key,$archive,$monitored,monitoring.rules.runbookUrl=https://example.com/runbook,monitoring.rules.alertLabels.team=records \
  --show-only templates/prometheusrule.yaml | sed -n '/^spec:/,$s/^  //p' >"$scratch/rules.yaml"
cp alerts.yaml "$scratch/alerts.yaml"
for alert in $(sed -n 's/^ *- alert: //p' ../files/alerts.yaml ../files/alerts-backup.yaml); do
  fires=$(grep -A1 "alertname: $alert\$" alerts.yaml | grep -c 'exp_alerts:$' || true)
  clears=$(grep -c "alertname: $alert, exp_alerts: \[\]" alerts.yaml || true)
  if ! grep -qx "## $alert" ../../docs/runbook.md; then echo "FAIL docs/runbook.md has nothing about $alert"; failed=1
  elif [ "$fires" = 0 ] || [ "$clears" = 0 ]; then echo "FAIL $alert: $fires cases in which it fires, $clears in which it does not"; failed=1
  else echo "ok   $alert has its paragraph and its cases"; fi
done
if command -v promtool >/dev/null; then
  # Every expression, and every case.
  if promtool check rules "$scratch/rules.yaml" >"$scratch/promtool" 2>&1 && promtool test rules "$scratch/alerts.yaml" >>"$scratch/promtool" 2>&1; then
    echo "ok   promtool: the alerts fire and clear"
  else
    cat "$scratch/promtool"
    echo "FAIL promtool"
    failed=1
  fi
else
  echo "     no promtool: the alerts are not tested here (make e2e-packages installs it)"
fi

# Helm renders NOTES.txt only when it installs: here a copy of the chart has them as a manifest.
notes() { # notes ARGS...
  cp -r $chart "$scratch/chart"
  printf 'notes: |\n{{ include (print $.Template.BasePath "/NOTES.txt") . | indent 2 }}\n' >"$scratch/chart/templates/notes.yaml"
  render database "$scratch/chart" --show-only templates/notes.yaml "$@" | sed -n '/^notes: /,$p'
  rm -r "$scratch/chart"
}
paragraphs() { # paragraphs WHAT ARGS...: one blank line before each heading, and no two anywhere
  local what=$1 text
  text=$(notes "${@:2}")
  if awk '
    /^ *$/ { if (blank) bad = 1; blank = 1; next }
    /^  [A-Z].*[:?]$/ { seen++; if (!blank) bad = 1 }
    { blank = 0 }
    END { exit bad || seen < 5 }' <<<"$text"; then
    echo "ok   the notes have their paragraphs: $what"
  else
    echo "FAIL the notes have not their paragraphs: $what: $text"
    failed=1
  fi
}
paragraphs 'as by default' --set $key
noted() { # noted PATTERN ARGS...
  local text
  text=$(notes "${@:2}")
  if grep -qE -- "$1" <<<"$text"; then echo "ok   the notes say: $1"; else echo "FAIL the notes do not say $1: $text"; failed=1; fi
}
noted 'NOTE: nothing is backed up' --set $key
noted 'archived in s3://bucket/prefix, within 10s' --set $key --set $archive
noted 'ADMIN=.*data.admin' --set $key --set apiTokens.existingSecret=mine,restore.url=s3://bucket/prefix
noted 'admits nobody who scrapes' --set $key --set monitoring.podMonitor.enabled=true
noted 'alerts and no PodMonitor' --set $key --set monitoring.rules.enabled=true
paragraphs 'with tokens' --set $key --set apiTokens.existingSecret=mine
paragraphs 'with a backup and a restore' --set $key --set $archive --set restore.url=s3://bucket/prefix,backup.endpoint=http://objects
paragraphs 'with every warning' --set replicaCount=2,peerKey.enabled=false,peerTrust=optional,apiTokens.existingSecret=mine,monitoring.rules.enabled=true

# A StatefulSet's selector is immutable, so it must be the same in every version of the chart.
selector=$(render database $chart --set $key --show-only templates/statefulset.yaml | sed -n '/^  selector:/,/^  template:/p' | sed '$d')
if [ "$selector" = "  selector:
    matchLabels:
      app.kubernetes.io/name: leasehold
      app.kubernetes.io/instance: database" ]; then
  echo "ok   the selector is as it ever was"
else
  echo "FAIL the selector changed: no release could be upgraded"
  failed=1
fi
exit $failed
