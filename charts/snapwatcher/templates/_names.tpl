{{/*
Names. A name with a suffix fits the 63 characters that labels and Service names may have: what is too long is cut in
front of the suffix, so that two suffixes never make one name.
*/}}

{{/* The value of app.kubernetes.io/name. */}}
{{- define "snapwatcher.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of everything in the release's namespace: the release, with the chart's name where it lacks it. */}}
{{- define "snapwatcher.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- .Values.fullnameOverride | default $full | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The full name with a suffix: include "snapwatcher.componentName" (list . "kubelet"). */}}
{{- define "snapwatcher.componentName" -}}
{{- $suffix := printf "-%s" (last .) }}
{{- include "snapwatcher.fullname" (first .) | trunc (int (sub 63 (len $suffix))) | trimSuffix "-" }}{{ $suffix }}
{{- end }}

{{/*
The name of what has no namespace, or stands in a foreign one. Two releases of one name in two namespaces must not
claim the same object, so it carries the namespace; but in `snap`, where the documentation installs SnapWatcher, it is
the plain name that the commands in the documentation use.
*/}}
{{- define "snapwatcher.clusterName" -}}
{{- $full := include "snapwatcher.fullname" . }}
{{- if ne .Release.Namespace "snap" }}
{{- $full = printf "%s-%s" $full .Release.Namespace }}
{{- end }}
{{- /* The longest suffix is -watch-test. */}}
{{- if gt (len $full) 52 }}
{{- $full = printf "%s-%s" ($full | trunc 41 | trimSuffix "-") ($full | sha256sum | trunc 10) }}
{{- end }}
{{- $full }}
{{- end }}

{{/* The account that SnapWatcher runs as. */}}
{{- define "snapwatcher.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "snapwatcher.fullname" .) }}
{{- end }}

{{/* The second account, in whose name the kubelets are asked. */}}
{{- define "snapwatcher.kubeletAccountName" -}}
{{- include "snapwatcher.componentName" (list . "kubelet") }}
{{- end }}
