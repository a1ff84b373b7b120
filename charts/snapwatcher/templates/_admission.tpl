{{/* Which pods the API server sends to admission. The webhooks and the policy share these selectors. */}}

{{/* Selects the watched namespaces by the label with their name, which namespaces have since Kubernetes 1.21. */}}
{{- define "snapwatcher.namespaceSelector" -}}
{{- $expressions := list }}
{{- if not .Values.snapwatcher.operator.allNamespaces }}
{{- $names := include "snapwatcher.namespaces" . | splitList "," }}
{{- $expressions = append $expressions (dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" $names) }}
{{- else if .Values.webhook.excludedNamespaces }}
{{- $expressions = append $expressions (dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" .Values.webhook.excludedNamespaces) }}
{{- end }}
{{- include "snapwatcher.selector" (list .Values.webhook.namespaceSelector dict $expressions) }}
{{- end }}

{{/* Selects the pods whose label snap is "true". */}}
{{- define "snapwatcher.labelledPods" -}}
{{- include "snapwatcher.selector" (list .Values.webhook.objectSelector (dict "snap.weaversoft.io/snap" "true") list) }}
{{- end }}

{{/* Selects the pods that have the label snap with any value, so that validation can warn of `snap: "True"`. */}}
{{- define "snapwatcher.podsWithTheKey" -}}
{{- $exists := dict "key" "snap.weaversoft.io/snap" "operator" "Exists" }}
{{- include "snapwatcher.selector" (list .Values.webhook.objectSelector dict (list $exists)) }}
{{- end }}

{{/* A selector of the values with the labels and expressions of the chart added: list VALUE LABELS EXPRESSIONS. */}}
{{- define "snapwatcher.selector" -}}
{{- $given := index . 0 }}
{{- $labels := merge (dict) (index . 1) ($given.matchLabels | default dict) }}
{{- $expressions := concat (index . 2) ($given.matchExpressions | default list) }}
{{- $selector := dict }}
{{- if $labels }}{{ $_ := set $selector "matchLabels" $labels }}{{ end }}
{{- if $expressions }}{{ $_ := set $selector "matchExpressions" $expressions }}{{ end }}
{{- toYaml $selector }}
{{- end }}

{{/*
Also true for a pod without annotations. With failurePolicy Ignore, an error in the expression would skip the webhook.
*/}}
{{- define "snapwatcher.notAMirrorPod" -}}
name: not-a-mirror-pod
expression: "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)"
{{- end }}

{{/* The fields of a webhook except its name and objectSelector: list . PATH FAILURE-POLICY. */}}
{{- define "snapwatcher.webhook" -}}
{{- $ := first . -}}
clientConfig:
  {{- if $.Values.tls.caBundle }}
  caBundle: {{ $.Values.tls.caBundle | b64enc }}
  {{- else if $.Values.tls.secretName }}
  # The injector that the annotations name writes the caBundle.
  {{- else }}
  # SnapWatcher writes the caBundle and keeps it up to date.
  {{- end }}
  service:
    namespace: {{ $.Release.Namespace | quote }}
    name: {{ include "snapwatcher.fullname" $ }}
    path: {{ index . 1 }}
    port: 443
rules:
- apiGroups: [""]
  apiVersions: [v1]
  operations: [CREATE]
  resources: [pods]
  scope: Namespaced
namespaceSelector:
  {{- include "snapwatcher.namespaceSelector" $ | nindent 2 }}
{{- if semverCompare ">=1.28.0-0" $.Capabilities.KubeVersion.Version }}
matchConditions:
- {{ include "snapwatcher.notAMirrorPod" $ | indent 2 | trim }}
{{- end }}
admissionReviewVersions: [v1]
sideEffects: None
failurePolicy: {{ last . }}
matchPolicy: Equivalent
timeoutSeconds: {{ $.Values.webhook.timeoutSeconds }}
{{- end }}
