# shellcheck shell=bash disable=SC2154
# A node: containerd, kubelet and kube-proxy in one box, with its own cgroups.

# cgroups PATH: this path in every controller that has it
cgroups() {
  local controller
  for controller in /sys/fs/cgroup/*/; do [ ! -d "$controller${1#/}" ] || echo "$controller${1#/}"; done
}

# remove_cgroups PATH: with all below, deepest first. One that still has a process stays; ask again.
remove_cgroups() {
  local tree
  for tree in $(cgroups "$1"); do find "$tree" -depth -type d -exec rmdir {} \; 2>/dev/null || true; done
}

# The node's tree must exist in every controller before the kubelet looks; a cpuset is empty until it is filled from the top
# down.
make_cgroups() {
  local controller level file
  for controller in /sys/fs/cgroup/*/; do
    [ "$controller" = /sys/fs/cgroup/unified/ ] || mkdir -p "$controller$NAME/node$1"
  done
  for level in "$NAME" "$NAME/node$1"; do
    for file in cpuset.cpus cpuset.mems; do
      cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset/$level/$file"
    done
  done
}

configure_node() {
  local i=$1 folder=$STATE/node$1
  mkdir -p "$folder/cni"
  make_cgroups "$i"
  [ ! -e "$folder/proxy.yaml" ] || return 0 # kube-proxy ends when its configuration is written again
  cat >"$folder/cni/10-bridge.conflist" <<Y
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "forceAddress": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$(pods_of "$i")"}]], "routes": [{"dst": "$ANY/0"}]}}]}
Y
  # restrict_oom_score_adj: sandboxes want -998, which needs CAP_SYS_RESOURCE.
  cat >"$folder/containerd.toml" <<Y
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "kubebox.local/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$folder/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
Y
  # failCgroupV1: 1.35 refuses cgroup v1 unless this is set. protectKernelDefaults: complain about sysctls, do not write
  # them (see init_box). Images are never removed and disks never count as full: images cannot be pulled again.
  cat >"$folder/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: "$(ip_of "$i")"
healthzBindAddress: 127.0.0.1
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/certificates/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $STATE/certificates/node$i-serving.crt
tlsPrivateKeyFile: $STATE/certificates/node$i-serving.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$NAME/node$i
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failCgroupV1: false
failSwapOn: false
protectKernelDefaults: true
makeIPTablesUtilChains: false
clusterDNS: ["$DNS"]
clusterDomain: cluster.local
resolvConf: /run/node/resolv.conf
seccompDefault: true
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
nodeStatusUpdateFrequency: 5s
# How soon a pod sees that its Secret changed. The default, 1m, would only make the tests wait.
syncFrequency: 15s
maxPods: 40
registerNode: true
serializeImagePulls: false
eventRecordQPS: 50
Y
  # The sysctls of conntrack are read-only outside the machine's first network: 0 leaves them alone.
  cat >"$folder/proxy.new" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $STATE/certificates/kube-proxy.kubeconfig}
mode: nftables
clusterCIDR: $PODS
hostnameOverride: node$i
bindAddress: "$(ip_of "$i")"
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
Y
  mv "$folder/proxy.new" "$folder/proxy.yaml"
}

# start_node N NAME
start_node() {
  local i=$1 folder=$STATE/node$1
  case $2 in
  containerd) daemon "$i" containerd containerd -c "$folder/containerd.toml" ;;
  kubelet)
    daemon "$i" kubelet "$BIN/kubelet" --config="$folder/kubelet.yaml" \
      --kubeconfig="$STATE/certificates/node$i.kubeconfig" --hostname-override="node$i" --node-ip="$(ip_of "$i")" \
      --root-dir=/var/lib/kubelet
    ;;
  kube-proxy) daemon "$i" kube-proxy "$BIN/kube-proxy" --config="$folder/proxy.yaml" ;;
  *)
    say "a node has no daemon $2"
    return 1
    ;;
  esac
}

# import_image N TAR
import_image() { enter "$1" ctr -n k8s.io images import "$2" >/dev/null; }

import_images() {
  local tar
  for tar in "$IMAGES"/*.tar; do
    [ -e "$tar" ] || continue # no archive at all: the pattern itself
    import_image "$1" "$tar" || return 1
  done
}

up_node() {
  local i=$1
  boot_box "$i"
  configure_node "$i"
  start_node "$i" containerd
  until_ok "containerd on node$i" 60 enter "$i" ctr version
  if [ ! -e "$STATE/node$i/images.done" ]; then
    import_images "$i"
    touch "$STATE/node$i/images.done"
  fi
  start_node "$i" kubelet
  start_node "$i" kube-proxy
}

nodes_are_ready() { [ "$(kubectl_quick get nodes --no-headers | awk '$2 ~ /^Ready/' | wc -l)" = "$NODES" ]; }
