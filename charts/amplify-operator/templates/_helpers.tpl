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

{{- /* The names of the kinds, as in the definitions: "plural" or "kind", each with a suffix. */ -}}
{{- define "amplify-operator.kinds" -}}
{{- $names := list -}}
{{- range $path, $_ := .root.Files.Glob "files/crds/*.yaml" -}}
{{- $definition := $.root.Files.Get $path | fromYaml -}}
{{- $names = append $names (print (get $definition.spec.names $.name) $.suffix) -}}
{{- end -}}
{{- join ", " $names -}}
{{- end -}}

{{- define "amplify-operator.plurals" -}}
{{- include "amplify-operator.kinds" (dict "root" . "name" "plural" "suffix" "") -}}
{{- end -}}

{{- /* The rights of the program: a test compares them with the API server's audit log. */ -}}
{{- define "amplify-operator.rules" -}}
- apiGroups: [amplify-operator.dev]
  resources: [{{ include "amplify-operator.plurals" . }}]
  verbs: [get, list, watch, patch]
- apiGroups: [amplify-operator.dev]
  resources: [{{ include "amplify-operator.kinds" (dict "root" . "name" "plural" "suffix" "/status") }}]
  verbs: [patch]
# For transformSchemaFrom of a BackendApi.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "amplify-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "amplify-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* "true" with a list, even an empty one: then no namespace has an account. */ -}}
{{- define "amplify-operator.hasAccountsList" -}}
{{- if kindIs "slice" .Values.accounts -}}
true
{{- end -}}
{{- end -}}

{{- /* The name of the ConfigMap with the accounts file; empty if there is none. */ -}}
{{- define "amplify-operator.accountsConfigMap" -}}
{{- if include "amplify-operator.hasAccountsList" . -}}
{{- if .Values.existingAccountsConfigMap -}}
{{- fail "accounts and existingAccountsConfigMap: give one of the two" -}}
{{- end -}}
{{ include "amplify-operator.fullname" . }}-accounts
{{- else -}}
{{ .Values.existingAccountsConfigMap }}
{{- end -}}
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
{{- if gt (int .Values.replicas) 1 }}
# The namespace of the Lease.
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end }}
{{- with .Values.aws.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- range $setting, $value := .Values.settings }}
{{- if kindIs "slice" $value }}
{{- with $value }}
- name: AMPLIFY_OPERATOR_{{ $setting | trimSuffix "s" | snakecase | upper }}
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
