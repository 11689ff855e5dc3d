#!/usr/bin/env bash
# images.sh [REGISTRY]: builds both images as REGISTRY/leasehold/{store,sidecar}:<appVersion>; REGISTRY is localhost by
# default. For the tests of backups also REGISTRY/leasehold/s3:1.8.0, an S3 server, and for those of the examples
# REGISTRY/leasehold/examples:<appVersion> (EXAMPLES=all: with Java and Node), and for those of `exec` REGISTRY/leasehold/scratch:<appVersion>,
# a program alone.
# images.sh --last-release [REGISTRY]: those of the release that e2e/last-release names, from its own Dockerfiles, as
# REGISTRY/leasehold/last-release-{store,sidecar}:<its version>.
#
# With Docker or Podman if an engine answers; otherwise, as root on Debian, with buildah and stand-ins for the base
# images (e2e/cluster/images.sh), from the same Dockerfiles.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$here/../..
prefix=
[ "${1:-}" != --last-release ] || { prefix=last-release- && shift; }
registry=${1:-localhost}
if [ -n "$prefix" ]; then
  read -r version _ <"$root/e2e/last-release"
  root=$(sh "$root/scripts/last-release.sh" source)
  # A cache of its own: Cargo compares times, and would take what was built of this checkout for the other one's.
  sed -i 's/id=leasehold-target,/id=leasehold-target-last-release,/' "$root"/Dockerfile.{store,sidecar}
else
  version=$(sed -n 's/^appVersion: //p' "$root/helm/Chart.yaml")
fi

if docker info >/dev/null 2>&1; then
  build() { DOCKER_BUILDKIT=1 docker build --file "$1" --tag "$2" "$root"; }
elif podman info >/dev/null 2>&1; then
  build() { podman build --file "$1" --tag "$2" "$root"; }
else
  build() { "$here/../cluster/images.sh" build "$1" "$2" "$root"; }
fi
for name in store sidecar; do
  build "$root/Dockerfile.$name" "$registry/leasehold/$prefix$name:$version"
done

# The S3 server that backups are tested with, what the examples run on, and the program alone in its image, where there is a Go to build them.
if [ -z "$prefix" ] && command -v go >/dev/null; then
  for name in s3:1.8.0 "examples:$version" "scratch:$version"; do
    context=${CARGO_TARGET_DIR:-$root/target}/${name%%:*}
    "$here/${name%%:*}/build.sh" "$context"
    root=$context build "$context/Dockerfile" "$registry/leasehold/$name"
  done
fi
