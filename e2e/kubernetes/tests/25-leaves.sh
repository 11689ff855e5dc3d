# shellcheck shell=bash
# Pods that leave as planned, as clients of the Services see it: each keeps its connection and sends one write after the
# other, half of them through the leader's Service and half through the one of all ready pods. No write may fail, and in the end each
# record is as it was written last. They change each record some times before they create another one: what there is of
# records, each `verify` after this compares. A change names the version that was acknowledged last (`If-Match`): it fails where
# that one was lost, and does not hide it.
#   LEAVES=20 UPDATES=3 make e2e ARGS=25-leaves

service_ip() { k get service "$RELEASE-$1" -o jsonpath='{.spec.clusterIP}'; }
service_log() { cat "$results"/service-{leader,read}.log 2>/dev/null || true; }
service_count() { service_log | awk -v word="$1" '$1 == word {n++} END {print n + 0}'; }
service_marks() { [ "$(service_count acknowledged)" -gt "$1" ]; }
service_goes_on() {
  local have
  have=$(service_count acknowledged)
  wait_for "writes through the Services to go on" 60 service_marks "$((have + 50))"
}

# The clients run in a node's network, where kube-proxy is. They always end with the scenario.
service_writers_start() {
  local which
  rm -f "$results"/service-*
  trap 'touch "$results/service-stop"; wait' EXIT
  for which in leader read; do
    "$cluster" node 1 "$E2E" writers --service "$(service_ip $which):8089" --clients 3 --log "$results/service-$which.log" \
      --until "$results/service-stop" >"$results/service-$which.txt" 2>&1 &
  done
  service_goes_on
}
service_writers_stop() {
  local which
  touch "$results/service-stop"
  wait
  service_log | awk '$1 == "acknowledged" {print $3}' | sort -u >>"$results/acknowledged"
  for which in leader read; do say "$RELEASE-$which: $(cat "$results/service-$which.txt")"; done
}
# service_turns: `ID TURN` of each record, as it was acknowledged last
service_turns() { service_log | awk '$1 == "acknowledged" && $4 + 0 >= turn[$3] + 0 {turn[$3] = $4} END {for (id in turn) print id, turn[id]}'; }
# turns_of POD: the same, as the pod has it
turns_of() {
  ask "$1" /persons | grep -oE '\{[^{}]*"turn [0-9]+"[^{}]*\}' |
    sed -E 's/.*"firstName": ?"turn ([0-9]+)".*/\1 &/; s/^([0-9]+) .*"id": ?"([^"]*)".*/\2 \1/'
}
# has_turns POD: each record is as it was acknowledged last, or as it was written after that
has_turns() {
  echo "no answer of $1" >"$results/turns.old.$1"
  turns_of "$1" >"$results/turns.$1" && [ -s "$results/turns.$1" ] && awk '
    NR == FNR {has[$1] = $2; next}
    !($1 in has) || has[$1] + 0 < $2 + 0 {print; old++}
    END {exit old > 0}' "$results/turns.$1" "$results/turns" >"$results/turns.old.$1"
}
# pause_since MICROSECONDS: the longest time without an acknowledged write since then, in ms
pause_since() {
  service_log | awk -v from="$1" '$1 == "acknowledged" && $2 >= from {print $2}' | sort -n |
    awk -v last="$1" '$1 - last > gap {gap = $1 - last} {last = $1} END {printf "%d", gap / 1000}'
}

# leave KIND: once
leave() {
  local old uid
  old=$(holder)
  case $1 in
  deletion)
    uid=$(uid_of "$old")
    k delete pod "$old" --wait=false >/dev/null
    wait_for "$old to come back" 120 replaced "$old" "$uid"
    ;;
  switchover) k exec "$old" -c sidecar -- sidecar switchover >"$results/switchover.txt" 2>&1 || { cat "$results/switchover.txt"; return 1; } ;;
  update)
    k rollout restart statefulset "$cluster_name" >/dev/null
    k rollout status statefulset "$cluster_name" --timeout=300s >/dev/null
    ;;
  esac
  settle
}
leaves() { # leaves KIND TIMES: pauses of writes, and moves of the leadership
  local kind=$1 began before most=0 _ pauses=()
  for _ in $(seq "$2"); do
    began=${EPOCHREALTIME/[.,]/} before=$(term)
    leave "$kind"
    service_goes_on
    pauses+=("$(pause_since "$began")")
    [ $(($(term) - before)) -le "$most" ] || most=$(($(term) - before))
  done
  mapfile -t pauses < <(printf '%s\n' "${pauses[@]}" | sort -n)
  say "$2 of $kind: longest pause of writes median ${pauses[$(($2 / 2))]} ms, worst ${pauses[-1]} ms; at most $most moves of the leadership"
}

no_write_fails_when_pods_leave_as_planned() {
  local kind failed i
  helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" --set followerWrites=forward --wait --timeout 300s >"$results/upgrade.txt" 2>&1
  settle
  service_writers_start
  for kind in deletion switchover; do leaves $kind "${LEAVES:-3}"; done
  leaves update "${UPDATES:-1}"
  service_writers_stop
  failed=$(service_count failed)
  service_log | sed -n 's/^failed [0-9]* /failed: /p' | head -n 20 | sed 's/^/     /'
  say "$failed of $((failed + $(service_count acknowledged))) writes failed; $(service_count refused) connections were refused and retried"
  [ "$failed" = 0 ]
  helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" --wait --timeout 300s >"$results/upgrade.txt" 2>&1
  verify
  service_turns >"$results/turns"
  for i in 0 1 2; do
    wait_for "$(pod "$i") to have the last change of each record" 30 has_turns "$(pod "$i")" || {
      say "of $(wc -l <"$results/turns") records these are older there than acknowledged (ID TURN):"
      head -n 5 "$results/turns.old.$(pod "$i")" | sed 's/^/     /'
      return 1
    }
  done
  say "$(wc -l <"$results/turns") records were created, and are as they were written last"
}

if [ -n "$cluster" ] && [ -x "${E2E:-}" ]; then scenario no_write_fails_when_pods_leave_as_planned; fi
