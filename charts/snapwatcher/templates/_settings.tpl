{{/*
The settings of the program. They are environment variables rather than flags, so that `kubectl set env` can change one
in an emergency. The program validates the values. docs/configuration.md lists all settings.
*/}}

{{/* Not empty if the API server calls SnapWatcher. */}}
{{- define "snapwatcher.servesWebhook" -}}
{{- if eq .Values.webhook.mode "webhook" }}true{{ end }}
{{- end }}

{{/* Not empty if SnapWatcher makes its own CA, which is in a Secret of the chart. */}}
{{- define "snapwatcher.makesCa" -}}
{{- if and (include "snapwatcher.servesWebhook" .) (not .Values.tls.secretName) }}true{{ end }}
{{- end }}

{{/* Variables with a plain value, as a map from name to value. */}}
{{- define "snapwatcher.settings" -}}
{{- $operator := .Values.snapwatcher.operator }}
{{- $checkpoint := .Values.snapwatcher.checkpoint }}
LOG_LEVEL: {{ $operator.logLevel | quote }}
SNAPWATCHER_LOG_FORMAT: {{ $operator.logFormat | quote }}
{{- if not $operator.allNamespaces }}
SNAPWATCHER_NAMESPACES: {{ include "snapwatcher.namespaces" . | quote }}
{{- end }}
SNAPWATCHER_STANDALONE: {{ $operator.standalone | quote }}
SNAPWATCHER_LEASE_NAME: {{ include "snapwatcher.fullname" . | quote }}
SNAPWATCHER_SERVICE_NAMESPACE: {{ .Release.Namespace | quote }}
SNAPWATCHER_ADMIN_LISTEN: {{ printf "[::]:%d" (int .Values.admin.port) | quote }}
SNAPWATCHER_ADMIN_EXPOSE_DETAIL: {{ .Values.admin.exposeDetail | quote }}
SNAPWATCHER_WEBHOOK: {{ include "snapwatcher.servesWebhook" . | default "false" | quote }}
{{- if include "snapwatcher.servesWebhook" . }}
SNAPWATCHER_WEBHOOK_LISTEN: {{ printf "[::]:%d" (int .Values.webhook.port) | quote }}
SNAPWATCHER_DRAIN_DELAY: {{ printf "%ds" (int .Values.webhook.drainDelay) | quote }}
SNAPWATCHER_SERVICE_NAME: {{ include "snapwatcher.fullname" . | quote }}
{{- if include "snapwatcher.makesCa" . }}
SNAPWATCHER_CA_SECRET: {{ include "snapwatcher.componentName" (list . "webhook-ca") | quote }}
{{- else }}
SNAPWATCHER_TLS_CERT: /etc/snapwatcher/tls/tls.crt
SNAPWATCHER_TLS_KEY: /etc/snapwatcher/tls/tls.key
{{- end }}
SNAPWATCHER_MUTATING_WEBHOOK_CONFIGURATION: {{ include "snapwatcher.clusterName" . | quote }}
SNAPWATCHER_VALIDATION: {{ .Values.webhook.validation | quote }}
{{- if ne .Values.webhook.validation "off" }}
SNAPWATCHER_VALIDATING_WEBHOOK_CONFIGURATION: {{ include "snapwatcher.clusterName" . | quote }}
{{- end }}
{{- end }}
SNAPWATCHER_BACKEND: {{ $checkpoint.backend | quote }}
SNAPWATCHER_REQUEST_TIMEOUT: {{ printf "%ds" (int $checkpoint.requestTimeout) | quote }}
{{- if eq $checkpoint.backend "snaphook" }}
SNAP_BACK_API_URL: {{ $checkpoint.snapBackApiUrl | quote }}
SNAPWATCHER_SNAP_BACK_API_CONTRACT: {{ $checkpoint.contract | quote }}
{{- with $checkpoint.clusterName }}
SNAPWATCHER_CLUSTER_NAME: {{ . | quote }}
{{- end }}
{{- if $checkpoint.tokenSecret.name }}
SNAPWATCHER_SNAP_BACK_API_TOKEN_FILE: /etc/snapwatcher/token/token
{{- end }}
{{- if $checkpoint.caConfigMap.name }}
SNAPWATCHER_SNAP_BACK_API_CA_FILE: /etc/snapwatcher/back-api-ca/ca.crt
{{- end }}
KUBE_API_ADDRESS: {{ $checkpoint.kubeApiAddress | quote }}
SNAPWATCHER_RESPONSE_TIMEOUT: {{ printf "%ds" (int $checkpoint.responseTimeout) | quote }}
{{- end }}
{{- if eq $checkpoint.backend "kubelet" }}
SNAPWATCHER_KUBELET_TIMEOUT: {{ printf "%ds" (int $checkpoint.kubelet.timeout) | quote }}
SNAPWATCHER_KUBELET_ARCHIVE_BUDGET: {{ $checkpoint.kubelet.archiveBudget | quote }}
SNAPWATCHER_KUBELET_SERVICE_ACCOUNT: {{ include "snapwatcher.kubeletAccountName" . | quote }}
SNAPWATCHER_KUBELET_PREFERRED_ADDRESS_TYPES: {{ join "," $checkpoint.kubelet.preferredAddressTypes | quote }}
SNAPWATCHER_KUBELET_INSECURE_SKIP_VERIFY: {{ $checkpoint.kubelet.insecureSkipVerify | quote }}
{{- if $checkpoint.kubelet.caConfigMap.name }}
SNAPWATCHER_KUBELET_CA_FILE: /etc/snapwatcher/kubelet-ca/ca.crt
{{- end }}
{{- end }}
{{- with $checkpoint.oncePer }}
SNAPWATCHER_ONCE_PER: {{ . | quote }}
{{- end }}
SNAPWATCHER_UNKNOWN_RESULT: {{ $checkpoint.unknownResult | quote }}
SNAPWATCHER_MAX_ATTEMPTS: {{ int $checkpoint.maxAttempts | quote }}
SNAPWATCHER_MAX_PODS_PER_REVISION: {{ int $checkpoint.maxPodsPerRevision | quote }}
SNAPWATCHER_MAX_CONCURRENT: {{ int $checkpoint.maxConcurrent | quote }}
SNAPWATCHER_MAX_CONCURRENT_PER_NODE: {{ int $checkpoint.maxConcurrentPerNode | quote }}
SNAPWATCHER_SUSPEND: {{ $checkpoint.suspend | quote }}
SNAPWATCHER_HISTORY_LIMIT: {{ int $checkpoint.historyLimit | quote }}
SNAPWATCHER_HISTORY_TTL: {{ $checkpoint.historyTTL | quote }}
{{- if include "snapwatcher.saves" . }}
SNAPWATCHER_SAVE: "true"
SNAPWATCHER_SNAPSHOT_ENCRYPTION: {{ .Values.save.encryption | quote }}
SNAPWATCHER_SNAPSHOT_KEYS_SECRET: {{ include "snapwatcher.componentName" (list . "snapshot-keys") | quote }}
SNAPWATCHER_SNAPSHOT_HISTORY_LIMIT: {{ int .Values.save.historyLimit | quote }}
SNAPWATCHER_SNAPSHOT_UNUSED_FOR: {{ .Values.save.unusedFor | quote }}
{{- include "snapwatcher.registrySettings" . }}
{{- end }}
{{- end }}

{{/* Variables of the agent with a plain value. */}}
{{- define "snapwatcher.agentSettings" -}}
{{- $operator := .Values.snapwatcher.operator }}
LOG_LEVEL: {{ $operator.logLevel | quote }}
SNAPWATCHER_LOG_FORMAT: {{ $operator.logFormat | quote }}
{{- if not $operator.allNamespaces }}
SNAPWATCHER_NAMESPACES: {{ include "snapwatcher.namespaces" . | quote }}
{{- end }}
SNAPWATCHER_ADMIN_LISTEN: {{ printf "[::]:%d" (int .Values.admin.port) | quote }}
SNAPWATCHER_ADMIN_EXPOSE_DETAIL: {{ .Values.admin.exposeDetail | quote }}
SNAPWATCHER_CHECKPOINTS_FOLDER: {{ printf "%s/checkpoints" .Values.agent.kubeletRoot | quote }}
SNAPWATCHER_STATE_FOLDER: {{ .Values.agent.stateFolder | quote }}
SNAPWATCHER_STORE_BYTES: {{ .Values.save.storeBytes | quote }}
SNAPWATCHER_FREE_DISK_PERCENT: {{ int .Values.save.freeDiskPercent | quote }}
{{- with .Values.save.uploadBytesPerSecond }}
SNAPWATCHER_UPLOAD_BYTES_PER_SECOND: {{ . | quote }}
{{- end }}
SNAPWATCHER_REMOVE_UNKNOWN_ARCHIVES: {{ .Values.save.removeUnknownArchives | quote }}
{{- include "snapwatcher.registrySettings" . }}
{{- end }}

{{/* The same as the env of a container, each name once. A variable of the value `env` replaces the one of the chart. */}}
{{- define "snapwatcher.env" -}}
{{- $given := dict }}
{{- range .Values.env }}
{{- $_ := set $given .name true }}
{{- end }}
{{- range $name, $value := include "snapwatcher.settings" . | fromYaml }}
{{- if not (hasKey $given $name) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- range $name, $field := dict "POD_NAME" "metadata.name" "POD_UID" "metadata.uid" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $field }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The URL of SnapHook, also of the value `env`. If it comes from a Secret, this is not a URL. */}}
{{- define "snapwatcher.snapBackApiUrl" -}}
{{- $url := .Values.snapwatcher.checkpoint.snapBackApiUrl }}
{{- range .Values.env }}
{{- if eq .name "SNAP_BACK_API_URL" }}{{ $url = .value | default .valueFrom }}{{ end }}
{{- end }}
{{- with $url }}{{ . | toString }}{{ end }}
{{- end }}

{{/* The watched namespaces for allNamespaces: false, comma-separated, each once. */}}
{{- define "snapwatcher.namespaces" -}}
{{- .Values.snapwatcher.operator.namespaces | default (list .Release.Namespace) | uniq | sortAlpha | join "," }}
{{- end }}

{{/*
The grace period in seconds: the longest request to the back-end, the drain of the HTTPS port, and 15 s for the last
outcome and the last requests, after which the program exits. 5 s more, so that the kubelet does not kill it at that moment.
*/}}
{{- define "snapwatcher.gracePeriod" -}}
{{- $checkpoint := .Values.snapwatcher.checkpoint }}
{{- $response := $checkpoint.responseTimeout }}
{{- if eq $checkpoint.backend "kubelet" }}
{{- $response = add $checkpoint.kubelet.timeout 10 }}
{{- end }}
{{- $drain := ternary .Values.webhook.drainDelay 0 (eq .Values.webhook.mode "webhook") }}
{{- add $checkpoint.requestTimeout $response $drain 15 5 }}
{{- end }}
