# shellcheck shell=bash
# An update from the last release, and back, by its own chart and images; and the raise of the format, after which there is no way
# back. Only with LAST_RELEASE=1, for they take minutes to build. It has a namespace of its own: its volumes begin with the last release.

updates_from_the_last_release_and_back_lose_nothing() {
  local last_chart last_version last_values part held=(--set store.formatMax=1)
  last_chart=$(cd "$root" && sh scripts/last-release.sh source)/helm
  read -r last_version _ <"$root/e2e/last-release"
  last_values=("${values[@]}")
  for part in store sidecar; do
    last_values+=(--set "$part.image.repository=leasehold/last-release-$part,$part.image.tag=$last_version")
  done
  NAMESPACE=last-release
  mkdir -p "$results/last-release"
  results=$results/last-release
  : >"$results/acknowledged"
  trap 'code=$?; [ $code = 0 ] || diagnose "$results/failed"; remove_last_release; exit $code' EXIT
  helm install "$RELEASE" "$last_chart" -n "$NAMESPACE" --create-namespace "${last_values[@]}" --wait --timeout 240s >/dev/null
  settle
  writer_start
  timed "forward, helm upgrade --wait" quietly forward helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" "${held[@]}" --wait --timeout 240s
  settle 240
  writer_goes_on
  timed "back, helm rollback --wait" quietly back helm rollback "$RELEASE" 1 -n "$NAMESPACE" --wait --timeout 240s
  settle 240
  writer_goes_on
  timed "forward again" quietly again helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" "${held[@]}" --wait --timeout 240s
  settle 240
  writer_goes_on
  format_is 1
  timed "the raise, helm upgrade --wait" quietly raise helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" --wait --timeout 240s
  settle 240
  writer_goes_on
  wait_for "format 2" 60 format_is 2
  writer_stop
  verify
}

format_is() { ask "$(holder)" /api/status | tr -d ' \n' | grep -q "\"inForce\":$1[,}]"; }

remove_last_release() {
  helm uninstall "$RELEASE" -n "$NAMESPACE" --wait --timeout 120s >/dev/null 2>&1 || true
  kubectl delete namespace "$NAMESPACE" --wait=false >/dev/null 2>&1 || true
}

[ -z "${LAST_RELEASE:-}" ] || scenario updates_from_the_last_release_and_back_lose_nothing
