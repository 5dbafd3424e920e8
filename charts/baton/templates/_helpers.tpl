{{/* The name in labels. */}}
{{- define "baton.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The start of all names; short enough that every suffix fits into 63 characters. */}}
{{- define "baton.fullname" -}}
{{- $name := include "baton.name" . -}}
{{- $full := .Release.Name -}}
{{- if not (contains $name $full) -}}
{{- $full = printf "%s-%s" $full $name -}}
{{- end -}}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The operator's Deployment, roles and bindings. */}}
{{- define "baton.operator" -}}
{{- printf "%s-operator" (include "baton.fullname" .) -}}
{{- end -}}

{{- define "baton.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "baton.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name must be set, since serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "baton.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "baton.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/part-of: baton
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* What selects the operator's pod. Never changes: a Deployment's selector cannot. */}}
{{- define "baton.operator.selector" -}}
app.kubernetes.io/name: {{ include "baton.name" . }}-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Who gets the roles: for the bindings. */}}
{{- define "baton.subjects" -}}
- kind: ServiceAccount
  name: {{ include "baton.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
