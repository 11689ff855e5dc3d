# shellcheck shell=bash
# Volumes that grow, and a backup of one with which a release of another name starts.

claims() { k get pvc -l "app.kubernetes.io/instance=$RELEASE" -o name; }
claims_have() { # claims_have SIZE: every claim of the release has this size
  local sizes
  sizes=$(k get pvc -l "app.kubernetes.io/instance=$RELEASE" -o jsonpath='{.items[*].status.capacity.storage}')
  [ -n "$sizes" ] && [ -z "$(tr ' ' '\n' <<<"$sizes" | grep -vx "$1")" ]
}
expandable() { # the class of the claims lets them grow
  local class
  class=$(k get pvc "data-$(pod 0)" -o jsonpath='{.spec.storageClassName}')
  [ "$(kubectl get storageclass "$class" -o jsonpath='{.allowVolumeExpansion}')" = true ]
}

# As docs/kubernetes.md says.
volumes_grow_without_a_failed_write() {
  local i before claim
  expandable || { say "this cluster's volumes cannot grow: left out"; return 0; }
  before=$(for i in 0 1 2; do uid_of "$(pod "$i")"; done)
  BY_IP=1 writer_start # no pod is replaced
  # The short way is refused, and changes nothing.
  if helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" --set persistence.size=2Gi >"$results/grow.txt" 2>&1; then
    say "Kubernetes accepts the new size by itself: docs/kubernetes.md can be shorter"
    return 1
  fi
  grep -q 'updates to statefulset spec' "$results/grow.txt" || { cat "$results/grow.txt"; return 1; }
  for claim in $(claims); do k patch "$claim" -p '{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}' >/dev/null; done
  wait_for "the volumes to grow" 120 claims_have 2Gi
  k delete statefulset "$cluster_name" --cascade=orphan >/dev/null
  timed "helm upgrade" quietly grow helm upgrade "$RELEASE" "$chart" -n "$NAMESPACE" "${values[@]}" \
    --set persistence.size=2Gi --wait --timeout 240s
  settle
  writer_goes_on
  writer_stop
  # Not one request failed (421: the loops of the followers), and no pod was touched.
  [ -z "$(awk '$1 == "answered" && $3 != 421' "$results/writer.log")" ] || { say "requests failed"; return 1; }
  [ "$(for i in 0 1 2; do uid_of "$(pod "$i")"; done)" = "$before" ] || { say "pods were replaced"; return 1; }
  [ "$(k get statefulset "$cluster_name" -o jsonpath='{.spec.volumeClaimTemplates[0].spec.resources.requests.storage}')" = 2Gi ]
  verify
}

ended() { [ "$(k get pod "$1" -o jsonpath='{.status.phase}')" = Succeeded ]; }
records_have() { k exec records-cluster-0 -c store -- curl -s --max-time 5 http://localhost:8089/persons | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' | sort -u; }

# As docs/kubernetes.md says: one volume at rest is copied, recover makes a new cluster of the copy, and a release of
# another name starts with it. The old one continues meanwhile.
a_copied_volume_begins_a_release_of_another_name() {
  local claim=data-records-cluster-0
  settle
  k scale statefulset "$cluster_name" --replicas=2 >/dev/null
  settle 180
  sort -u "$results/acknowledged" >"$results/backed-up"
  k apply -f - >/dev/null <<Y
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: $claim}
spec: {accessModes: [ReadWriteOncePod], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: restore}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: restore
      image: $registry/leasehold/store:$version
      command: [sh, -ec]
      args:
        - |
          cd /backup
          for f in *; do [ "\$f" = lost+found ] || cp -r "\$f" /data/; done
          sync
          store recover --force-new-cluster --name records-cluster-0
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: backup, mountPath: /backup}, {name: data, mountPath: /data}]
  volumes:
    - {name: backup, persistentVolumeClaim: {claimName: data-$(pod 2)}}
    - {name: data, persistentVolumeClaim: {claimName: $claim}}
Y
  wait_for "the volume to be copied" 120 ended restore || { k describe pod restore; k logs restore; return 1; }
  k logs restore | sed 's/^/     /'
  k delete pod restore >/dev/null
  k scale statefulset "$cluster_name" --replicas=3 >/dev/null
  timed "helm install records" quietly records helm install records "$chart" -n "$NAMESPACE" "${values[@]}" "${brief[@]}" --set persistence.size=1Gi --wait --timeout 240s
  records_have >"$results/restored"
  say "$(wc -l <"$results/backed-up") records were acknowledged before the copy, the new release has $(wc -l <"$results/restored")"
  [ -z "$(comm -23 "$results/backed-up" "$results/restored")" ] || { say "records are missing"; return 1; }
  quietly records-test helm_test records
  helm uninstall records -n "$NAMESPACE" --wait --timeout 120s >/dev/null
  k delete pvc -l app.kubernetes.io/instance=records >/dev/null
  k delete pvc "$claim" --ignore-not-found >/dev/null
  k delete secret records-peer-key >/dev/null
  settle 180
  verify
}

scenario volumes_grow_without_a_failed_write
# This applies to all later upgrades, too: the size is immutable.
! claims_have 2Gi || values+=(--set persistence.size=2Gi)
scenario a_copied_volume_begins_a_release_of_another_name
