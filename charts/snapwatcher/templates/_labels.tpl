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

{{/* Labels of the objects of `helm test`. The selector of the Deployment must not match them. */}}
{{- define "snapwatcher.testLabels" -}}
{{- $own := dict "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/component" "test" }}
{{- toYaml (merge $own (.Values.commonLabels | default dict)) }}
{{- end }}

{{/* Labels that select the pods of the Deployment. They never change, because the selector of a Deployment is immutable. */}}
{{- define "snapwatcher.selectorLabels" -}}
app.kubernetes.io/name: {{ include "snapwatcher.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
