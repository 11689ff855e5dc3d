# shellcheck shell=bash
# The embedded Lease API of `make test` imitates rules: this API server follows the same ones.

the_api_server_does_what_the_embedded_lease_api_does() {
  "$E2E" conformance --kubeconfig "$KUBECONFIG" --namespace "$NAMESPACE" | sed 's/^/     /'
  [ "${PIPESTATUS[0]}" = 0 ]
}

[ ! -x "${E2E:-}" ] || scenario the_api_server_does_what_the_embedded_lease_api_does
