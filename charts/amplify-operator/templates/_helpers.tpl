{{- define "amplify-operator.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "amplify-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "amplify-operator.labels" -}}
{{ include "amplify-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "amplify-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "amplify-operator.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "amplify-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "amplify-operator.env" -}}
{{- with .Values.aws.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- range $setting, $value := .Values.settings }}
{{- if eq $setting "watchNamespaces" }}
{{- with $value }}
- name: AMPLIFY_OPERATOR_WATCH_NAMESPACE
  value: {{ join "," . | quote }}
{{- end }}
{{- else }}
- name: AMPLIFY_OPERATOR_{{ $setting | snakecase | upper }}
  {{- /* Through JSON, because large numbers would print as 1e+06. */}}
  value: {{ $value | toJson | trimAll "\"" | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
