"""Checks the chart of compose/helm: lint, twelve sets of values against the schemas of three versions of Kubernetes, wrong values.

No cluster is started. Helm is the library that the command is made of; the schemas are those that Kubernetes publishes.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python
import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "compose/helm/sluice"
VALUES = ROOT / "tests/helm/values"
VERSIONS = ["1.27", "1.31", "1.37"]
RULES = ROOT / "compose/prometheus/rules/sluice.yml"

NAMES = {"type": "object", "additionalProperties": {"type": "string"}}
# The operator's resources are not in the schemas of Kubernetes: their shape, as far as the chart uses it.
OPERATOR = {
    "ServiceMonitor": {
        "type": "object",
        "additionalProperties": False,
        "required": ["selector", "endpoints"],
        "properties": {
            "jobLabel": {"type": "string"},
            "selector": {"type": "object", "additionalProperties": False, "properties": {"matchLabels": NAMES}},
            "endpoints": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["port"],
                    "properties": {name: {"type": "string"} for name in ["port", "path", "interval"]},
                },
            },
        },
    },
    "PrometheusRule": {
        "type": "object",
        "additionalProperties": False,
        "required": ["groups"],
        "properties": {"groups": {"type": "array", "minItems": 1}},
    },
}

# Values that are wrong, and the words of the refusal.
WRONG = [
    ("replicas without a share group", {"replicas": 3}, "set mqtt.shareGroup"),
    ("an unknown value", {"replica": 3}, "replica"),
    ("an unknown value below another", {"mqtt": {"hots": "x"}}, "hots"),
    ("a value of another type", {"replicas": "three"}, "replicas"),
    ("no broker", {"mqtt": {"host": ""}}, "mqtt.host is empty"),
    ("no Secret", {"existingSecret": ""}, "existingSecret is empty"),
    ("no database", {"secretKeys": {"databaseUrl": ""}}, "secretKeys.databaseUrl is empty"),
    ("a secret in the settings", {"settings": {"DATABASE_URL": "postgres://x"}}, "settings.DATABASE_URL is a secret in clear"),
    ("a secret in the environment", {"extraEnv": [{"name": "ADMIN_TOKEN", "value": "x"}]}, "extraEnv has ADMIN_TOKEN, a secret"),
    ("a setting of the chart", {"settings": {"MQTT_CLIENT_ID": "x"}}, "settings.MQTT_CLIENT_ID is set by the chart"),
    ("a setting in lower case", {"settings": {"log_level": "debug"}}, "log_level"),
    ("an ingress that nobody may use", {"ingress": {"enabled": True, "host": "a.example"}}, "networkPolicy.apiFrom is empty"),
    ("an ingress without a name", {"ingress": {"enabled": True}}, "ingress.host is empty"),
    ("hooks without their secret", {"hooks": {"enabled": True}}, "secretKeys.hooksSecret is empty"),
    ("a CRL without an authority", {"crl": {"enabled": True}}, "ca.existingSecret is empty"),
    ("an authority without TLS", {"mqtt": {"host": "x", "tls": {"caSecret": "x"}}}, "mqtt.tls.enabled is false"),
]

failures = []


def claim(holds, what):
    """Notes a claim that does not hold."""
    if not holds:
        failures.append(what)
        print(f"FAILED: {what}")


def documents(values, **options):
    """The objects that the chart makes of these values."""
    rendered = helm_python.Chart.load(CHART).render(values, name="sluice", namespace="iot", **options)
    for path, text in sorted(rendered.items()):
        if not path.endswith(".txt"):
            yield from (document for document in yaml.safe_load_all(text) if document)


def pods(objects):
    """The specs of the pods of these objects."""
    for found in objects:
        if found["kind"] == "Pod":
            yield found["spec"]
        elif found["kind"] == "StatefulSet":
            yield found["spec"]["template"]["spec"]


def secret_settings():
    """The settings that are secrets, as the reference of the settings says."""
    page = (ROOT / "docs/reference/settings.md").read_text()
    return set(re.findall(r"Or its file: `([A-Z_]+)_FILE`", page))


def check_objects(name, objects):
    """Each object against the schemas, and the promises of the chart."""
    for found in objects:
        kind = found["kind"]
        if kind in OPERATOR:
            jsonschema.validate(found["spec"], OPERATOR[kind])
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(found, version, strict=True)
            except Exception as error:  # noqa: BLE001: any refusal is a finding
                claim(False, f"{name}: {kind} is not valid for Kubernetes {version}: {error}")
    secrets = secret_settings()
    for spec in pods(objects):
        containers = spec["containers"] + spec.get("initContainers", [])
        claim(spec["securityContext"]["runAsNonRoot"] is True, f"{name}: a pod may run as root")
        for container in containers:
            in_clear = [variable["name"] for variable in container.get("env", []) if variable["name"] in secrets]
            claim(not in_clear, f"{name}: secrets in the environment: {in_clear}")
            if container["name"] in ["sluice", "copy-authority", "health"]:
                security = container["securityContext"]
                claim(security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}, f"{name}: {container['name']}")
    claim(not any(found["kind"] == "Secret" for found in objects), f"{name}: the chart makes a Secret")


def check_sets():
    """Lint and render each set of values; returns the objects by the name of the set."""
    sets = {}
    for path in sorted(VALUES.glob("*.yaml")):
        values = yaml.safe_load(path.read_text())
        report = helm_python.lint(CHART, values, strict=True)
        # Severity 1 is advice, such as an icon.
        found = [message for message in report["messages"] if message["severity"] > 1]
        claim(not found and not report["errors"], f"{path.name}: lint: {found} {report['errors']}")
        sets[path.stem] = list(documents(values))
        check_objects(path.name, sets[path.stem])
    claim(len(sets) == 12, f"there are {len(sets)} sets of values")
    return sets


def check_special(sets):
    """What single sets must show."""
    of = {name: next(found for found in objects if found["kind"] == "StatefulSet") for name, objects in sets.items()}
    env = {
        name: {variable["name"]: variable.get("value") for variable in found["spec"]["template"]["spec"]["containers"][0]["env"]}
        for name, found in of.items()
    }
    kinds = {name: {found["kind"] for found in objects} for name, objects in sets.items()}
    claim(env["minimal"]["MQTT_CLIENT_ID"] == "sluice-%ordinal", "the client id is not that of the pod's number")
    claim(env["minimal"]["DATABASE_URL_FILE"] == "/run/secrets/sluice/database_url", "the database's URL is not a file")
    claim(env["replicas"]["MQTT_SHARE_GROUP"] == "sluice" and of["replicas"]["spec"]["replicas"] == 3, "replicas")
    claim("PodDisruptionBudget" in kinds["replicas"] and "PodDisruptionBudget" not in kinds["minimal"], "the disruption budget")
    claim("PersistentVolumeClaim" in kinds["authority"] and "PersistentVolumeClaim" not in kinds["claim"], "the claim of the CRL")
    claim({name[: -len("_FILE")] for name in env["all-secrets"] if name.endswith("_FILE")} == secret_settings(), "a secret of Sluice has no key")
    policy = next(found for found in sets["all-secrets"] if found["kind"] == "NetworkPolicy")
    claim(env["all-secrets"].get("HOOKS_BIND") == "0.0.0.0:8009" and "'hooks'" in str(policy), "the broker cannot reach the hooks")
    claim(env["settings"]["BATCH_SIZE"] == "500" and env["settings"]["CERT_AUTH_ENABLED"] == "true", "settings are text")
    claim(not {"NetworkPolicy", "ServiceAccount"} & kinds["bare"], "what is turned off is there")


def check_monitoring(objects):
    """The rules and dashboards are those of compose/, byte by byte where Prometheus and Grafana read them."""
    rule = next(found for found in objects if found["kind"] == "PrometheusRule")
    claim(rule["spec"] == yaml.safe_load(RULES.read_text()), "the rules of the chart are not those of compose/prometheus")
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump(rule["spec"], file)
        file.flush()
        checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
    claim(checked.returncode == 0, f"promtool: {checked.stdout}{checked.stderr}")
    shown = {name: text for found in objects if found["kind"] == "ConfigMap" for name, text in found["data"].items()}
    own = {path.name: json.loads(path.read_text()) for path in (ROOT / "compose/grafana/dashboards").glob("*.json")}
    claim({name: json.loads(text) for name, text in shown.items()} == own, "the dashboards of the chart are not those of compose/grafana")


def check_wrong():
    """Each wrong value is refused by a sentence that names it."""
    for what, change, words in WRONG:
        values = {"mqtt": {"host": "mosquitto"}, "existingSecret": "sluice-secrets"}
        values.update(change)
        try:
            list(documents(values))
        except helm_python.HelmError as error:
            claim(words in str(error), f"{what}: the refusal does not name it: {error}")
        else:
            claim(False, f"{what} is accepted")


def check_versions():
    """The versions are those of the daemon."""
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    claim(chart["version"] == version and chart["appVersion"] == version, f"Chart.yaml is not of version {version}")


def check_package(objects):
    """A packaged chart, away from this tree, makes the same objects."""
    with tempfile.TemporaryDirectory() as place:
        archive = Path(helm_python.Chart.load(CHART).save(place))
        values = yaml.safe_load((VALUES / "monitoring.yaml").read_text())
        rendered = helm_python.Chart.load_archive(archive.read_bytes()).render(values, name="sluice", namespace="iot")
    found = [document for path, text in sorted(rendered.items()) if not path.endswith(".txt") for document in yaml.safe_load_all(text) if document]
    claim(found == objects, "the packaged chart makes other objects")


def main():
    """Runs all checks."""
    sets = check_sets()
    check_special(sets)
    check_monitoring(sets["monitoring"])
    check_wrong()
    check_versions()
    check_package(sets["monitoring"])
    count = sum(len(objects) for objects in sets.values())
    print(f"helm: {len(sets)} sets of values, {count} objects, Kubernetes {', '.join(VERSIONS)}, {len(WRONG)} refusals")
    sys.exit(1 if failures else 0)


main()
