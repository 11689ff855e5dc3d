#!/usr/bin/env bash
# build.sh: builds what `e2e bench` compares us with into ./bin: etcd, a load generator with etcd's own client, and
# contenders by client-go's leader election, one and a crowd of them. A cold build takes 3 minutes on 2 cores; the modules
# are from the usual proxy.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"
mkdir -p bin
TIMEFORMAT="      %R s (CPU %U + %S s)"
build() {
  echo "  go build $1"
  time go build -ldflags "-s -w" -o "bin/$1" "$2"
}
build etcd go.etcd.io/etcd/server/v3
build etcd-load ./cmd/etcd-load
build elector ./cmd/elector
build crowd ./cmd/crowd
