# shellcheck shell=bash
# A new version, and the release gone and back.

kubectl_rollout_restart_fails_no_write() {
  writer_start
  k rollout restart statefulset "$cluster_name" >/dev/null
  timed "three pods, one after the other" settle 240
  writer_goes_on
  writer_stop
  verify
}

helm_upgrade_changes_the_pods() {
  writer_start
  timed "helm upgrade --wait" quietly upgrade helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" \
    --set podAnnotations.upgraded=yes --wait --timeout 240s
  settle
  writer_goes_on
  writer_stop
  verify
}

reinstall() { # reinstall keep|drop
  helm uninstall "$RELEASE" -n "$NAMESPACE" --wait --timeout 120s >/dev/null || return 1
  wait_for "the pods to be gone" 120 no_pods || return 1
  # The StatefulSet owns the Lease, which is removed with it. Keeping it means restoring it, as a backup of the namespace
  # would.
  wait_for "the Lease to be gone" 60 no_lease || return 1
  [ "$1" = drop ] || k create -f "$results/lease.yaml" >/dev/null || return 1
  helm install "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" --wait --timeout 240s >/dev/null
}
no_lease() { [ -z "$(k get lease "$cluster_name" --ignore-not-found -o name)" ]; }
no_pods() { [ -z "$(k get pods -l app.kubernetes.io/name=leasehold -o name)" ]; }

uninstall_and_install_find_the_data_without_the_lease() {
  timed "uninstalled and installed" reinstall drop
  verify
}

uninstall_and_install_find_the_data_with_the_lease() {
  k get lease "$cluster_name" -o yaml | sed '/^  ownerReferences:/,/^    uid:/d; /^  resourceVersion:/d; /^  uid:/d; /^  creationTimestamp:/d' >"$results/lease.yaml"
  timed "uninstalled and installed" reinstall keep
  verify
}

scenario kubectl_rollout_restart_fails_no_write
at_night scenario helm_upgrade_changes_the_pods
scenario uninstall_and_install_find_the_data_without_the_lease
at_night scenario uninstall_and_install_find_the_data_with_the_lease
