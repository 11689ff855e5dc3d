#!/usr/bin/env bash
# build.sh: builds ./bin/monitoring, asks it about the dashboard, and fetches the CustomResourceDefinitions of Prometheus' operator
# into ./bin/crds, from its Go module. A cold build takes a minute on 2 cores.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here"
operator=github.com/prometheus-operator/prometheus-operator@v0.85.0

mkdir -p bin/crds
CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath" go build -ldflags "-s -w" -o bin/monitoring .
bin/monitoring dashboard ../../helm/files/dashboard.json
# Outside of any module: its many dependencies are none of ours. Go compares it with the checksum database.
module=$(cd / && go mod download -json $operator)
folder=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$module")
[ -n "$folder" ] || { echo "$module" >&2; exit 1; }
for kind in podmonitors prometheusrules; do
  install -m 644 "$folder/example/prometheus-operator-crd/monitoring.coreos.com_$kind.yaml" bin/crds/
done
