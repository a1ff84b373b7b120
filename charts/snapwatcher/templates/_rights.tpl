{{/* Rules for the watched namespaces. They are part of the ClusterRole, or of a Role in each namespace. */}}
{{- define "snapwatcher.watchedRules" -}}
{{- if include "snapwatcher.keepsRecords" . -}}
# SnapWatcher watches labeled pods, and reads a pod again before each claim and each attempt (get). It never writes a pod.
{{- else -}}
# SnapWatcher watches labeled pods. It never writes a pod.
{{- end }}
- apiGroups: [""]
  resources: [pods]
  verbs: [{{ if include "snapwatcher.keepsRecords" . }}get, {{ end }}list, watch]
# SnapWatcher finds the Deployment of a pod through its ReplicaSet. It reads only metadata.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
# SnapWatcher finds the CronJob of a pod through its Job. It reads only metadata.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get]
{{- if include "snapwatcher.keepsRecords" . }}
# SnapWatcher creates Checkpoints, watches them, and deletes old ones whose pods are gone. It never changes their spec.
- apiGroups: [snap.weaversoft.io]
  resources: [checkpoints]
  verbs: [get, list, watch, create, delete]
# SnapWatcher writes attempts and their outcomes into the status of Checkpoints.
- apiGroups: [snap.weaversoft.io]
  resources: [checkpoints/status]
  verbs: [update]
{{- end }}
{{- if include "snapwatcher.saves" . }}
# SnapWatcher creates Snapshots, judges them by what their nodes report, and deletes those that are not needed.
- apiGroups: [snap.weaversoft.io]
  resources: [snapshots]
  verbs: [get, list, watch, create, delete]
# SnapWatcher writes its judgement into the status of Snapshots.
- apiGroups: [snap.weaversoft.io]
  resources: [snapshots/status]
  verbs: [patch]
{{- end }}
{{ include "snapwatcher.eventsRule" . }}
{{- end }}

{{/* Rules of the ClusterRole: for cluster-scoped objects, and with allNamespaces for the objects of all namespaces. */}}
{{- define "snapwatcher.clusterRules" -}}
{{- if .Values.snapwatcher.operator.allNamespaces }}
{{ include "snapwatcher.watchedRules" . }}
{{- end }}
{{- if include "snapwatcher.keepsRecords" . }}
# `snapwatcher check` reads whether the Checkpoint resource is installed and has the version of this program.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [checkpoints.snap.weaversoft.io]
  verbs: [get]
{{- end }}
{{- if include "snapwatcher.servesWebhook" . }}
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
# SnapWatcher reads the kubelet address and the disk pressure of a node (get). `snapwatcher check` lists all nodes.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list]
{{- end }}
{{- end }}

{{/* Not empty if a back-end takes checkpoints. Without a back-end SnapWatcher creates no Checkpoints and only logs. */}}
{{- define "snapwatcher.keepsRecords" -}}
{{- $backend := .Values.snapwatcher.checkpoint.backend }}
{{- if or (eq $backend "kubelet") (and (eq $backend "snaphook") (include "snapwatcher.snapBackApiUrl" .)) }}true{{ end }}
{{- end }}

{{/* Not empty if SnapWatcher keeps the keys of Snapshots, in a Secret of the chart. */}}
{{- define "snapwatcher.keepsKeys" -}}
{{- if and (include "snapwatcher.saves" .) (eq .Values.save.encryption "age") }}true{{ end }}
{{- end }}

{{- define "snapwatcher.eventsRule" -}}
# SnapWatcher creates the Events that `kubectl describe pod` shows, and updates the count of a repeated one.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* Binds a role to the account of SnapWatcher: list . KIND NAME NAMESPACE. NAMESPACE is empty for a ClusterRole. */}}
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

{{/* Not empty if the namespace of the release is not watched. SnapWatcher still creates Events about its certificates there. */}}
{{- define "snapwatcher.watchesElsewhere" -}}
{{- $watched := include "snapwatcher.namespaces" . | splitList "," }}
{{- $isWatched := or .Values.snapwatcher.operator.allNamespaces (has .Release.Namespace $watched) }}
{{- if and (include "snapwatcher.servesWebhook" .) (not $isWatched) }}true{{ end }}
{{- end }}

{{/* Not empty if the account needs a Role in the namespace of the release. */}}
{{- define "snapwatcher.hasOwnRole" -}}
{{- $kubelet := eq .Values.snapwatcher.checkpoint.backend "kubelet" }}
{{- if or (include "snapwatcher.makesCa" .) (include "snapwatcher.keepsKeys" .) (not .Values.snapwatcher.operator.standalone) $kubelet (include "snapwatcher.watchesElsewhere" .) }}true{{ end }}
{{- end }}
