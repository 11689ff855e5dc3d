#!/usr/bin/env bash
# images.sh [REGISTRY]: builds both images as REGISTRY/leasehold/{store,sidecar}:<appVersion>; REGISTRY is localhost by
# default. With Docker or Podman if an engine answers; otherwise, as root on Debian, with buildah and stand-ins for the base
# images (e2e/cluster/images.sh), from the same Dockerfiles.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$here/../..
registry=${1:-localhost}
version=$(sed -n 's/^appVersion: //p' "$root/helm/Chart.yaml")

if docker info >/dev/null 2>&1; then
  build() { DOCKER_BUILDKIT=1 docker build --file "$1" --tag "$2" "$root"; }
elif podman info >/dev/null 2>&1; then
  build() { podman build --file "$1" --tag "$2" "$root"; }
else
  build() { "$here/../cluster/images.sh" build "$1" "$2" "$root"; }
fi
for name in store sidecar; do
  build "$root/Dockerfile.$name" "$registry/leasehold/$name:$version"
done
