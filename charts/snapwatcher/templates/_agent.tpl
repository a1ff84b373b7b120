{{/* The parts of the agent that several templates share. */}}

{{/* Not empty if checkpoints are saved. */}}
{{- define "snapwatcher.saves" -}}
{{- if .Values.save.enabled }}true{{ end }}
{{- end }}

{{/* The name of the DaemonSet, of its account and of its roles in one namespace. */}}
{{- define "snapwatcher.agentName" -}}
{{- include "snapwatcher.componentName" (list . "agent") }}
{{- end }}

{{- define "snapwatcher.agentNamespace" -}}
{{- .Values.agent.namespace | default .Release.Namespace }}
{{- end }}

{{/* Labels that select the pods of the agent. The selector of the Deployment must not match them. */}}
{{- define "snapwatcher.agentLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: agent
{{- end }}

{{/* The variables about the registry, for the leader and for the agent. */}}
{{- define "snapwatcher.registrySettings" -}}
{{- with .Values.save.registry }}
{{- if .repository }}
SNAPWATCHER_REGISTRY_REPOSITORY: {{ .repository | quote }}
SNAPWATCHER_REGISTRY_PLAIN_HTTP: {{ .plainHTTP | quote }}
{{- if .credentialsSecret }}
SNAPWATCHER_REGISTRY_CREDENTIALS_FILE: /etc/snapwatcher/registry-credentials/config.json
{{- end }}
{{- if .caConfigMap }}
SNAPWATCHER_REGISTRY_CA_FILE: /etc/snapwatcher/registry-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The volumes with its credentials and its CA. */}}
{{- define "snapwatcher.registryVolumes" -}}
{{- with .Values.save.registry }}
{{- if .credentialsSecret }}
- name: registry-credentials
  secret:
    secretName: {{ .credentialsSecret | quote }}
    defaultMode: 0440
    items:
    - key: .dockerconfigjson
      path: config.json
{{- end }}
{{- if .caConfigMap }}
- name: registry-ca
  configMap:
    name: {{ .caConfigMap | quote }}
    items:
    - key: ca.crt
      path: ca.crt
{{- end }}
{{- end }}
{{- end }}

{{- define "snapwatcher.registryMounts" -}}
{{- with .Values.save.registry }}
{{- range $name, $value := dict "registry-credentials" .credentialsSecret "registry-ca" .caConfigMap }}
{{- if $value }}
- name: {{ $name }}
  mountPath: /etc/snapwatcher/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rules of the agent for the watched namespaces. It reads no pod and no Secret. */}}
{{- define "snapwatcher.agentRules" -}}
# The agent finds the archives of its node by the Snapshots.
- apiGroups: [snap.weaversoft.io]
  resources: [snapshots]
  verbs: [get, list, watch]
# The agent reports what its node has done. A ValidatingAdmissionPolicy limits it to the entry of its node.
- apiGroups: [snap.weaversoft.io]
  resources: [snapshots/status]
  verbs: [patch]
# The agent compares the archives on its node with the Checkpoints.
- apiGroups: [snap.weaversoft.io]
  resources: [checkpoints]
  verbs: [list]
{{- end }}

{{/* Binds a role to the account of the agent: list . KIND NAME NAMESPACE. NAMESPACE is empty for a ClusterRole. */}}
{{- define "snapwatcher.agentBinding" -}}
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
  name: {{ include "snapwatcher.agentName" $ }}
  namespace: {{ include "snapwatcher.agentNamespace" $ | quote }}
{{- end }}
