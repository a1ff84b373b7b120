{{/*
What the program is told, by environment variables rather than flags, so that `kubectl set env` can change one in an
emergency. The program checks the values; its page of all settings is docs/configuration.md.
*/}}

{{/* Variables with a plain value, as a map from name to value. */}}
{{- define "snapwatcher.settings" -}}
{{- $operator := .Values.snapwatcher.operator }}
{{- $checkpoint := .Values.snapwatcher.checkpoint }}
LOG_LEVEL: {{ $operator.logLevel | quote }}
LOG_FORMAT: {{ $operator.logFormat | quote }}
{{- if not $operator.allNamespaces }}
NAMESPACES: {{ include "snapwatcher.namespaces" . | quote }}
{{- end }}
STANDALONE: {{ $operator.standalone | quote }}
LEASE_NAME: {{ include "snapwatcher.fullname" . | quote }}
SERVICE_NAME: {{ include "snapwatcher.fullname" . | quote }}
SERVICE_NAMESPACE: {{ .Release.Namespace | quote }}
CA_SECRET: {{ include "snapwatcher.componentName" (list . "webhook-ca") | quote }}
WEBHOOK_LISTEN: {{ printf "[::]:%d" (int .Values.webhook.port) | quote }}
ADMIN_LISTEN: {{ printf "[::]:%d" (int .Values.admin.port) | quote }}
DRAIN_DELAY: {{ printf "%ds" (int .Values.webhook.drainDelay) | quote }}
{{- if eq .Values.webhook.mode "webhook" }}
MUTATING_CONFIGURATION: {{ include "snapwatcher.clusterName" . | quote }}
VALIDATION: {{ .Values.webhook.validation | quote }}
{{- if ne .Values.webhook.validation "off" }}
VALIDATING_CONFIGURATION: {{ include "snapwatcher.clusterName" . | quote }}
{{- end }}
{{- end }}
{{- if .Values.tls.secretName }}
TLS_CERT: /etc/snapwatcher/tls/tls.crt
TLS_KEY: /etc/snapwatcher/tls/tls.key
{{- if .Values.tls.manageBundle }}
TLS_CA: /etc/snapwatcher/tls/ca.crt
{{- end }}
{{- end }}
BACKEND: {{ $checkpoint.backend | quote }}
REQUEST_TIMEOUT: {{ printf "%ds" (int $checkpoint.requestTimeout) | quote }}
{{- if eq $checkpoint.backend "snaphook" }}
SNAP_BACK_API_URL: {{ $checkpoint.snapBackApiUrl | quote }}
SNAP_BACK_API_CONTRACT: {{ $checkpoint.contract | quote }}
{{- with $checkpoint.clusterName }}
CLUSTER_NAME: {{ . | quote }}
{{- end }}
{{- if $checkpoint.tokenSecret.name }}
SNAP_BACK_API_TOKEN_FILE: /etc/snapwatcher/token/token
{{- end }}
{{- if $checkpoint.caConfigMap.name }}
SNAP_BACK_API_CA_FILE: /etc/snapwatcher/back-api-ca/ca.crt
{{- end }}
KUBE_API_ADDRESS: {{ $checkpoint.kubeApiAddress | quote }}
ANSWER_TIMEOUT: {{ printf "%ds" (int $checkpoint.answerTimeout) | quote }}
{{- end }}
{{- if eq $checkpoint.backend "kubelet" }}
KUBELET_TIMEOUT: {{ printf "%ds" (int $checkpoint.kubelet.timeout) | quote }}
KUBELET_SERVICE_ACCOUNT: {{ include "snapwatcher.kubeletAccountName" . | quote }}
KUBELET_INSECURE_SKIP_VERIFY: {{ $checkpoint.kubelet.insecureSkipVerify | quote }}
{{- if $checkpoint.kubelet.caConfigMap.name }}
KUBELET_CA_FILE: /etc/snapwatcher/kubelet-ca/ca.crt
{{- end }}
{{- end }}
{{- with $checkpoint.oncePer }}
ONCE_PER: {{ . | quote }}
{{- end }}
ON_UNKNOWN: {{ $checkpoint.onUnknown | quote }}
MAX_ATTEMPTS: {{ int $checkpoint.maxAttempts | quote }}
MAX_PODS_PER_REVISION: {{ int $checkpoint.maxPodsPerRevision | quote }}
MAX_CONCURRENT: {{ int $checkpoint.maxConcurrent | quote }}
MAX_CONCURRENT_PER_NODE: {{ int $checkpoint.maxConcurrentPerNode | quote }}
SUSPEND: {{ $checkpoint.suspend | quote }}
HISTORY_LIMIT: {{ int $checkpoint.historyLimit | quote }}
HISTORY_TTL: {{ $checkpoint.historyTTL | quote }}
{{- end }}

{{/* The same as a container's env, each name once: what is given in `env` stands in the place of ours. */}}
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

{{/* The namespaces that are watched, comma-separated, each once; for allNamespaces: false. */}}
{{- define "snapwatcher.namespaces" -}}
{{- .Values.snapwatcher.operator.namespaces | default (list .Release.Namespace) | uniq | sortAlpha | join "," }}
{{- end }}

{{/*
How long a stop may take: the longest request to the back-end, the drain of the HTTPS port, and 15 s for the last
outcome and the last requests, after which the program ends by itself; 5 s more, so that it is not killed at that moment.
*/}}
{{- define "snapwatcher.gracePeriod" -}}
{{- $checkpoint := .Values.snapwatcher.checkpoint }}
{{- $answer := $checkpoint.answerTimeout }}
{{- if eq $checkpoint.backend "kubelet" }}
{{- $answer = add $checkpoint.kubelet.timeout 10 }}
{{- end }}
{{- add $checkpoint.requestTimeout $answer .Values.webhook.drainDelay 15 5 }}
{{- end }}
