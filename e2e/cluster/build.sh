#!/usr/bin/env bash
# build.sh: builds kubebox, coredns and helm into ./bin (and pause, the PID 1 of every box, from C).
# A cold build takes 7 minutes on 2 cores, one with Go's caches some seconds; the modules are from the usual proxy.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"

# A build from modules has no version of its own, but charts' kubeVersion and the checks of version skew would see it.
kubernetes=$(sed -n 's/^\tk8s.io\/kubernetes v//p' go.mod)
helm=$(sed -n 's/^\thelm.sh\/helm\/v3 v\([^ ]*\).*/\1/p' go.mod)
version=k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=v$kubernetes -X $version.gitMajor=${kubernetes%%.*}"
flags="$flags -X $version.gitMinor=$(cut -d. -f2 <<<"$kubernetes") -X $version.gitTreeState=clean"
flags="$flags -X $version.buildDate=1970-01-01T00:00:00Z -X helm.sh/helm/v3/internal/version.version=v$helm"

mkdir -p bin
TIMEFORMAT="      %R s (CPU %U + %S s)"
build() {
  echo "  go build $1"
  time go build -ldflags "$flags" -o "bin/$1" "$2"
}
echo "  go mod download"
time go mod download
build kubebox ./cmd/kubebox
build coredns ./cmd/coredns
build helm helm.sh/helm/v3/cmd/helm
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  ln -sf kubebox "bin/$name"
done
gcc -static -Os -s -o bin/pause pause.c
