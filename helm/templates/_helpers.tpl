{{/*
The names. <fullname> is the release's name, so that release "database" gives database-cluster, database-service.
A StatefulSet's name may have 52 characters: its pods carry a label <name>-<hash of 10>, and labels have 63.
*/}}
{{- define "leasehold.fullname" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name -}}
{{- if gt (len (printf "%s-cluster" $name)) 52 -}}
{{- fail (printf "the name %s-cluster has %d characters, and 52 are possible: choose a shorter release name, or fullnameOverride" $name (len (printf "%s-cluster" $name))) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "leasehold.cluster" -}}{{ include "leasehold.fullname" . }}-cluster{{- end -}}
{{- define "leasehold.service" -}}{{ include "leasehold.fullname" . }}-service{{- end -}}
{{- define "leasehold.read" -}}{{ include "leasehold.fullname" . }}-read{{- end -}}
{{- define "leasehold.backup" -}}{{ include "leasehold.fullname" . }}-backup{{- end -}}
{{- define "leasehold.leader" -}}{{ include "leasehold.fullname" . }}-leader{{- end -}}

{{/* Immutable on the StatefulSet: never add to these. */}}
{{- define "leasehold.selector" -}}
app.kubernetes.io/name: leasehold
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Not the release's own: with those the backup would be an endpoint of the Services. */}}
{{- define "leasehold.backupSelector" -}}
app.kubernetes.io/name: leasehold-backup
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "leasehold.labels" -}}
{{ include "leasehold.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "leasehold.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "leasehold.cluster" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "leasehold.backupServiceAccount" -}}
{{- if .Values.backup.serviceAccount.create -}}
{{- .Values.backup.serviceAccount.name | default (include "leasehold.backup" .) -}}
{{- else -}}
{{- .Values.backup.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The names of Secrets; empty: there is none. */}}
{{- define "leasehold.peerKey" -}}
{{- if .Values.peerKey.enabled -}}
{{- .Values.peerKey.existingSecret | default (printf "%s-peer-key" (include "leasehold.fullname" .)) -}}
{{- end -}}
{{- end -}}
{{- define "leasehold.peerTls" -}}
{{- if and .Values.peerTls.existingSecret .Values.peerTls.certManager.issuerRef -}}
{{- fail "peerTls: either existingSecret or certManager.issuerRef, not both" -}}
{{- end -}}
{{- .Values.peerTls.existingSecret | default (ternary (printf "%s-peer-tls" (include "leasehold.fullname" .)) "" (not (empty .Values.peerTls.certManager.issuerRef))) -}}
{{- end -}}
{{- define "leasehold.apiTls" -}}
{{- if and .Values.apiTls.existingSecret .Values.apiTls.certManager.issuerRef -}}
{{- fail "apiTls: either existingSecret or certManager.issuerRef, not both" -}}
{{- end -}}
{{- .Values.apiTls.existingSecret | default (ternary (printf "%s-api-tls" (include "leasehold.fullname" .)) "" (not (empty .Values.apiTls.certManager.issuerRef))) -}}
{{- end -}}
{{- define "leasehold.apiTokens" -}}
{{- if and .Values.apiTokens.existingSecret .Values.apiTokens.create -}}
{{- fail "apiTokens: either existingSecret or create, not both" -}}
{{- end -}}
{{- .Values.apiTokens.existingSecret | default (ternary (printf "%s-api-tokens" (include "leasehold.fullname" .)) "" .Values.apiTokens.create) -}}
{{- end -}}

{{/* The names by which clients may reach a store without tokens: those of the Services and of the pods, and the given ones. */}}
{{- define "leasehold.apiHosts" -}}
{{- $hosts := list (printf "*.%s" (include "leasehold.host" (list . (include "leasehold.service" .)))) -}}
{{- range tuple "service" "read" "leader" -}}
{{- $hosts = append $hosts (include "leasehold.host" (list $ (include (printf "leasehold.%s" .) $))) -}}
{{- end -}}
{{- concat $hosts (.Values.apiHosts | default list) | join "," -}}
{{- end -}}

{{/* <name>.<namespace>.svc.<domain>: include "leasehold.host" (list $ "name") */}}
{{- define "leasehold.host" -}}
{{- $root := index . 0 -}}
{{ index . 1 }}.{{ $root.Release.Namespace }}.svc.{{ $root.Values.clusterDomain }}
{{- end -}}
{{- define "leasehold.scheme" -}}{{ if include "leasehold.apiTls" . }}https{{ else }}http{{ end }}{{- end -}}

{{/* include "leasehold.image" (list $ .Values.store.image) */}}
{{- define "leasehold.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{ $root.Values.image.registry }}/{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}

{{/*
A Secret of random words that is made once: include "leasehold.madeOnce" (list $ NAME VALUE LENGTHS). From then on it is left
alone, except that keys which it lacks are added; those that it has keep their values, whatever they are.
It is a hook, so it belongs to no revision: `helm rollback` cannot bring an old key back, and `helm uninstall` leaves it, as
it leaves the volumes. (To add keys Helm makes it again, as it does with any hook: pods that run keep what they have mounted.)
One that an older chart made belongs to the release, and must be rendered or Helm would delete it.
*/}}
{{- define "leasehold.madeOnce" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $value := index . 2 -}}
{{- $lengths := index . 3 -}}
{{- $there := lookup "v1" "Secret" $root.Release.Namespace $name -}}
{{- $releases := hasKey ((($there | default dict).metadata | default dict).annotations | default dict) "meta.helm.sh/release-name" -}}
{{- if and (not $there) (not (include "leasehold.seesCluster" $root)) -}}
{{- $literals := list -}}
{{- range $key, $length := $lengths }}{{ $literals = append $literals (printf "--from-literal=%s=\"$(openssl rand -base64 48)\"" $key) }}{{ end -}}
{{- fail (printf "this rendering sees no cluster (helm template, GitOps, a dry run), so Secret %s would get other random values each time. Make it once: kubectl create secret generic %s -n %s %s; then set %s=%s. To look at what a cluster would get: --dry-run=server" $name $name $root.Release.Namespace (join " " $literals) $value $name) -}}
{{- end -}}
{{- $data := deepCopy (($there | default dict).data | default dict) -}}
{{- $lacks := false -}}
{{- range $key, $length := $lengths }}
{{- if not (hasKey $data $key) }}
{{- $lacks = true }}
{{- $_ := set $data $key (randAlphaNum $length | b64enc) }}
{{- end }}
{{- end -}}
{{- if or $lacks $releases -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ $name }}
  labels:
    {{- include "leasehold.labels" $root | nindent 4 }}
  {{- if not $releases }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
  {{- end }}
type: Opaque
data:
  {{- toYaml $data | nindent 2 }}
{{- end -}}
{{- end -}}

{{/*
"yes" where lookups are answered. Every namespace has this ConfigMap, and Helm itself must be allowed to get ConfigMaps; in
a namespace that Helm is about to make (--create-namespace) there is nothing yet.
*/}}
{{- define "leasehold.seesCluster" -}}
{{- if lookup "v1" "ConfigMap" .Release.Namespace "kube-root-ca.crt" -}}yes
{{- else if lookup "v1" "Namespace" "" "default" -}}yes
{{- end -}}
{{- end -}}

{{/*
initialData by collection, as JSON: a list means persons. (Not a default in values.yaml: Helm would warn of each map over a
list, and would add it to each map.) The store refuses the same; better here, before a pod ends.
*/}}
{{- define "leasehold.initialData" -}}
{{- $data := .Values.initialData -}}
{{- if kindIs "invalid" $data -}}
{{- $data = .Files.Get "files/initial-data.json" | fromJson -}}
{{- else if kindIs "slice" $data -}}
{{- $data = dict "persons" $data -}}
{{- end -}}
{{- range $name, $records := omit $data "persons" -}}
{{- if not (hasKey ($.Values.collections | default dict) $name) -}}
{{- fail (printf "initialData has records of %s: define that collection in collections" $name) -}}
{{- end -}}
{{- if and $records (eq (int ($.Values.store.formatMax | default 0)) 1) -}}
{{- fail (printf "initialData has records of %s, which need format 2: take store.formatMax away, or these records" $name) -}}
{{- end -}}
{{- end -}}
{{- toJson $data -}}
{{- end -}}

{{/* A time such as 100ms, 1s, 2m, 24h or 7d, as milliseconds. */}}
{{- define "leasehold.milliseconds" -}}
{{- if hasSuffix "ms" . -}}{{ trimSuffix "ms" . }}
{{- else if hasSuffix "s" . -}}{{ mul (trimSuffix "s" . | int64) 1000 }}
{{- else if hasSuffix "h" . -}}{{ mul (trimSuffix "h" . | int64) 3600000 }}
{{- else if hasSuffix "d" . -}}{{ mul (trimSuffix "d" . | int64) 86400000 }}
{{- else -}}{{ mul (trimSuffix "m" . | int64) 60000 }}{{- end -}}
{{- end -}}

{{/* A size such as 512Mi or 1Gi, as bytes. */}}
{{- define "leasehold.bytes" -}}
{{- if hasSuffix "Ki" . -}}{{ mul (trimSuffix "Ki" . | int64) 1024 }}
{{- else if hasSuffix "Mi" . -}}{{ mul (trimSuffix "Mi" . | int64) 1048576 }}
{{- else if hasSuffix "Gi" . -}}{{ mul (trimSuffix "Gi" . | int64) 1073741824 }}
{{- else if hasSuffix "Ti" . -}}{{ mul (trimSuffix "Ti" . | int64) 1099511627776 }}
{{- else -}}{{ . | int64 }}{{- end -}}
{{- end -}}

{{/* A number of a values file is a float: 1234567 would be 1.234567e+06. */}}
{{- define "leasehold.restoreAt" -}}
{{- $at := .Values.restore.at | default "latest" -}}
{{- if kindIs "string" $at }}{{ $at }}{{ else }}{{ int64 $at }}{{ end -}}
{{- end -}}

{{/* What the schema cannot say of backup and restore. */}}
{{- define "leasehold.checkBackup" -}}
{{- $backup := .Values.backup -}}
{{- if $backup.enabled -}}
{{- if not $backup.url -}}
{{- fail "backup.enabled needs backup.url: where the archive is, such as s3://bucket/prefix" -}}
{{- end -}}
{{- if and (hasPrefix "file:" $backup.url) (not $backup.extraVolumeMounts) -}}
{{- fail (printf "backup.url is %s: a folder of the pod, whose own file system is read-only and goes with it. Mount a volume there: backup.extraVolumes and backup.extraVolumeMounts" $backup.url) -}}
{{- end -}}
{{- $changes := include "leasehold.milliseconds" $backup.changesEvery | int64 -}}
{{- if lt (include "leasehold.milliseconds" $backup.fullEvery | int64) $changes -}}
{{- fail (printf "backup.fullEvery %s must be at least backup.changesEvery %s" $backup.fullEvery $backup.changesEvery) -}}
{{- end -}}
{{- if and $backup.recipients $backup.drill.schedule (not $backup.drill.identitySecret) -}}
{{- fail "backup.drill.schedule with backup.recipients needs backup.drill.identitySecret: without the identity a drill cannot read what is encrypted" -}}
{{- end -}}
{{- if include "leasehold.apiTokens" . -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "leasehold.apiTokens" .) -}}
{{- if and $secret (not .Values.apiTokens.create) (not (hasKey ($secret.data | default dict) "backup")) -}}
{{- fail (printf "Secret %s has no key backup, whose token the backup shows the API: kubectl patch secret %s -n %s -p '{\"data\":{\"backup\":\"'$(openssl rand -base64 48 | base64 -w0)'\"}}'" (include "leasehold.apiTokens" .) (include "leasehold.apiTokens" .) .Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- else if $backup.drill.schedule -}}
{{- fail "backup.drill.schedule needs backup.enabled and backup.url: what would it restore?" -}}
{{- end -}}
{{- $restore := .Values.restore -}}
{{- if and (not $restore.url) (or $restore.clusterId $restore.existingSecret $restore.identitySecret $restore.endpoint $restore.pathStyle (ne (include "leasehold.restoreAt" .) "latest")) -}}
{{- fail "restore needs restore.url: where the archive is, such as s3://bucket/prefix. If nothing is to be restored, take its other values away" -}}
{{- end -}}
{{- if and (hasPrefix "file:" $restore.url) (not .Values.extraVolumeMounts.restore) -}}
{{- fail (printf "restore.url is %s: a folder of the pod, and nothing is mounted there. Mount the volume with the archive: extraVolumes and extraVolumeMounts.restore" $restore.url) -}}
{{- end -}}
{{- end -}}

{{/* The programs refuse these at their start; better here, before a pod ends again and again. */}}
{{- define "leasehold.checkTimes" -}}
{{- $lost := include "leasehold.milliseconds" .Values.store.lostTime | int64 -}}
{{- $heartbeat := include "leasehold.milliseconds" .Values.store.heartbeat | int64 -}}
{{- if lt $lost (mul $heartbeat 3) -}}
{{- fail (printf "store.heartbeat %s must be at most a third of store.lostTime %s" .Values.store.heartbeat .Values.store.lostTime) -}}
{{- end -}}
{{- if gt $lost 60000 -}}
{{- fail (printf "store.lostTime %s must be at most 1m" .Values.store.lostTime) -}}
{{- end -}}
{{- if ge $lost (mul .Values.lease.durationSeconds 1000) -}}
{{- fail (printf "store.lostTime %s must be below lease.durationSeconds %v" .Values.store.lostTime .Values.lease.durationSeconds) -}}
{{- end -}}
{{- end -}}

{{/* The type, annotations and families of a Service: include "leasehold.serviceSpec" (list $ .Values.services.read) */}}
{{- define "leasehold.serviceSpec" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 | default dict -}}
{{- with $service.type }}
type: {{ . }}
{{- end }}
{{- with $service.loadBalancerClass }}
loadBalancerClass: {{ . | quote }}
{{- end }}
{{- with $service.loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.services.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with $root.Values.services.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
