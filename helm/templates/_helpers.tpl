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
{{- define "leasehold.leader" -}}{{ include "leasehold.fullname" . }}-leader{{- end -}}

{{/* Immutable on the StatefulSet: never add to these. */}}
{{- define "leasehold.selector" -}}
app.kubernetes.io/name: leasehold
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

{{/* As the "restricted" Pod Security Standard asks, and a root file system that cannot be written to. */}}
{{- define "leasehold.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
{{- define "leasehold.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}
