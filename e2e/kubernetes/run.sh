#!/usr/bin/env bash
# run.sh [FILE|SCENARIO...]: what `make e2e` runs. It uses the first of these that is available:
#   1. the cluster that USER_KUBECONFIG names, with images from REGISTRY: only what affects its own namespace
#   2. kind, where a Docker engine runs: the same
#   3. a cluster of our own (e2e/cluster), as root on Debian: machines and networks are broken, too
#
# CLUSTER_FAMILY=ipv6 gives the third only IPv6 addresses, for nodes, pods and Services (`make nightly` runs an
# installation, the walk-through and leaving pods there). LAST_RELEASE=1 also builds the images of the last release, which
# takes minutes, and tests the update from it and back (`make nightly`). EXAMPLES=all also tries the examples in Java and
# Node (`make nightly`). KEEP=1 leaves the cluster up, for a look or for another run (`up` is quick then).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")
version=$(sed -n 's/^appVersion: //p' "$root/helm/Chart.yaml")
read -r last_version _ <"$root/e2e/last-release"
export REGISTRY=${REGISTRY:-localhost}
step() {
  echo
  bash "$root/scripts/step.sh" "$@"
}
needed() { command -v "$1" >/dev/null || { echo "make e2e: $1 is needed: $2" >&2; exit 1; }; }

build_images() {
  step "images" "$here/images.sh" "$REGISTRY"
  [ -z "${LAST_RELEASE:-}" ] || step "images of the last release" "$here/images.sh" --last-release "$REGISTRY"
  ! command -v go >/dev/null || export S3_IMAGE=$REGISTRY/leasehold/s3:1.8.0 EXAMPLES_IMAGE=$REGISTRY/leasehold/examples:$version \
    SCRATCH_IMAGE=$REGISTRY/leasehold/scratch:$version
}

on_the_users() {
  needed kubectl https://kubernetes.io/docs/tasks/tools/
  needed helm https://helm.sh/docs/intro/install/
  [ "$REGISTRY" != localhost ] || { echo "make e2e: with KUBECONFIG, say where that cluster finds the images: IMAGES=registry.example/prefix (make images IMAGES=... builds them; push them)" >&2; exit 2; }
  KUBECONFIG=$(readlink -f "$USER_KUBECONFIG") CLUSTER="" "$here/tests.sh" "$@"
}

on_kind() {
  needed kind https://kind.sigs.k8s.io/docs/user/quick-start/#installation
  needed kubectl https://kubernetes.io/docs/tasks/tools/
  needed helm https://helm.sh/docs/intro/install/
  local name=leasehold-e2e scratch
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064 # its value now
  trap "[ -n '${KEEP:-}' ] || kind delete cluster --name $name; rm -rf '$scratch'" EXIT
  export KUBECONFIG=$scratch/kubeconfig
  build_images
  printf 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: control-plane}, {role: worker}, {role: worker}, {role: worker}]\n' >"$scratch/kind.yaml"
  kind get clusters | grep -qx $name || step "kind create cluster" kind create cluster --name $name --config "$scratch/kind.yaml" --wait 180s
  kind export kubeconfig --name $name --kubeconfig "$KUBECONFIG"
  local images=("$REGISTRY"/leasehold/{store,sidecar}:"$version")
  [ -z "${S3_IMAGE:-}" ] || images+=("$S3_IMAGE" "$EXAMPLES_IMAGE" "$SCRATCH_IMAGE")
  [ -z "${LAST_RELEASE:-}" ] || images+=("$REGISTRY"/leasehold/last-release-{store,sidecar}:"$last_version")
  step "kind load" kind load docker-image --name $name "${images[@]}"
  CLUSTER="" "$here/tests.sh" "$@"
}

on_our_own() {
  local cluster=$root/e2e/cluster missing code=0 go_log go_builds
  missing=$("$cluster/cluster" packages | xargs)
  [ -z "$missing" ] || { echo "make e2e: first: apt-get update && apt-get install -y --no-install-recommends $missing" >&2; exit 1; }
  needed go "Go $(sed -n 's/^go //p' "$cluster/go.mod") or newer builds Kubernetes and helm (https://go.dev/dl)"
  # Beside the images, whose last minutes are the work of one core. A process group of its own, to end all of it by.
  go_log=$(mktemp)
  set -m
  { step "go build" "$cluster/build.sh" && step "go build monitoring" "$root/e2e/monitoring/build.sh"; } >"$go_log" 2>&1 &
  go_builds=$!
  set +m
  # shellcheck disable=SC2064 # its value now
  trap "kill -- -$go_builds 2>/dev/null; rm -f '$go_log'" EXIT
  step "base image: pause" "$cluster/images.sh" pause
  step "base image: debian" "$cluster/images.sh" debian
  step "base image: rust" "$cluster/images.sh" rust
  build_images
  # This API server is checked against the same rules as the embedded one.
  # With a test, as `make test` compiles them: Cargo chooses other features of the dependencies otherwise, and compiles them anew.
  step "build e2e and sidecar" cargo build --locked --quiet --manifest-path "$root/Cargo.toml" --workspace --bin e2e --bin sidecar \
    --test process_cluster
  wait "$go_builds" || code=$?
  cat "$go_log"
  rm -f "$go_log"
  trap - EXIT
  [ "$code" = 0 ] || exit "$code"
  export E2E=${CARGO_TARGET_DIR:-$root/target}/debug/e2e
  # In every case, also at once after a signal (with a trap for it, bash would first wait for the tests): `down` ends what
  # an interrupted `up` started, and the tests, which run in the cluster's network.
  # shellcheck disable=SC2064 # its value now
  trap "[ -n '${KEEP:-}' ] || bash '$root/scripts/step.sh' 'cluster down' '$cluster/cluster' down" EXIT
  # Nodes that are made now load all images. Those of a cluster that was kept have older ones.
  local kept=
  [ ! -e "${CLUSTER_STATE:-$cluster/run}/node1/images.done" ] || kept=yes
  step "cluster up" "$cluster/cluster" up
  local images=("$cluster"/images/{store,sidecar}.tar)
  [ -z "${S3_IMAGE:-}" ] || images+=("$cluster"/images/{s3,examples,scratch}.tar)
  [ -z "${LAST_RELEASE:-}" ] || images+=("$cluster"/images/last-release-{store,sidecar}.tar)
  # shellcheck disable=SC2016
  [ -z "$kept" ] || step "load images" bash -c 'for tar in "${@:2}"; do "$1" load "$tar"; done' - "$cluster/cluster" "${images[@]}"
  CLUSTER=$cluster/cluster "$cluster/cluster" exec "$here/tests.sh" "$@" || code=$?
  return $code
}

if [ -n "${USER_KUBECONFIG:-}" ]; then
  on_the_users "$@"
elif docker info >/dev/null 2>&1; then
  on_kind "$@"
else
  on_our_own "$@"
fi
