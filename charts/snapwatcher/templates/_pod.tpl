{{/* The parts that the pods of the Deployment and of `helm test` share. */}}

{{/* The image, by digest where one is set. */}}
{{- define "snapwatcher.image" -}}
{{- with .Values.image }}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* Volumes with the files that the settings name, from Secrets and ConfigMaps that exist already. */}}
{{- define "snapwatcher.volumes" -}}
{{- $checkpoint := .Values.snapwatcher.checkpoint }}
{{- if and (include "snapwatcher.servesWebhook" .) .Values.tls.secretName }}
- name: tls
  secret:
    secretName: {{ .Values.tls.secretName | quote }}
    defaultMode: 0440
{{- end }}
{{- if eq $checkpoint.backend "snaphook" }}
{{- with $checkpoint.tokenSecret }}
{{- if .name }}
- name: token
  secret:
    secretName: {{ .name | quote }}
    defaultMode: 0440
    items:
    - key: {{ .key }}
      path: token
{{- end }}
{{- end }}
{{- with $checkpoint.caConfigMap }}
{{- if .name }}
- name: back-api-ca
  configMap:
    name: {{ .name | quote }}
    items:
    - key: {{ .key }}
      path: ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- if eq $checkpoint.backend "kubelet" }}
{{- with $checkpoint.kubelet.caConfigMap }}
{{- if .name }}
- name: kubelet-ca
  configMap:
    name: {{ .name | quote }}
    items:
    - key: {{ .key }}
      path: ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- if include "snapwatcher.saves" . }}
{{- include "snapwatcher.registryVolumes" . }}
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The mounts of these volumes, each at /etc/snapwatcher/NAME. */}}
{{- define "snapwatcher.volumeMounts" -}}
{{- $checkpoint := .Values.snapwatcher.checkpoint }}
{{- $names := list }}
{{- if and (include "snapwatcher.servesWebhook" .) .Values.tls.secretName }}{{ $names = append $names "tls" }}{{ end }}
{{- if and (eq $checkpoint.backend "snaphook") $checkpoint.tokenSecret.name }}{{ $names = append $names "token" }}{{ end }}
{{- if and (eq $checkpoint.backend "snaphook") $checkpoint.caConfigMap.name }}{{ $names = append $names "back-api-ca" }}{{ end }}
{{- if and (eq $checkpoint.backend "kubelet") $checkpoint.kubelet.caConfigMap.name }}{{ $names = append $names "kubelet-ca" }}{{ end }}
{{- range $names }}
- name: {{ . }}
  mountPath: /etc/snapwatcher/{{ . }}
  readOnly: true
{{- end }}
{{- if include "snapwatcher.saves" . }}
{{- include "snapwatcher.registryMounts" . }}
{{- end }}
{{- with .Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The container except its name, arguments, ports, probes and resources. */}}
{{- define "snapwatcher.container" -}}
image: {{ include "snapwatcher.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
{{- include "snapwatcher.env" . | trim | nindent 0 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- with include "snapwatcher.volumeMounts" . | trim }}
volumeMounts:
{{- . | nindent 0 }}
{{- end }}
{{- end }}

{{/* The fields of a pod that decide on which nodes and as which user it runs. */}}
{{- define "snapwatcher.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
{{ toYaml . }}
{{- end }}
{{- end }}
