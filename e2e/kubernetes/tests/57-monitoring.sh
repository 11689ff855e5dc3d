# shellcheck shell=bash
# Monitoring: a real Prometheus scrapes the pods, is asked all that the dashboard and the alerts ask, and sees alerts fire and clear.
# It runs in the cluster's network, so only on the cluster of our own. Its targets are what the release's PodMonitors select, and its
# rules those of the PrometheusRule, with seconds instead of minutes.

prometheus=$results/prometheus
monitoring() { "$root/e2e/monitoring/bin/monitoring" "$@"; }
fires() { monitoring alerts | grep -qx "$1"; }
# Not `! fires`: a Prometheus that does not answer has cleared nothing.
is_clear() { local all; all=$(monitoring alerts) && ! grep -qx "$1" <<<"$all"; }
fires_within() { timed "$2 fires" wait_for "$2 to fire" "$1" fires "$2"; }
clears_within() { timed "$2 is clear" wait_for "$2 to clear" "$1" is_clear "$2"; }

# targets: what the release's PodMonitors select now, with the labels that the operator gives. (Debian builds Prometheus without the
# discovery of pods; it reads this file again when it changes.)
targets() {
  local monitor app instance ports pod ip named port
  k get podmonitors -o jsonpath='{range .items[*]}{.metadata.name} {.spec.selector.matchLabels.app\.kubernetes\.io/name} {.spec.selector.matchLabels.app\.kubernetes\.io/instance} {.spec.podMetricsEndpoints[*].port}{"\n"}{end}' |
    while read -r monitor app instance ports; do
      k get pods -l "app.kubernetes.io/name=$app,app.kubernetes.io/instance=$instance" --field-selector status.phase=Running \
        -o jsonpath='{range .items[*]}{.metadata.name} {.status.podIP}{range .spec.initContainers[*].ports[*]} {.name}={.containerPort}{end}{range .spec.containers[*].ports[*]} {.name}={.containerPort}{end}{"\n"}{end}' |
        while read -r pod ip named; do
          case $ip in *:*) ip="[$ip]" ;; esac
          for port in $ports; do
            case " $named " in *" $port="*) ;; *) continue ;; esac
            printf -- '- {targets: ["%s:%s"], labels: {namespace: %s, pod: %s, endpoint: %s, podmonitor: %s}}\n' \
              "$ip" "$(tr ' ' '\n' <<<"$named" | sed -n "s/^$port=//p")" "$NAMESPACE" "$pod" "$port" "$monitor"
          done
        done
    done >"$prometheus/targets.new"
  mv "$prometheus/targets.new" "$prometheus/targets.yml"
}

# prometheus_start: with each `for` and each range shortened, and the limit of BackupStale
prometheus_start() {
  command -v prometheus >/dev/null || { say "no prometheus: apt-get install --no-install-recommends prometheus"; return 1; }
  rm -rf "$prometheus"
  mkdir -p "$prometheus"
  k get prometheusrule "$cluster_name" -o jsonpath='{.spec}' >"$prometheus/asked.json"
  sed -E 's/"for":"[0-9]+[mh]"/"for":"3s"/g; s/\[15m\]/[10s]/g; s/(complete_timestamp_seconds\{[^}]*\}\) (\\u003e|>) 0\) (\\u003e|>)) [0-9]+/\1 15/' \
    "$prometheus/asked.json" >"$prometheus/rules.json"
  grep -Eq '0\) (\\u003e|>) 15' "$prometheus/rules.json" || { say "the limit of BackupStale is not found in the rules"; return 1; }
  targets
  cat >"$prometheus/prometheus.yml" <<Y
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [$prometheus/rules.json]
scrape_configs: [{job_name: leasehold, file_sd_configs: [{files: [$prometheus/targets.yml], refresh_interval: 1s}]}]
Y
  promtool check config "$prometheus/prometheus.yml" >"$prometheus/check.txt" 2>&1 || { cat "$prometheus/check.txt"; return 1; }
  prometheus --config.file="$prometheus/prometheus.yml" --storage.tsdb.path="$prometheus/data" --storage.tsdb.retention.time=1h \
    --web.listen-address=127.0.0.1:9090 --log.level=warn >"$prometheus/log.txt" 2>&1 &
  # shellcheck disable=SC2064 # its value now
  trap "kill $! 2>/dev/null" EXIT
  wait_for "Prometheus to be ready" 30 monitoring alerts || { cat "$prometheus/log.txt"; return 1; }
}
everything_is_answered() {
  monitoring queries --dashboard "$chart/files/dashboard.json" --rules "$prometheus/asked.json" --namespace "$NAMESPACE" --release "$RELEASE" >"$prometheus/queries.txt" 2>&1
}

watched() { # watched ARGS...: the release with all of its monitoring, and an archive that goes with the pod
  helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" --wait --timeout 120s \
    --set monitoring.podMonitor.enabled=true,monitoring.rules.enabled=true,monitoring.dashboard.enabled=true \
    --set backup.enabled=true,backup.url=file:///archive,backup.changesEvery=1s \
    --set-json 'backup.extraVolumes=[{"name":"archive","emptyDir":{}}]' \
    --set-json 'backup.extraVolumeMounts=[{"name":"archive","mountPath":"/archive"}]' "$@"
}
a_write() {
  in_pod "$(pod 0)" curl -s --fail --max-time 5 -o /dev/null -X POST "http://$RELEASE-leader:8089/persons" -H 'Content-Type: application/json' -d '{"firstName": "Ada", "lastName": "Lovelace"}'
}

# runbook: what docs/runbook.md says to look at, word for word: all but what names a pod, changes something, or needs an add-on
runbook() {
  local command definitions seen=0
  definitions=$(awk '/^```sh/ {shown = 1; next} /^```/ {if (shown) exit} shown' "$root/docs/runbook.md")
  cd "$prometheus"
  while IFS= read -r command; do
    bash -ec "$definitions"$'\n'"$command" </dev/null >"$prometheus/command.txt" 2>&1 || { say "FAILED: $command"; cat "$prometheus/command.txt"; return 1; }
    seen=$((seen + 1))
  done < <(awk '/^```sh/ {shown = 1; next} /^```/ {shown = 0} shown' "$root/docs/runbook.md" | sort -u |
    grep -E '^(kubectl (get|exec|logs|describe)|pods|for) ' | grep -vE 'POD|-X PUT')
  say "$seen commands of the runbook work"
  [ "$seen" -gt 20 ]
}

prometheus_gets_all_it_asks_for_and_alerts_fire_and_clear() {
  local follower leader crd before alert
  kubectl apply --server-side -f "$root/e2e/monitoring/bin/crds" >/dev/null
  for crd in podmonitors prometheusrules; do kubectl wait --for=condition=Established --timeout=30s "crd/$crd.monitoring.coreos.com" >/dev/null; done
  before=$(uid_of "$(pod 0)")
  timed "helm upgrade with monitoring and a backup" quietly monitoring watched
  [ "$(uid_of "$(pod 0)")" = "$before" ] || { say "monitoring and a backup restarted the pods"; return 1; }
  # Helm drops members that a kind does not have. The API server names them, and refuses values that it does not know.
  helm get manifest "$RELEASE" -n "$NAMESPACE" >"$results/manifest.yaml"
  quietly strict k apply --dry-run=server --validate=strict -f "$results/manifest.yaml"
  if k patch podmonitor "$cluster_name" --dry-run=server --type=merge -p '{"spec": {"podMetricsEndpoints": [{"interval": "often"}]}}' >/dev/null 2>&1; then
    say "the API server checks nothing"
    return 1
  fi

  wait_for "a write" 30 a_write
  prometheus_start
  timed "every query has an answer" wait_for "every query to have an answer" 60 everything_is_answered || { cat "$prometheus/queries.txt"; return 1; }
  say "$(tail -n 1 "$prometheus/queries.txt")"
  wait_for "no alert to fire" 30 nothing_fires || { monitoring alerts; return 1; }

  (runbook)

  # A voter is frozen. (The kubelet would restart it after half a minute.)
  follower=$(a_follower)
  "$cluster" signal "$NAMESPACE" "$follower" store STOP
  fires_within 20 LeaseholdVoterMissing || { "$cluster" signal "$NAMESPACE" "$follower" store CONT; return 1; }
  # And the leader.
  leader=$(holder)
  "$cluster" signal "$NAMESPACE" "$leader" store STOP
  fires_within 20 LeaseholdNoMajority && fires_within 20 LeaseholdNoLeader || leader="$leader failed"
  "$cluster" signal "$NAMESPACE" "$follower" store CONT
  "$cluster" signal "$NAMESPACE" "${leader% failed}" store CONT
  [ "${leader% failed}" = "$leader" ]
  for alert in LeaseholdNoMajority LeaseholdNoLeader LeaseholdVoterMissing; do clears_within 60 $alert; done

  # The bucket cannot be written to, and something is to be archived.
  k exec "deploy/$RELEASE-backup" -- bash -c 'chmod 0500 /archive/*/changes'
  wait_for "a write" 30 a_write
  fires_within 40 LeaseholdBackupStale
  fires_within 40 LeaseholdBackupFailing
  k exec "deploy/$RELEASE-backup" -- bash -c 'chmod 0700 /archive/*/changes'
  for alert in LeaseholdBackupStale LeaseholdBackupFailing; do clears_within 90 $alert; done

  k scale "deploy/$RELEASE-backup" --replicas=0 >/dev/null
  fires_within 60 LeaseholdBackupAbsent
  k scale "deploy/$RELEASE-backup" --replicas=1 >/dev/null
  k rollout status "deploy/$RELEASE-backup" --timeout=60s >/dev/null
  targets
  clears_within 60 LeaseholdBackupAbsent

  timed "helm upgrade without any of it" quietly unwatched helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" --wait --timeout 120s
  kubectl delete -f "$root/e2e/monitoring/bin/crds" >/dev/null
  verify
}
# LeaseholdRoomLow is about the disk of this machine, which may be as full as it likes.
nothing_fires() { local all; all=$(monitoring alerts) && [ -z "$(grep -vx LeaseholdRoomLow <<<"$all")" ]; }

scenario_with_faults prometheus_gets_all_it_asks_for_and_alerts_fire_and_clear
