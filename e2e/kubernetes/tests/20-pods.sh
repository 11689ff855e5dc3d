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
scenario all_pods_can_die_at_once
