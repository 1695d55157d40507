"""Renders longwire's chart, and checks what comes out. `deploy/helm/render` makes the environment that this needs."""

import difflib
import json
import re
import sys
from copy import deepcopy
from pathlib import Path

import file_keys
import helm_python as helm
import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE / "longwire"
KEPT = HERE.parent / "kubernetes"
RELEASE = NAMESPACE = "longwire"

# The oldest version that the chart takes, one in which nothing of it is beta any more, and the newest that is known.
VERSIONS = ["1.30", "1.34", "1.37"]

# Kinds of the Prometheus operator, which the API itself does not know. tests/it/kubernetes.rs reads them.
OF_AN_OPERATOR = {"ServiceMonitor", "PrometheusRule"}

# Words in the refusal of values that are wrong: what is set in those of ci/minimal.yaml, by path.
REFUSED = [
    ({"config.upstreams": {}}, "upstreams"),
    ({"replica": 3}, "replica"),
    ({"config.routse": []}, "routse"),
    ({"config.drain": {"wiat": "5s"}}, "wiat"),
    ({"config.listeners": [{"bind": "0.0.0.0:8080", "tsl": {}}]}, "tsl"),
    ({"config.listeners": [{"bind": "0.0.0.0:8080", "tls": None}]}, "tls"),
    ({"config.routes": [{"upstream": "chat", "hold": {"fro": "10s"}}]}, "fro"),
    ({"config.listeners": [{"bind": "0.0.0.0:80"}]}, "a port below 1024 needs a right"),
    ({"config.listeners": [{"bind": "0.0.0.0:${PORT}"}]}, "needs a port in numbers"),
    ({"config.admin": {"bind": "127.0.0.1:9900"}}, "the probes of the node do not reach 127.0.0.1:9900"),
    ({"config.admin": {"bind": "unix:admin.sock"}}, "the probes of the node do not reach unix:admin.sock"),
    ({"config.timeouts": {"drain": "${DRAIN}"}}, "drain"),
    ({"config.handover": "longwire.sock"}, "handover"),
    ({"config.fleet": {"valkey": "redis://:${VALKEY_PASSWORD}@valkey"}}, "valkey.secret"),
    ({"termination.margin": 5}, "margin"),
    ({"mounts": [{"path": "/run/longwire/x"}]}, "mounts"),
    ({"mounts": [{"secret": "x", "path": "/etc/longwire"}]}, "mounts"),
    ({"mounts": [{"secret": "x", "path": "/etc/longwire/tls"}]}, "/etc/longwire/tls cannot be beside /etc/longwire"),
    ({"mounts": [{"secret": "x", "path": "/run/longwire/"}]}, "/run/longwire cannot be beside /run/longwire/admin"),
    ({"mounts": [{"secret": "x", "path": "/x"}, {"secret": "y", "path": "/x"}]}, "/x cannot be beside /x"),
    ({"mounts": [{"secret": "Chat_TLS", "path": "/run/longwire/x"}]}, "mounts"),
    ({"admin.secret": "Edge_1"}, "admin"),
    ({"files": {"proxy.yaml": "x"}}, "proxy.yaml"),
    ({"files": {"..data": "x"}}, "..data"),
    ({"podLabels": {"app.kubernetes.io/name": "x"}}, "app.kubernetes.io/name"),
    ({"fullnameOverride": "Edge_1"}, "Edge_1 is no name for a Service"),
    ({"fullnameOverride": "1-edge"}, "1-edge is no name for a Service"),
    ({"config.listeners": [{"bind": "0.0.0.0:8080"}, {"bind": "[::]:8080"}]}, "two have port 8080"),
    ({"config.listeners": [{"bind": "0.0.0.0:9900"}]}, "port 9900 is that of the admin interface"),
    ({"config.listeners": [{"bind": "unix:longwire.sock"}]}, "no listener has a port"),
    ({"config.admin": {"token_file": "/run/other/token"}}, "/run/other/token is not the token"),
    ({"service.ports": {"8443": 443}}, "no listener has port 8443"),
    (
        {
            "config.listeners": [{"bind": "0.0.0.0:8080"}, {"bind": "0.0.0.0:8081"}],
            "service.ports": {"8081": 8080},
        },
        "two listeners have port 8080 of the Service",
    ),
    ({"service.externalTrafficPolicy": "Local"}, "service.externalTrafficPolicy needs"),
    ({"service.loadBalancerSourceRanges": ["192.0.2.0/24"]}, "service.loadBalancerSourceRanges need"),
    ({"service.loadBalancerClass": "example.com/x"}, "service.loadBalancerSourceRanges need"),
    ({"autoscaling": {"enabled": True, "min": 3, "max": 2}}, "autoscaling.max is less"),
    ({"service.nlb": {"enabled": True}}, "service.nlb needs service.type: LoadBalancer"),
    (
        {"service": {"type": "LoadBalancer", "nlb": {"enabled": True}}},
        "the listener on port 8080 needs `proxy_protocol`",
    ),
    ({"strategy": {"maxSurge": 0, "maxUnavailable": "0%"}}, "strategy"),
    ({"strategy": {"maxSurge": "1"}}, "strategy"),
    ({"minReadySeconds": "1m"}, "minReadySeconds"),
    ({"config.drain": {"spread": "${SPREAD}"}}, "spread"),
    (
        {"networkPolicy.enabled": True, "monitoring.serviceMonitor": {"enabled": True}},
        "so Prometheus (monitoring.serviceMonitor) gets no answer",
    ),
    (
        {
            "networkPolicy.enabled": True,
            "service": {"type": "LoadBalancer", "nlb": {"enabled": True, "proxyProtocol": False}},
        },
        "so the health check of the balancer (service.nlb) fails",
    ),
    (
        {
            "config.listeners": [{"bind": "0.0.0.0:8080", "proxy_protocol": {"from": ["10.0.0.0/8"]}}],
            "service": {"type": "LoadBalancer", "nlb": {"enabled": True, "proxyProtocol": False}},
        },
        "the listener on port 8080 must not have `proxy_protocol`",
    ),
]

# drain.wait, timeouts.drain, termination.lead: seconds of preStop, and of terminationGracePeriodSeconds.
TIMES = [
    (None, None, 10, 10, 50),
    ("0s", "30s", 0, 0, 40),
    ("4s", "30s", 10, 6, 46),
    ("1500ms", "1m 30s", 10, 8, 108),
    ("1h", "1d", 10, 0, 86410),
    ("2.5s", "1h30m", 10, 7, 5417),
]

# Seconds of minReadySeconds.
PACES = [
    ({}, 25),
    ({"config.drain": {"wait": "20s", "spread": "30s"}}, 50),
    ({"config.drain": {"spread": "15m"}, "termination.lead": 0}, 900),
    ({"minReadySeconds": 0}, 0),
    ({"minReadySeconds": 7}, 7),
]


class Checks:
    """Counts what holds, and says what does not."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, what: str, wrong: str | None):
        if wrong:
            self.failed += 1
            print(f"FAILED  {what}: {wrong}")
        else:
            self.passed += 1
            print(f"ok  {what}")


def main() -> int:
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit("usage: deploy/helm/render [--write]")
    checks = Checks()
    if sys.argv[1:] == ["--write"]:
        file_keys.write(CHART / "values.schema.json")
    names = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))
    with helm.Chart.load(CHART) as chart:
        for name in names:
            values = yaml.safe_load((CHART / f"ci/{name}.yaml").read_text())
            checks.check(f"{name}: helm lint", lint(values))
            text = manifest(chart, name, values)
            kept = KEPT / f"{name}.yaml"
            if sys.argv[1:] == ["--write"]:
                kept.write_text(text)
            checks.check(f"{name}: deploy/kubernetes/{name}.yaml is what the chart renders", difference(kept, text))
            for version in VERSIONS:
                checks.check(f"{name}: the schemas of Kubernetes {version}", against_schemas(text, version))
        others = sorted(path.stem for path in KEPT.glob("*.yaml") if path.stem not in names)
        checks.check("deploy/kubernetes has nothing else", ", ".join(others))
        minimal = yaml.safe_load((CHART / "ci/minimal.yaml").read_text())
        for changes, words in REFUSED:
            checks.check(f"refused: {json.dumps(changes)}", not_refused(chart, changed(minimal, changes), words))
        for times in TIMES:
            checks.check(f"times of a pod: {times}", wrong_times(chart, minimal, *times))
        for changes, seconds in PACES:
            checks.check(
                f"pace of an update: {json.dumps(changes)}", wrong_pace(chart, changed(minimal, changes), seconds)
            )
        checks.check("what starts new pods", wrong_checksums(chart, minimal))
        checks.check("the health check of a balancer", wrong_health_checks(chart, minimal))
        checks.check("who has a balancer of AWS is told of the readiness gate", wrong_notes(chart, minimal))
        checks.check("a cluster with IPv6 only", wrong_ipv6(chart, minimal))
        checks.check("a value may be a variable", wrong_variables(chart, minimal))
        checks.check("the alerts of many sessions", wrong_alerts(chart, minimal))
        checks.check("a number of seven digits stays as it is", wrong_number(chart, minimal))
    checks.check("values.schema.json has the keys of values.yaml", different_keys())
    print(f"\n{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


def lint(values: dict) -> str | None:
    """What helm lint says, in its strict form, apart from notes."""
    found = [
        m for version in VERSIONS for m in helm.lint(CHART, values, strict=True, kube_version=f"v{version}")["messages"]
    ]
    return "; ".join(f"{m['path']}: {m['error']}" for m in found if m["severity"] > 1)


def render(chart: helm.Chart, values: dict) -> dict[str, str]:
    chart.validate_schema(values)
    rendered = chart.render(values, name=RELEASE, namespace=NAMESPACE)
    return {path: text for path, text in sorted(rendered.items()) if path.endswith(".yaml") and text.strip()}


def manifest(chart: helm.Chart, name: str, values: dict) -> str:
    """All objects in one file."""
    head = f"# Written by deploy/helm/render from deploy/helm/longwire/ci/{name}.yaml: change that, not this.\n"
    parts = [f"---\n# {path}\n{text.strip()}\n" for path, text in render(chart, values).items()]
    return re.sub(r"[ \t]+\n", "\n", head + "".join(parts))


def difference(kept: Path, text: str) -> str | None:
    before = kept.read_text() if kept.exists() else ""
    lines = difflib.unified_diff(before.splitlines(), text.splitlines(), str(kept), "rendered", lineterm="")
    found = "\n".join(lines)
    return f"deploy/helm/render --write writes it\n{found}" if found else None


def against_schemas(text: str, version: str) -> str | None:
    wrong = []
    known = 0
    for item in yaml.safe_load_all(text):
        if item["kind"] in OF_AN_OPERATOR:
            continue
        known += 1
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            wrong.append(f"{item['kind']} {item['metadata']['name']}: {error.message}")
    return "; ".join(wrong) if known else "no object"


def changed(values: dict, changes: dict) -> dict:
    """Values with others at these paths."""
    values = deepcopy(values)
    for path, value in changes.items():
        *sections, last = path.split(".")
        section = values
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return values


def not_refused(chart: helm.Chart, values: dict, words: str) -> str | None:
    try:
        render(chart, values)
    except helm.HelmError as error:
        return None if words in str(error) else f"refused by other words: {error}"
    return "taken"


def pod(chart: helm.Chart, values: dict) -> dict:
    """The template of the pods."""
    text = render(chart, values)["longwire/templates/deployment.yaml"]
    return yaml.safe_load(text)["spec"]["template"]


def wrong_times(chart, minimal, wait, drain, lead, pre_stop, grace) -> str | None:
    changes = {"termination.lead": lead}
    if wait:
        changes |= {"config.drain": {"wait": wait}}
    if drain:
        changes |= {"config.timeouts": {"drain": drain}}
    spec = pod(chart, changed(minimal, changes))["spec"]
    container = spec["containers"][0]
    found = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    found = (found, spec["terminationGracePeriodSeconds"])
    return None if found == (pre_stop, grace) else f"{found}"


def wrong_pace(chart: helm.Chart, values: dict, seconds: int) -> str | None:
    spec = yaml.safe_load(render(chart, values)["longwire/templates/deployment.yaml"])["spec"]
    # The API refuses an update that is given up before its pods count.
    found, deadline = spec.get("minReadySeconds"), spec.get("progressDeadlineSeconds", 600)
    return None if found == seconds < deadline else f"{found}, {deadline}"


def behind_a_balancer(minimal: dict, proxy_protocol: bool) -> dict:
    listener = {"bind": "0.0.0.0:8080"} | ({"proxy_protocol": {"from": ["10.0.0.0/8"]}} if proxy_protocol else {})
    nlb = {"enabled": True, "proxyProtocol": proxy_protocol}
    return changed(minimal, {"config.listeners": [listener], "service": {"type": "LoadBalancer", "nlb": nlb}})


def wrong_health_checks(chart, minimal) -> str | None:
    wrong = []
    for proxy_protocol, expected in [(True, ("tcp", "traffic-port", None)), (False, ("http", "9900", "/healthz"))]:
        text = render(chart, behind_a_balancer(minimal, proxy_protocol))["longwire/templates/service.yaml"]
        annotations = next(yaml.safe_load_all(text))["metadata"]["annotations"]
        prefix = "service.beta.kubernetes.io/aws-load-balancer-healthcheck"
        found = tuple(annotations.get(f"{prefix}-{key}") for key in ("protocol", "port", "path"))
        if found != expected:
            wrong.append(f"proxyProtocol {proxy_protocol}: {found}")
    return "; ".join(wrong)


def wrong_notes(chart, minimal) -> str | None:
    """Pods that are ready before the balancer has them leave it with none."""
    label = "kubectl label namespace longwire elbv2.k8s.aws/pod-readiness-gate-inject=enabled"
    wrong = []
    for values, expected in [(minimal, False), (behind_a_balancer(minimal, True), True)]:
        notes = chart.render(values, name=RELEASE, namespace=NAMESPACE)["longwire/templates/NOTES.txt"]
        if (label in notes) != expected:
            wrong.append(notes)
    if label not in (HERE.parents[1] / "docs/kubernetes.md").read_text():
        wrong.append("docs/kubernetes.md does not say it")
    return "; ".join(wrong)


def wrong_alerts(chart, minimal) -> str | None:
    """Without an autoscaler they are those of deploy/prometheus; with one, pods that have what it aims at wake nobody."""
    ours = yaml.safe_load((CHART / "alerts.yml").read_text())
    wrong = []
    for target, marks in [
        (None, [10000, 50000]),
        (400, [600, 1200]),
        (20000, [30000, 60000]),
        (100000, [150000, 300000]),
    ]:
        changes = {"monitoring.prometheusRule": {"enabled": True}}
        if target:
            changes["autoscaling"] = {"enabled": True, "sessionsPerPod": target}
        rule = yaml.safe_load(render(chart, changed(minimal, changes))["longwire/templates/monitoring.yaml"])
        rules = rule["spec"]["groups"][0]["rules"]
        active = "sum by (instance) (websocket_connections_active) > "
        found = [int(alert["expr"].removeprefix(active)) for alert in rules if alert["expr"].startswith(active)]
        others = [alert["alert"] for alert in rules if not alert["expr"].startswith(active)]
        expected = [alert["alert"] for alert in ours["groups"][0]["rules"] if not alert["expr"].startswith(active)]
        if found != marks or others != expected or (target is None and rule["spec"] != ours):
            wrong.append(f"{target}: {found}")
    return "; ".join(wrong)


def wrong_ipv6(chart, minimal) -> str | None:
    changes = {"config.listeners": [{"bind": "[::]:8080"}], "config.admin": {"bind": "[::]:9900"}}
    container = pod(chart, changed(minimal, changes))["spec"]["containers"][0]
    found = {port["name"]: port["containerPort"] for port in container["ports"]}
    return None if found == {"ws-8080": 8080, "admin": 9900} else f"{found}"


def wrong_variables(chart, minimal) -> str | None:
    """The file may have a variable where another value is a number or a word."""
    values = {
        "config.limits": {"sessions": "${MOST}"},
        "config.via_header": "${VIA}",
        "config.workers": "${WORKERS:-2}",
    }
    text = render(chart, changed(minimal, values))["longwire/templates/config.yaml"]
    file = yaml.safe_load(yaml.safe_load(text)["data"]["proxy.yaml"])
    found = {
        "config.limits": file["limits"],
        "config.via_header": file["via_header"],
        "config.workers": file["workers"],
    }
    return None if found == values else text


def wrong_checksums(chart, minimal) -> str | None:
    routes = {"config.routes": [{"upstream": "chat", "path": "/other"}]}
    cases = [
        ("a route with --watch", True, routes, False),
        ("a key that needs a restart", True, {"config.workers": 3}, True),
        ("another key of the log", True, {"config.log": {"sample_requests": 2}}, False),
        ("the level of the log", True, {"config.log": {"level": "warn"}}, True),
        ("a list with --watch", True, {"files": {"list.yaml": "[]"}}, False),
        ("a route without --watch", False, routes, True),
        ("a list without --watch", False, {"files": {"list.yaml": "[]"}}, True),
    ]
    wrong = []
    for what, watch, changes, starts_new in cases:
        before = changed(minimal, {"watch": watch})
        if (pod(chart, before) != pod(chart, changed(before, changes))) != starts_new:
            wrong.append(what)
    return ", ".join(wrong)


def wrong_number(chart, minimal) -> str | None:
    text = render(chart, changed(minimal, {"config.limits": {"sessions": 1000000}}))["longwire/templates/config.yaml"]
    return None if "sessions: 1000000\n" in text else text


def different_keys() -> str | None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    return ", ".join(sorted(different(values, schema, schema["definitions"], "")))


def different(values: dict, schema: dict, definitions: dict, at: str):
    """The keys that stand in only one of both, by path. `global` is Helm's own."""
    schema = definitions[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    # Maps whose keys are the user's.
    if schema.get("additionalProperties") is not False:
        return
    known = set(schema["properties"]) - {"global"}
    yield from (f"{at}{name}" for name in known ^ set(values))
    for name in known & set(values):
        if isinstance(values[name], dict):
            yield from different(values[name], schema["properties"][name], definitions, f"{at}{name}.")


sys.exit(main())
