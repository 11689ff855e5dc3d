# shellcheck shell=bash
# More pods, fewer pods, none.

scale_to() {
  k scale statefulset "$cluster_name" --replicas="$1" >/dev/null && settle 180
}
none_left() { [ -z "$(k get pods -l app.kubernetes.io/name=leasehold -o name)" ]; }

three_become_five_and_three_again() {
  writer_start
  timed "3 to 5, all voters" scale_to 5
  timed "5 to 3" scale_to 3
  writer_goes_on
  writer_stop
  verify
}

three_become_one_and_three_again() {
  timed "3 to 1" scale_to 1
  verify
  timed "1 to 3" scale_to 3
  verify
}

none_and_back() {
  k scale statefulset "$cluster_name" --replicas=0 >/dev/null
  timed "3 to 0" wait_for "no pod" 120 none_left
  timed "0 to 3" scale_to 3
  verify
}

scenario three_become_five_and_three_again
scenario three_become_one_and_three_again
scenario none_and_back
