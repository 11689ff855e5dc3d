# shellcheck shell=bash
# Pods and objects that somebody deletes.

replaced() { is_new "$1" "$2" && is_ready "$1"; } # replaced POD OLD-UID

delete_and_wait() { # delete_and_wait POD ARGS...
  local name=$1 uid
  shift
  uid=$(uid_of "$name")
  k delete pod "$name" --wait=false "$@" >/dev/null 2>&1
  wait_for "$name to come back" 120 replaced "$name" "$uid" && settle
}

every_pod_can_be_deleted_in_turn() {
  local i
  writer_start
  for i in 0 1 2; do timed "$(pod "$i") deleted, and all well again" delete_and_wait "$(pod "$i")"; done
  writer_goes_on
  writer_stop
  verify
}

the_leader_can_be_deleted_again_and_again() {
  local old _
  writer_start
  for _ in 1 2 3; do
    old=$(holder)
    timed "$old, the leader, deleted, and all well again" delete_and_wait "$old"
    [ "$(holder)" != "$old" ] || say "$old leads again"
  done
  writer_goes_on
  writer_stop
  verify
}

the_leader_can_be_deleted_by_force() {
  local old
  writer_start
  old=$(holder)
  timed "$old, the leader, deleted by force, and all well again" delete_and_wait "$old" --force --grace-period=0
  writer_goes_on
  writer_stop
  verify
}

a_pod_can_lose_its_volume() {
  local name
  writer_start
  name=$(a_follower)
  k delete pvc "data-$name" --wait=false >/dev/null
  timed "$name deleted with its volume, and a voter again" delete_and_wait "$name"
  writer_goes_on
  writer_stop
  verify
}

the_lease_can_be_deleted() {
  local old before
  writer_start
  old=$(holder) before=$(term)
  k delete lease "$cluster_name" >/dev/null
  timed "the Lease is there again" wait_for "the Lease" 60 holder
  settle
  say "leader before $old (term $before), after $(holder) (term $(term))"
  writer_goes_on
  writer_stop
  verify
}

leader_slice=$RELEASE-leader-ipv4
slice_names() { [ "$(k get endpointslice "$leader_slice" -o jsonpath='{.endpoints[0].targetRef.name}' 2>/dev/null)" = "$1" ]; } # slice_names POD
role_label() { [ "$(k get pod "$1" -o jsonpath='{.metadata.labels.leasehold\.dev/role}')" = "$2" ]; } # role_label POD WORD

the_leaders_slice_and_the_role_labels_are_mended() {
  local leader follower
  leader=$(holder) follower=$(a_follower)
  wait_for "$leader_slice to name $leader" 30 slice_names "$leader"
  writer_start
  k delete endpointslice "$leader_slice" >/dev/null
  timed "$leader_slice deleted, and there again" wait_for "$leader_slice" 10 slice_names "$leader"
  k patch endpointslice "$leader_slice" --type merge -p '{"endpoints": [{"addresses": ["192.0.2.1"]}]}' >/dev/null
  timed "$leader_slice edited, and right again" wait_for "$leader_slice to name $leader" 10 slice_names "$leader"
  # A restored object: no leader of this cluster ever had that term.
  k annotate endpointslice "$leader_slice" --overwrite leasehold.dev/term=1000 >/dev/null
  k patch endpointslice "$leader_slice" --type merge -p '{"endpoints": []}' >/dev/null
  timed "$leader_slice of another term, and right again" wait_for "$leader_slice to name $leader" 10 slice_names "$leader"
  k label pod "$follower" --overwrite leasehold.dev/role=leader >/dev/null
  timed "the role label of $follower edited, and right again" wait_for "the label of $follower" 10 role_label "$follower" follower
  k label pod "$leader" leasehold.dev/role- >/dev/null
  timed "the role label of $leader removed, and right again" wait_for "the label of $leader" 10 role_label "$leader" leader
  writer_goes_on
  writer_stop
  verify
}

all_pods_can_die_at_once() {
  writer_start
  k delete pods -l app.kubernetes.io/name=leasehold --force --grace-period=0 >/dev/null 2>&1
  timed "all pods deleted by force, and all well again" settle
  writer_goes_on
  writer_stop
  verify
}

scenario every_pod_can_be_deleted_in_turn
scenario the_leader_can_be_deleted_again_and_again
scenario the_leader_can_be_deleted_by_force
scenario a_pod_can_lose_its_volume
scenario the_lease_can_be_deleted
scenario the_leaders_slice_and_the_role_labels_are_mended
scenario all_pods_can_die_at_once
