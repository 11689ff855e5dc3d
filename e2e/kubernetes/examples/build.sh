#!/usr/bin/env bash
# build.sh FOLDER: makes FOLDER the context of examples/Dockerfile. EXAMPLES=all adds Java and Node, which are 400 MB (`make nightly`).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
more=
[ "${EXAMPLES:-}" != all ] || more="default-jdk-headless nodejs"
sed "s/^ARG MORE=.*/ARG MORE=\"$more\"/" "$here/Dockerfile" >"$1/Dockerfile"
export CGO_ENABLED=0
go build -C "$here/../../../examples/go" -trimpath -ldflags "-s -w" -o "$(readlink -f "$1")/go-worker" .
# With client-go beside it: 3 minutes cold on 2 cores.
go build -C "$here/../../bench/peers" -trimpath -ldflags "-s -w" -o "$(readlink -f "$1")/plain-worker" ./cmd/plain-worker
