{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "sluice.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sluice.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sluice.selector" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "sluice.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sluice.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "sluice.claim" -}}
{{- default (printf "%s-crl" (include "sluice.fullname" .)) .Values.crl.existingClaim -}}
{{- end -}}

{{- /* The setting of each key of secretKeys. */ -}}
{{- define "sluice.secretSettings" -}}
databaseUrl: DATABASE_URL
mqttPassword: MQTT_PASSWORD
adminToken: ADMIN_TOKEN
hooksSecret: HOOKS_SECRET
registryUrl: REGISTRY_URL
publisherProofSecret: PUBLISHER_PROOF_SECRET
publisherProofSecretPrevious: PUBLISHER_PROOF_SECRET_PREVIOUS
consoleOidcClientSecret: CONSOLE_OIDC_CLIENT_SECRET
{{- end -}}

{{- /* What a schema cannot say. Each sentence names the value and what to do. */ -}}
{{- define "sluice.check" -}}
{{- if not .Values.mqtt.host -}}
{{- fail "mqtt.host is empty: set it to the name of the broker's Service." -}}
{{- end -}}
{{- if not .Values.existingSecret -}}
{{- fail "existingSecret is empty: create a Secret with database_url, mqtt_password and admin_token, and name it here." -}}
{{- end -}}
{{- if not .Values.secretKeys.databaseUrl -}}
{{- fail "secretKeys.databaseUrl is empty: Sluice needs Postgres; name the key of existingSecret that contains the URL." -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.mqtt.shareGroup) -}}
{{- fail (printf "replicas is %d and mqtt.shareGroup is empty: each replica would receive every message; set mqtt.shareGroup, for example to sluice." (int .Values.replicas)) -}}
{{- end -}}
{{- if and .Values.mqtt.tls.caSecret (not .Values.mqtt.tls.enabled) -}}
{{- fail "mqtt.tls.caSecret is set and mqtt.tls.enabled is false: set mqtt.tls.enabled to true, or remove mqtt.tls.caSecret." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.enabled is true and ingress.host is empty: set ingress.host to the name of the console." -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.apiFrom) -}}
{{- fail "ingress.enabled is true and networkPolicy.apiFrom is empty, so the ingress controller could not connect: add its namespace to networkPolicy.apiFrom." -}}
{{- end -}}
{{- if and .Values.hooks.enabled (not .Values.secretKeys.hooksSecret) -}}
{{- fail "hooks.enabled is true and secretKeys.hooksSecret is empty: each request of the broker must contain the secret; name its key." -}}
{{- end -}}
{{- if and .Values.crl.enabled (not .Values.ca.existingSecret) -}}
{{- fail "crl.enabled is true and ca.existingSecret is empty: Sluice signs the CRL with the authority's key; set ca.existingSecret." -}}
{{- end -}}
{{- $secrets := values (fromYaml (include "sluice.secretSettings" .)) -}}
{{- range $name, $value := .Values.settings -}}
{{- if has $name $secrets -}}
{{- fail (printf "settings.%s is a secret in clear: put it into the Secret of existingSecret, and name its key in secretKeys." $name) -}}
{{- end -}}
{{- if has $name (list "MQTT_HOST" "MQTT_PORT" "MQTT_USERNAME" "MQTT_CLIENT_ID" "MQTT_SHARE_GROUP" "MQTT_TLS" "MQTT_CA_CERT" "HTTP_BIND" "OPS_BIND" "HOOKS_BIND") -}}
{{- fail (printf "settings.%s is set by the chart: use mqtt.* for the broker; the listeners are fixed." $name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name $secrets -}}
{{- fail (printf "extraEnv has %s, a secret: put it into the Secret of existingSecret, and name its key in secretKeys." .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sluice.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
{{- end -}}
