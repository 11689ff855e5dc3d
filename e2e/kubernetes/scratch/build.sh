#!/usr/bin/env bash
# build.sh FOLDER: makes FOLDER the context of scratch/Dockerfile.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
cp "$here/Dockerfile" "$1/"
CGO_ENABLED=0 go build -C "$here" -trimpath -ldflags "-s -w" -o "$(readlink -f "$1")/worker" .
