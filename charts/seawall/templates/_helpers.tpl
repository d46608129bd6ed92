{{/* Names are fixed: a cluster has one of these. */}}

{{- define "seawall.labels" -}}
app.kubernetes.io/name: seawall
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: seawall
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "seawall.operator.selector" -}}
app.kubernetes.io/name: seawall
app.kubernetes.io/component: operator
{{- end }}

{{- define "seawall.gateway.selector" -}}
app.kubernetes.io/name: seawall
app.kubernetes.io/component: gateway
{{- end }}

{{- define "seawall.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- define "seawall.host" -}}
seawall-operator.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "seawall.url" -}}
https://{{ include "seawall.host" . }}:8443
{{- end }}

{{/* Pod Security's `restricted`, with a root that cannot be written. */}}
{{- define "seawall.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "seawall.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where pods may run: (dict "values" .Values.operator "pullSecrets" …). */}}
{{- define "seawall.placement" -}}
{{- with .pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Over zones, then nodes: (dict "selector" "…" "when" …). */}}
{{- define "seawall.spread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: {{ $.when }}
  labelSelector:
    matchLabels: {{- $.selector | nindent 6 }}
{{- end }}
{{- end }}

{{/* What a client of the operator proves itself by, and trusts it by. */}}
{{- define "seawall.clientVolume" -}}
- name: seawall-operator
  projected:
    sources:
      - serviceAccountToken: {audience: seawall-operator, expirationSeconds: 3600, path: token}
{{- if . }}
      - configMap: {name: seawall-ca, optional: true, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}
