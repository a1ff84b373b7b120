{{/* The rights on what lives in the watched namespaces: in one ClusterRole, or in a Role of each namespace. */}}
{{- define "snapwatcher.watchedRules" -}}
# The watch of labelled pods, and (get) the live read before each claim and each attempt. Pods are never written.
- apiGroups: [""]
  resources: [pods]
  verbs: [{{ if include "snapwatcher.keepsRecords" . }}get, {{ end }}list, watch]
# The way from a pod to its Deployment; only metadata is read.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
# The way from a pod to its CronJob; only metadata is read.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get]
{{- if include "snapwatcher.keepsRecords" . }}
# Claims are created, followed, and removed once their pods are gone; their spec is never changed.
- apiGroups: [snap.weaversoft.io]
  resources: [checkpoints]
  verbs: [get, list, watch, create, delete]
# What came of a claim.
- apiGroups: [snap.weaversoft.io]
  resources: [checkpoints/status]
  verbs: [update]
{{- end }}
{{ include "snapwatcher.eventsRule" . }}
{{- end }}

{{/* The rights that no single namespace holds. */}}
{{- define "snapwatcher.clusterRules" -}}
{{- if .Values.snapwatcher.operator.allNamespaces }}
{{ include "snapwatcher.watchedRules" . }}
{{- end }}
{{- if include "snapwatcher.keepsRecords" . }}
# Whether the Checkpoint resource is installed, and is of this version: `snapwatcher check`.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [checkpoints.snap.weaversoft.io]
  verbs: [get]
{{- end }}
{{- if eq .Values.webhook.mode "webhook" }}
{{- if .Values.tls.secretName }}
# SnapWatcher reads which namespaces its own configurations select. `snapwatcher check` also verifies their caBundle.
{{- else }}
# SnapWatcher writes the caBundle of its own configurations. It changes nothing else in them and creates none.
{{- end }}
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations{{ if ne .Values.webhook.validation "off" }}, validatingwebhookconfigurations{{ end }}]
  resourceNames: [{{ include "snapwatcher.clusterName" . }}]
  verbs: [get{{ if not .Values.tls.secretName }}, list, watch, patch{{ end }}]
{{- end }}
{{- if eq .Values.snapwatcher.checkpoint.backend "kubelet" }}
# The address and port of each kubelet, and whether its disk is under pressure (get); all of them for `snapwatcher check`.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list]
{{- end }}
{{- end }}

{{/* Not empty where a back-end is asked: without one, claims are only logged. */}}
{{- define "snapwatcher.keepsRecords" -}}
{{- $checkpoint := .Values.snapwatcher.checkpoint }}
{{- $url := $checkpoint.snapBackApiUrl }}
{{- range .Values.env }}
{{- if eq .name "SNAP_BACK_API_URL" }}{{ $url = .value | default .valueFrom }}{{ end }}
{{- end }}
{{- if or (eq $checkpoint.backend "kubelet") (and (eq $checkpoint.backend "snaphook") $url) }}true{{ end }}
{{- end }}

{{- define "snapwatcher.eventsRule" -}}
# What `kubectl describe pod` shows: created, and counted up when it happens again.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* A binding of the role to the program's account: list . KIND NAME NAMESPACE, the last empty for the cluster. */}}
{{- define "snapwatcher.binding" -}}
{{- $ := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ index . 1 }}Binding
metadata:
  name: {{ index . 2 }}
  {{- with index . 3 }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "snapwatcher.labels" $ | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ index . 1 }}
  name: {{ index . 2 }}
subjects:
- kind: ServiceAccount
  name: {{ include "snapwatcher.serviceAccountName" $ | quote }}
  namespace: {{ $.Release.Namespace | quote }}
{{- end }}

{{/* Not empty where the program tells Events in its own namespace, on its own pod, without watching it. */}}
{{- define "snapwatcher.watchesElsewhere" -}}
{{- $watched := include "snapwatcher.namespaces" . | splitList "," }}
{{- if not (or .Values.snapwatcher.operator.allNamespaces (has .Release.Namespace $watched)) }}true{{ end }}
{{- end }}

{{/* Not empty where there are rights in the release's own namespace. */}}
{{- define "snapwatcher.hasOwnRole" -}}
{{- $kubelet := eq .Values.snapwatcher.checkpoint.backend "kubelet" }}
{{- if or (not .Values.tls.secretName) (not .Values.snapwatcher.operator.standalone) $kubelet (include "snapwatcher.watchesElsewhere" .) }}true{{ end }}
{{- end }}
