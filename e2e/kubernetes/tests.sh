#!/usr/bin/env bash
# tests.sh [FILE|SCENARIO...]: runs the scenarios in tests/ against the cluster that KUBECONFIG names. Started by run.sh,
# which provides kubectl, helm, the cluster and the images.
#
# Environment: REGISTRY (of the images), CLUSTER (the script of our own cluster: then machines and networks can be broken,
# too), FAIL_FAST=1 (stop at the first failure), KEEP=1 (leave the release in place), NIGHTLY=1 (also what `at_night` keeps for it).
#
# shellcheck disable=SC2034,SC2317 # used by the files that are read in
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")
registry=${REGISTRY:-localhost}
cluster=${CLUSTER:-}
version=$(sed -n 's/^appVersion: //p' "$root/helm/Chart.yaml")
results=${RESULTS:-$here/results}
values=(--set "image.registry=$registry")
# For releases beside that of most scenarios, whose pods are replaced often: a pod that ends waits so long for Services to forget it
# (5 s by default), and nobody writes through theirs meanwhile.
brief=(--set drainMinSeconds=1)
# kubectl's cache and helm's settings: nothing of the user's, and nothing left in the user's home.
rm -rf "$results"
mkdir -p "$results/home"
export HOME=$results/home
# `sort` and `grep` take four times as long where letters have more than a byte.
export LC_ALL=C
: >"$results/acknowledged"
. "$here/lib.sh"

kubectl --request-timeout=10s get --raw /readyz >/dev/null || {
  echo "the API server of ${KUBECONFIG:-the default kubeconfig} does not answer" >&2
  exit 1
}
if kubectl get namespace "$NAMESPACE" >/dev/null 2>&1; then
  echo "namespace $NAMESPACE exists already: the tests would change its content. Remove it, or use another cluster." >&2
  exit 1
fi

wanted=("$@")
passed=0
failed=()
summary=()

# scenario FUNCTION: one test, named by a sentence. It leaves the cluster as it found it.
scenario() {
  local name=$1 began=$SECONDS code
  if [ "${#wanted[@]}" -gt 0 ]; then
    # The installation always runs: everything else needs it.
    case " ${wanted[*]} helm_install_waits_until_all_pods_serve " in *" $name "* | *" $file "* | *" ${file%.sh} "*) ;; *) return 0 ;; esac
  fi
  [ "${#failed[@]}" = 0 ] || [ -z "${FAIL_FAST:-}" ] || return 0
  printf '\n==> %s\n' "${name//_/ }"
  # A subshell outside a condition: only there does `set -e` hold.
  (
    set -e
    "$name"
  ) 2>&1
  code=$?
  summary+=("$(printf '%-4s %4d s  %s' "$([ "$code" = 0 ] && echo ok || echo FAIL)" "$((SECONDS - began))" "${name//_/ }")")
  printf '<== %s\n' "${summary[-1]}"
  if [ "$code" = 0 ]; then
    passed=$((passed + 1))
    return 0
  fi
  failed+=("$name")
  [ -z "$cluster" ] || mend
  diagnose "$results/$name"
  [ "$name" != helm_install_waits_until_all_pods_serve ] || finish
  # The next scenario starts with a complete release, wherever this one stopped: its findings are about itself.
  helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" --install "${values[@]}" --wait --timeout 120s >/dev/null
}

scenario_with_faults() {
  [ -z "$cluster" ] || scenario "$@"
}

# at_night scenario... FUNCTION: only with NIGHTLY=1, as `make nightly` calls it, or where it or its file is asked for by name. For what
# takes long, and what `make test` tries, too, with processes.
at_night() {
  if [ -n "${NIGHTLY:-}" ] || [ "${#wanted[@]}" -gt 0 ]; then "$@"; fi
}

# mend: whatever a failed test left broken
mend() {
  local node daemon
  "$cluster" fault heal all
  for daemon in etcd kube-apiserver kube-controller-manager kube-scheduler coredns; do "$cluster" fault start cp "$daemon"; done
  for node in $("$cluster" kubectl get nodes -o name 2>/dev/null); do
    "$cluster" fault boot "${node#node/node}"
    "$cluster" kubectl uncordon "${node#node/}" >/dev/null
  done
}

finish() {
  printf '\n%s\n' "$(printf '%.0s-' {1..100})"
  printf '%s\n' "${summary[@]}"
  printf '%d passed, %d failed, %d s; %d records acknowledged in all\n' "$passed" "${#failed[@]}" "$SECONDS" "$(sort -u "$results/acknowledged" | wc -l)"
  if [ "${#failed[@]}" -gt 0 ]; then
    echo "Objects, logs and role files of the failed scenarios: $results/<name>"
  elif [ -z "${KEEP:-}" ]; then
    helm uninstall "$RELEASE" -n "$NAMESPACE" >/dev/null 2>&1
    kubectl delete namespace "$NAMESPACE" --wait=false >/dev/null 2>&1
  fi
  [ "${#failed[@]}" = 0 ]
  exit
}

kubectl version 2>/dev/null | sed 's/^/     /'
kubectl get nodes -o wide | sed 's/^/     /'
for path in "$here"/tests/*.sh; do
  file=${path##*/}
  # shellcheck source=/dev/null
  . "$path"
done
finish
