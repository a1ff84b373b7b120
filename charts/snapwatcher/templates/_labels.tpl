{{/* Labels of every object. */}}
{{- define "snapwatcher.labels" -}}
{{ include "snapwatcher.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: snap
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of what `helm test` makes; never those by which the pods of the Deployment are found. */}}
{{- define "snapwatcher.testLabels" -}}
{{- $own := dict "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/component" "test" }}
{{- toYaml (merge $own (.Values.commonLabels | default dict)) }}
{{- end }}

{{/* Labels by which the pods are found. They never change: a Deployment's selector can't be changed. */}}
{{- define "snapwatcher.selectorLabels" -}}
app.kubernetes.io/name: {{ include "snapwatcher.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
