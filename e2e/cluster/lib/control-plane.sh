# shellcheck shell=bash disable=SC2154
# The control plane's daemons, all in one box, and the objects that every cluster has.

kubectl_quick() { in_network cp "$BIN/kubectl" --request-timeout=5s "$@"; }

# start_control_plane NAME
start_control_plane() {
  local keys=$STATE/certificates folder=$STATE/cp
  case $1 in
  etcd)
    # The tests kill processes, not the machine: no fsync, so that a slow disk does not slow the tests.
    # shellcheck disable=SC2086
    daemon cp etcd "$BIN/etcd" --name kubebox --data-dir "$folder/etcd" --log-level warn \
      --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
      --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
      --initial-cluster kubebox=http://127.0.0.1:2380 ${CLUSTER_ETCD_FLAGS:---unsafe-no-fsync}
    ;;
  kube-apiserver)
    audit_policy >"$folder/audit-policy.yaml"
    # shellcheck disable=SC2086
    daemon cp kube-apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
      --advertise-address="$CP" --bind-address="$ANY" --secure-port=6443 \
      --client-ca-file="$keys/ca.crt" --tls-cert-file="$keys/apiserver.crt" --tls-private-key-file="$keys/apiserver.key" \
      --kubelet-client-certificate="$keys/apiserver-kubelet.crt" --kubelet-client-key="$keys/apiserver-kubelet.key" \
      --kubelet-certificate-authority="$keys/ca.crt" --kubelet-preferred-address-types=InternalIP \
      --requestheader-client-ca-file="$keys/front-ca.crt" --requestheader-allowed-names=front-proxy-client \
      --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
      --requestheader-username-headers=X-Remote-User \
      --proxy-client-cert-file="$keys/front-proxy.crt" --proxy-client-key-file="$keys/front-proxy.key" \
      --service-account-issuer=https://kubernetes.default.svc.cluster.local \
      --service-account-key-file="$keys/service-accounts.pub" \
      --service-account-signing-key-file="$keys/service-accounts.key" \
      --service-cluster-ip-range="$SERVICES" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
      --allow-privileged=true --profiling=false \
      --audit-policy-file="$folder/audit-policy.yaml" --audit-log-path="$folder/audit.log" \
      --audit-log-maxsize=100 --audit-log-maxbackup=1 ${CLUSTER_API_FLAGS:-}
    ;;
  kube-controller-manager)
    # A node counts as lost after 20 s instead of 50 s: tests wait for that.
    # shellcheck disable=SC2086
    daemon cp kube-controller-manager "$BIN/kube-controller-manager" \
      --kubeconfig="$keys/kube-controller-manager.kubeconfig" \
      --authentication-kubeconfig="$keys/kube-controller-manager.kubeconfig" \
      --authorization-kubeconfig="$keys/kube-controller-manager.kubeconfig" --root-ca-file="$keys/ca.crt" \
      --service-account-private-key-file="$keys/service-accounts.key" \
      --cluster-signing-cert-file="$keys/ca.crt" --cluster-signing-key-file="$keys/ca.key" \
      --use-service-account-credentials --allocate-node-cidrs=false --leader-elect=false --bind-address=127.0.0.1 \
      --profiling=false ${CLUSTER_CONTROLLER_FLAGS:---node-monitor-grace-period=20s --node-monitor-period=2s}
    ;;
  kube-scheduler)
    daemon cp kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$keys/kube-scheduler.kubeconfig" \
      --authentication-kubeconfig="$keys/kube-scheduler.kubeconfig" \
      --authorization-kubeconfig="$keys/kube-scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1 \
      --profiling=false
    ;;
  coredns)
    corefile >"$folder/Corefile"
    daemon cp coredns "$BIN/coredns" -conf "$folder/Corefile"
    ;;
  disks)
    daemon cp disks "$BIN/kubebox" disk-provisioner --kubeconfig="$keys/admin.kubeconfig" --root="$STATE/disks"
    ;;
  *)
    say "the control plane has no daemon $1"
    return 1
    ;;
  esac
}

# What the pods ask of the API server, one line a request, with the pod's name: so that a test can count it.
audit_policy() {
  cat <<'Y'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata, userGroups: ["system:serviceaccounts"]}
- {level: None}
Y
}

# No `bind` (the plugin is not built in): the addresses of health and ready are set in their own places.
corefile() {
  cat <<Y
.:53 {
  errors
  health $(address "$CP" 8080)
  ready $(address "$CP" 8181)
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig $STATE/certificates/coredns.kubeconfig $NAME
    pods insecure
    ttl 30
  }
  cache 30
}
Y
}

# CoreDNS runs in the control plane's box, not in a pod: its Service has no selector, and this script makes its
# EndpointSlice.
base_objects() {
  kubectl_quick apply -f - <<Y
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: system:coredns}
rules:
- {apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: system:coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:coredns}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: system:coredns}]
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec: {clusterIP: "$DNS", ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-cp, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: $([ "$FAMILY" = ipv4 ] && echo IPv4 || echo IPv6)
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
endpoints: [{addresses: ["$CP"], conditions: {ready: true}}]
---
# The default class: any node may mount a disk, so a pod moves with its data.
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubebox.local/disk
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
allowVolumeExpansion: true
parameters: {attach: any}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local}
provisioner: kubebox.local/disk
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
parameters: {attach: node}
Y
}
