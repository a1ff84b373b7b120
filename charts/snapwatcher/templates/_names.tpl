{{/*
Names. A name with its suffix fits into 63 characters, the limit for labels and Service names. A long name is cut before
the suffix, so that two suffixes never give the same name.
*/}}

{{/* The value of app.kubernetes.io/name. */}}
{{- define "snapwatcher.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the objects in the namespace of the release: the release name, with the chart's name unless it has it. */}}
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
The name of cluster-scoped objects and of objects in other namespaces. It contains the namespace of the release, so that
two releases of one name in two namespaces share no object. In `snap`, the namespace of the documentation, it is the full
name alone, because the commands of the documentation use it.
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

{{/* The service account of SnapWatcher. */}}
{{- define "snapwatcher.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "snapwatcher.fullname" .) }}
{{- end }}

{{/* The second service account, whose tokens SnapWatcher sends to kubelets. */}}
{{- define "snapwatcher.kubeletAccountName" -}}
{{- include "snapwatcher.componentName" (list . "kubelet") }}
{{- end }}
