{{- define "amplify-operator.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{- /* The name of the objects. A Service's name has no dots and begins with a letter; a release's may be otherwise. */ -}}
{{- define "amplify-operator.fullname" -}}
{{- $name := include "amplify-operator.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full = .Values.fullnameOverride | default $full | replace "." "-" -}}
{{- regexReplaceAll "^([0-9])" $full "release-${1}" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "amplify-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "amplify-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- /* Our own label of the release's objects and pods: Argo CD may replace app.kubernetes.io/instance. */ -}}
{{- define "amplify-operator.releaseLabel" -}}
amplify-operator.dev/release: {{ .Release.Name | quote }}
{{- end -}}

{{- define "amplify-operator.ownLabels" -}}
{{ include "amplify-operator.selectorLabels" . }}
{{ include "amplify-operator.releaseLabel" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* The labels of an object: the chart's own, which nothing replaces, and the common ones. */ -}}
{{- define "amplify-operator.labels" -}}
{{- $own := include "amplify-operator.ownLabels" . -}}
{{ $own }}
{{- range $key, $value := .Values.commonLabels }}
{{- if not (hasKey ($own | fromYaml) $key) }}
{{ dict $key $value | toYaml }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The same with "labels", which replace common ones, of "root". */ -}}
{{- define "amplify-operator.labelsWith" -}}
{{- merge (include "amplify-operator.ownLabels" .root | fromYaml) .labels .root.Values.commonLabels | toYaml -}}
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
  name: {{ include "amplify-operator.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
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

{{- /* "true" if the cluster's roles view, edit and admin shall include the kinds. Unset, only with accounts: the
operator's own role is one AWS account for everybody, without a boundary between namespaces. */ -}}
{{- define "amplify-operator.aggregates" -}}
{{- $set := .Values.rbac.aggregate -}}
{{- if kindIs "invalid" $set -}}
{{- $set = ne (include "amplify-operator.accountsConfigMap" .) "" -}}
{{- end -}}
{{- if and .Values.rbac.create $set -}}
true
{{- end -}}
{{- end -}}

{{- /* The pod's security context. Where the API server is OpenShift's, without the ids of the defaults: its
restricted-v2 refuses ids that are not of the namespace's own range, and assigns some. */ -}}
{{- define "amplify-operator.podSecurityContext" -}}
{{- $context := dict -}}
{{- range $field, $value := .Values.podSecurityContext -}}
{{- $id := has $field (list "runAsUser" "runAsGroup" "fsGroup") -}}
{{- $assigned := and $id (eq (toString $value) "65532") ($.Capabilities.APIVersions.Has "security.openshift.io/v1") -}}
{{- if not (or $assigned (kindIs "invalid" $value)) -}}
{{- $_ := set $context $field $value -}}
{{- end -}}
{{- end -}}
{{- if $context -}}
{{- toYaml $context -}}
{{- end -}}
{{- end -}}

{{- /* Fields of the values without those that are null. */ -}}
{{- define "amplify-operator.given" -}}
{{- $given := dict -}}
{{- range $field, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $given $field $value -}}
{{- end -}}
{{- end -}}
{{- if $given -}}
{{- toYaml $given -}}
{{- end -}}
{{- end -}}

{{- /* How a monitor collects. */ -}}
{{- define "amplify-operator.monitorSettings" -}}
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
# All addresses of IPv6 and IPv4: IPv6-only clusters give a pod no others. On a node without IPv6 the program takes
# 0.0.0.0 instead.
- name: AMPLIFY_OPERATOR_LISTEN
  value: "[::]:8080"
# The namespace of the Lease.
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
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
