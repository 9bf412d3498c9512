{{- /* Of 57 characters at most, so that there is room for "-admin". */}}
{{- define "edgeproxy.name" -}}
{{- $name := printf "%s-%s" .Release.Name .Chart.Name }}
{{- if contains .Chart.Name .Release.Name }}{{ $name = .Release.Name }}{{ end }}
{{- $name | trunc 57 | trimSuffix "-" }}
{{- end }}

{{- define "edgeproxy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "edgeproxy.labels" -}}
{{ include "edgeproxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "edgeproxy.config" -}}
admin = "0.0.0.0:5001"
{{ .Values.config | trim }}
{{- end }}
