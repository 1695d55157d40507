{{- define "longwire.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- end -}}
{{- $name = $name | trunc 50 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "%s is no name for a Service: write one of small letters, digits and -, a letter first, as fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "longwire.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "longwire.labels" -}}
{{ include "longwire.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "longwire.adminSecret" -}}
{{- .Values.admin.secret | default (printf "%s-admin" (include "longwire.fullname" .)) -}}
{{- end -}}

{{- define "longwire.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* The file of longwire, as YAML: that of the values, with an admin interface that the node and Prometheus can reach. */ -}}
{{- define "longwire.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $admin := $config.admin | default dict -}}
{{- $bind := $admin.bind | default "0.0.0.0:9900" -}}
{{- if or (hasPrefix "unix:" $bind) (hasPrefix "127." $bind) (hasPrefix "[::1]" $bind) -}}
{{- fail (printf "config.admin.bind: the probes of the node do not reach %s; write 0.0.0.0:9900, or leave it out" $bind) -}}
{{- end -}}
{{- $_ := set $admin "bind" $bind -}}
{{- $token := printf "/run/longwire/admin/%s" .Values.admin.key -}}
{{- if ne ($admin.token_file | default $token) $token -}}
{{- fail (printf "config.admin.token_file: %s is not the token that the chart mounts and shows to Prometheus; leave it out, and name the Secret as admin.secret and admin.key" $admin.token_file) -}}
{{- end -}}
{{- $_ := set $admin "token_file" $token -}}
{{- if not $admin.hosts -}}
{{- /* Its own address, by which Prometheus calls it, is a name of its own already. */ -}}
{{- $service := printf "%s-admin" (include "longwire.fullname" .) -}}
{{- $_ := set $admin "hosts" (list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace)) -}}
{{- end -}}
{{- $_ := set $config "admin" $admin -}}
{{- $text := toYaml $config -}}
{{- if and (contains "${VALKEY_PASSWORD" $text) (not .Values.valkey.secret) -}}
{{- fail "valkey.secret: config names ${VALKEY_PASSWORD}, and no Secret says what it is" -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{- /* The port of an address such as 0.0.0.0:8080. */ -}}
{{- define "longwire.port" -}}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" -}}
{{- if not $port -}}
{{- fail (printf "%s: the chart needs a port in numbers" .) -}}
{{- else if lt (int $port) 1024 -}}
{{- fail (printf "%s: a port below 1024 needs a right that the container does not have; bind 8080, and let service.ports map it: { \"8080\": %s }" . $port) -}}
{{- end -}}
{{- $port -}}
{{- end -}}

{{- /* The listeners with a port, as YAML: its name, the port, that of the Service, appProtocol, whether it takes PROXY headers. */ -}}
{{- define "longwire.ports" -}}
{{- $mapped := .Values.service.ports -}}
{{- $admin := include "longwire.adminPort" . -}}
{{- $ports := dict -}}
{{- $outsides := dict -}}
{{- range (include "longwire.config" . | fromYaml).listeners -}}
{{- if not (hasPrefix "unix:" .bind) }}
{{- $port := include "longwire.port" .bind }}
{{- $outside := get $mapped $port | default $port | toString }}
{{- if eq $port $admin }}
{{- fail (printf "config.listeners: port %s is that of the admin interface; give one of them another" $port) }}
{{- else if hasKey $ports $port }}
{{- fail (printf "config.listeners: two have port %s, and a pod has each port once; [::] takes IPv4 connections too" $port) }}
{{- else if hasKey $outsides $outside }}
{{- fail (printf "service.ports: two listeners have port %s of the Service" $outside) }}
{{- end }}
{{- $_ := set $ports $port true }}
{{- $_ := set $outsides $outside true }}
{{- $protocol := ternary "wss" "ws" (hasKey . "tls") }}
- name: {{ $protocol }}-{{ $port }}
  port: {{ $port }}
  outside: {{ $outside }}
  appProtocol: kubernetes.io/{{ $protocol }}
  takesHeaders: {{ hasKey . "proxy_protocol" }}
{{- end -}}
{{- end -}}
{{- if not $ports -}}
{{- fail "config.listeners: no listener has a port, and a pod is reached by one only; bind 0.0.0.0:8080" -}}
{{- end -}}
{{- range $port, $_ := $mapped -}}
{{- if not (hasKey $ports $port) -}}
{{- fail (printf "service.ports: no listener has port %s" $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Refuses mounts that lie in one another: kubelet makes no folder in one that cannot be written. */ -}}
{{- define "longwire.checkMounts" -}}
{{- $others := list "/etc/longwire" "/run/longwire/admin" -}}
{{- range .Values.mounts -}}
{{- $path := printf "%s/" (trimSuffix "/" .path) -}}
{{- range $others -}}
{{- if or (hasPrefix $path (printf "%s/" .)) (hasPrefix (printf "%s/" .) $path) -}}
{{- fail (printf "mounts: %s cannot be beside %s, which is mounted too; take a folder such as /run/longwire/chat-tls" (trimSuffix "/" $path) .) -}}
{{- end -}}
{{- end -}}
{{- $others = append $others (trimSuffix "/" .path) -}}
{{- end -}}
{{- end -}}

{{- define "longwire.adminPort" -}}
{{- include "longwire.port" (include "longwire.config" . | fromYaml).admin.bind -}}
{{- end -}}

{{- /* A duration of the file in whole seconds, rounded up. */ -}}
{{- define "longwire.seconds" -}}
{{- $text := toString . -}}
{{- if not (regexMatch "^ *([0-9]+([.][0-9]+)? *(ms|s|m|h|d) *)+$" $text) -}}
{{- fail (printf "the times of the pod follow from %q, which the chart cannot read: write it in ms, s, m, h or d, without a variable" $text) -}}
{{- end -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9]+([.][0-9]+)? *(ms|s|m|h|d)" $text -1 -}}
{{- $sum = addf $sum (mulf (regexFind "[0-9.]+" . | float64) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- ceil $sum | int -}}
{{- end -}}

{{- /* Seconds that a pod sleeps before longwire is told to end: what drain.wait does not cover of termination.lead. */ -}}
{{- define "longwire.preStop" -}}
{{- $drain := .Values.config.drain | default dict -}}
{{- $wait := include "longwire.seconds" ($drain.wait | default "0s") | int -}}
{{- max 0 (sub (int .Values.termination.lead) $wait) -}}
{{- end -}}

{{- /* Seconds from the deletion of a pod until it is killed. timeouts.drain has drain.wait in it. */ -}}
{{- define "longwire.grace" -}}
{{- $timeouts := .Values.config.timeouts | default dict -}}
{{- $drain := include "longwire.seconds" ($timeouts.drain | default "30s") | int -}}
{{- add (include "longwire.preStop" . | int) $drain (int .Values.termination.margin) -}}
{{- end -}}

{{- /* Seconds from a pod's readiness until it counts in a rolling update: those in which the sessions of an old pod leave. */ -}}
{{- define "longwire.minReady" -}}
{{- if kindIs "string" .Values.minReadySeconds -}}
{{- $drain := .Values.config.drain | default dict -}}
{{- $wait := include "longwire.seconds" ($drain.wait | default "0s") | int -}}
{{- $spread := include "longwire.seconds" ($drain.spread | default "15s") | int -}}
{{- add (include "longwire.preStop" . | int) $wait $spread -}}
{{- else -}}
{{- int .Values.minReadySeconds -}}
{{- end -}}
{{- end -}}

{{- /* The alerts, with the marks of sessions above what the autoscaler aims at. */ -}}
{{- define "longwire.alerts" -}}
{{- $alerts := .Files.Get "alerts.yml" | trimSuffix "\n" -}}
{{- if .Values.autoscaling.enabled -}}
{{- $target := int .Values.autoscaling.sessionsPerPod -}}
{{- $many := div (mul 3 $target) 2 -}}
{{- $tooMany := mul 3 $target -}}
{{- $alerts = $alerts | replace "10,000" "10000" | replace "50,000" "50000" -}}
{{- $alerts = $alerts | replace " 10000" (printf " %d" $many) | replace " 50000" (printf " %d" $tooMany) -}}
{{- end -}}
{{- $alerts -}}
{{- end -}}

{{- /* What a pod has to be started anew for: with --watch the keys that a reload leaves as they are, else all. */ -}}
{{- define "longwire.checksum" -}}
{{- $config := include "longwire.config" . | fromYaml -}}
{{- if .Values.watch -}}
{{- $log := $config.log | default dict -}}
{{- $kept := dict "admin.bind" $config.admin.bind "log.format" $log.format "log.level" $log.level "log.file" $log.file -}}
{{- range list "workers" "coalesce" "handover" "tracing" -}}
{{- $_ := set $kept . (get $config .) -}}
{{- end -}}
checksum/needs-restart: {{ toJson $kept | sha256sum }}
{{- else -}}
checksum/config: {{ list $config .Values.files | toJson | sha256sum }}
{{- end -}}
{{- end -}}
