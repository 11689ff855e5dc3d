# shellcheck shell=bash
# Machines and networks that fail: only on the cluster of our own, where a command can break them.

number() { echo "${1#node}"; }
node_is() { [ "$(kubectl get node "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = "$2" ]; } # node_is NODE True|Unknown
nodes_are_ready() { ! kubectl get nodes --no-headers | grep -q NotReady; }
api_answers() { kubectl --request-timeout=2s get --raw /readyz; }

# watches: how many watches the daemons have open, by resource. Not the pods' own, which name one object, except for nodes.
watches() {
  kubectl --request-timeout=5s get --raw /metrics |
    sed -n 's/^apiserver_longrunning_requests{.*resource="\([^"]*\)",scope="\([^"]*\)".*verb="WATCH".*} \([0-9]*\)$/\1 \2 \3/p' |
    awk '$1 == "nodes" || $2 == "cluster" {n[$1] += $3} END {for (name in n) print name, n[name]}'
}
# watches_are_back: no fewer than in the file. A lost watch is retried after a pause that grows to a minute. Until then
# Kubernetes answers but does nothing: nodes are Ready that are not, pods are not scheduled, names are not found.
watches_are_back() {
  watches >"$results/watches.now" && [ -s "$results/watches.now" ] &&
    awk 'NR == FNR {now[$1] = $2; next} now[$1] < $2 {exit 1}' "$results/watches.now" "$results/watches"
}

# kubernetes_is_well: after an outage of the API server or etcd; `watches >"$results/watches"` before it
kubernetes_is_well() {
  wait_for "the API server" 60 api_answers && wait_for "the daemons to watch again" 180 watches_are_back &&
    wait_for "the nodes to be Ready" 120 nodes_are_ready
}

# spread: no two pods on one node. An eviction moves a pod to a node with room, and nothing moves it back; breaking a node
# would then break the majority.
spread() {
  local crowded node name uid
  settle
  while crowded=$(k get pods -l app.kubernetes.io/name=leasehold -o jsonpath='{range .items[*]}{.spec.nodeName} {.metadata.name}{"\n"}{end}' |
    sort | awk '$1 == last {print $1, $2; exit} {last = $1}') && [ -n "$crowded" ]; do
    read -r node name <<<"$crowded"
    uid=$(uid_of "$name")
    kubectl cordon "$node" >/dev/null
    k delete pod "$name" --wait=false >/dev/null
    wait_for "$name to move" 120 is_new "$name" "$uid" && settle
    kubectl uncordon "$node" >/dev/null
  done
}

the_api_server_may_be_down_and_the_leader_die_meanwhile() {
  local old node pid i
  watches >"$results/watches"
  writer_start
  old=$(holder)
  read -r node pid <<<"$("$cluster" container "$NAMESPACE" "$old" store)"
  "$cluster" fault stop cp kube-apiserver KILL
  say "the API server is killed; waiting longer than a Lease lasts, while the writer writes"
  # Time must pass here: nothing can be asked without an API server. The Lease's duration is 15 s.
  for i in 18 4; do
    sleep "$i"
    [ "$i" != 18 ] || { "$cluster" node "$node" kill -KILL "$pid" && say "$old, the leader, is killed, too"; }
  done
  "$cluster" fault start cp kube-apiserver
  timed "the API server answers, all daemons watch again, the nodes are Ready" kubernetes_is_well
  settle
  say "$old led before, $(holder) leads now"
  writer_goes_on
  writer_stop
  verify
}

# Pods find each other by IP: DNS is down for longer than any answer stays cached, and the leader dies meanwhile.
dns_may_be_down_and_the_leader_die_meanwhile() {
  local old gap
  BY_IP=1 writer_start
  old=$(holder)
  "$cluster" fault stop cp coredns KILL
  sleep 35 # `ttl 30` and `cache 30`: time must pass
  "$cluster" signal "$NAMESPACE" "$old" store KILL
  timed "another leads" wait_for "another leader" 30 another_leads "$old"
  writer_goes_on
  "$cluster" fault start cp coredns
  settle
  say "$old led before, $(holder) leads now"
  writer_stop
  read -r _ gap <"$results/gap"
  [ "$gap" -le 2000 ] || { say "nobody could write for $gap ms"; return 1; }
  verify
}

etcd_may_die() {
  watches >"$results/watches"
  writer_start
  "$cluster" fault stop cp etcd KILL
  "$cluster" fault start cp etcd
  kubernetes_is_well
  settle
  writer_goes_on
  writer_stop
  verify
}

kill_container() { # kill_container CONTAINER
  local old
  writer_start
  old=$(holder)
  "$cluster" signal "$NAMESPACE" "$old" "$1" KILL
  writer_goes_on
  settle
  say "$old led before, $(holder) leads now"
  writer_stop
  verify
}
the_leaders_store_may_be_killed() { kill_container store; }
the_leaders_sidecar_may_be_killed() { kill_container sidecar; }

the_leaders_store_may_freeze() {
  local old
  writer_start
  old=$(holder)
  "$cluster" signal "$NAMESPACE" "$old" store STOP
  timed "another leads" wait_for "another leader" 60 another_leads "$old"
  writer_goes_on
  "$cluster" signal "$NAMESPACE" "$old" store CONT
  settle
  writer_goes_on
  writer_stop
  verify
}

the_leaders_sidecar_may_freeze() {
  local old
  writer_start
  old=$(holder)
  "$cluster" signal "$NAMESPACE" "$old" sidecar STOP
  sleep 17 # longer than the Lease lasts
  writer_goes_on
  say "$old led before, $(holder) holds the Lease now"
  "$cluster" signal "$NAMESPACE" "$old" sidecar CONT || true # its liveness probe may have been faster
  settle
  writer_stop
  verify
}

the_leaders_node_may_be_cut_off_and_its_pod_replaced() {
  local old node uid
  spread
  old=$(holder) node=$(node_of "$old") uid=$(uid_of "$old")
  writer_start "$node"
  "$cluster" fault cut "$(number "$node")"
  timed "another leads" wait_for "another leader" 60 another_leads "$old"
  wait_for "$node to be NotReady" 90 node_is "$node" Unknown
  k delete pod "$old" --force --grace-period=0 >/dev/null 2>&1
  # Now two pods of that name live, on one volume: the old one still runs on the unreachable node.
  wait_for "the twin" 60 is_new "$old" "$uid"
  say "the twin of $old is on $(node_of "$old"); the old one still runs on $node"
  writer_goes_on
  "$cluster" fault heal "$(number "$node")"
  wait_for "$node to be Ready" 90 node_is "$node" True
  settle 180
  writer_goes_on
  writer_stop
  verify
}

the_leaders_node_may_not_reach_the_api() {
  local old node
  spread
  old=$(holder) node=$(node_of "$old")
  writer_start "$node"
  "$cluster" fault cut-api "$(number "$node")"
  sleep 17 # longer than the Lease lasts
  writer_goes_on
  say "$old led before, $(holder) holds the Lease now"
  "$cluster" fault heal "$(number "$node")"
  wait_for "$node to be Ready" 90 node_is "$node" True
  settle
  writer_stop
  verify
}

leader_and_follower_may_not_hear_each_other() {
  local old other
  spread
  old=$(node_of "$(holder)") other=$(node_of "$(a_follower)")
  writer_start "$old" "$other" # it must hear the leader itself
  "$cluster" fault cut-peer "$(number "$old")" "$(number "$other")"
  writer_goes_on
  "$cluster" fault heal "$(number "$old")"
  settle
  writer_goes_on
  writer_stop
  verify
}

the_leaders_node_may_lose_power() {
  local old node
  spread
  old=$(holder) node=$(node_of "$old")
  writer_start "$node"
  "$cluster" fault crash "$(number "$node")"
  timed "another leads" wait_for "another leader" 60 another_leads "$old"
  writer_goes_on
  timed "the node boots" "$cluster" fault boot "$(number "$node")"
  wait_for "$node to be Ready" 90 node_is "$node" True
  settle 180
  writer_stop
  verify
}

the_leaders_node_can_be_drained() {
  local node
  settle
  node=$(node_of "$(holder)")
  writer_start "$node"
  timed "kubectl drain" quietly drain kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --timeout=180s
  settle
  kubectl uncordon "$node" >/dev/null
  writer_goes_on
  writer_stop
  verify
}

# renew_on_its_node POD: recreates it on its own node.
renew_on_its_node() {
  local name=$1 node uid other
  node=$(node_of "$name") uid=$(uid_of "$name")
  for other in $(kubectl get nodes -o name); do [ "$other" = "node/$node" ] || kubectl cordon "${other#node/}" >/dev/null; done
  k delete pod "$name" --wait=false >/dev/null
  wait_for "$name to be made anew" 120 is_new "$name" "$uid" && settle 180
  for other in $(kubectl get nodes -o name); do kubectl uncordon "${other#node/}" >/dev/null; done
}

# A disk that no longer answers: the file system of one pod's volume is frozen, and whatever writes or syncs there waits.
the_leaders_disk_may_hang() {
  local name node path began
  settle
  name=$(a_follower) node=$(node_of "$(a_follower)")
  path=$(kubectl get pv "$(k get pvc "data-$name" -o jsonpath='{.spec.volumeName}')" -o jsonpath='{.spec.local.path}')
  "$cluster" fault own-disk "$(number "$node")" "$path"
  renew_on_its_node "$name" # with an empty volume, which it fills
  k exec "$name" -c sidecar -- sidecar switchover --to "$name" | sed 's/^/     /'
  settle
  writer_start "$node"
  began=$(milliseconds)
  "$cluster" fault hang-disk "$(number "$node")" "$path" 25
  wait_for "another leader" 20 another_leads "$name"
  say "another leads after $(($(milliseconds) - began)) ms"
  writer_goes_on 20
  [ "$(k exec "$name" -c sidecar -- sidecar status | grep -c "^$name .*disk stalled")" = 1 ] || { say "status does not say so"; return 1; }
  say "$(($(milliseconds) - began)) ms after the disk hung, writes continue"
  # After it answers again, it is no successor for ten times the bound of a stall; that does not matter here.
  wait_for "its disk to answer" 60 is_ready "$name"
  settle 120
  writer_goes_on
  writer_stop
  verify
  # The old content lacks what was acknowledged meanwhile: the volume must not be used for a start.
  rm -rf "${path:?}"/*
  "$cluster" fault no-disk "$(number "$node")" "$path"
  renew_on_its_node "$name"
  verify
}

scenario_with_faults the_leaders_store_may_be_killed
scenario_with_faults the_leaders_disk_may_hang
scenario_with_faults dns_may_be_down_and_the_leader_die_meanwhile
scenario_with_faults the_leaders_sidecar_may_be_killed
at_night scenario_with_faults the_leaders_store_may_freeze
at_night scenario_with_faults the_leaders_sidecar_may_freeze
scenario_with_faults the_leaders_node_can_be_drained
at_night scenario_with_faults etcd_may_die
scenario_with_faults the_api_server_may_be_down_and_the_leader_die_meanwhile
at_night scenario_with_faults the_leaders_node_may_not_reach_the_api
at_night scenario_with_faults leader_and_follower_may_not_hear_each_other
scenario_with_faults the_leaders_node_may_be_cut_off_and_its_pod_replaced
scenario_with_faults the_leaders_node_may_lose_power
