//! The manifests in `deploy/kubernetes`, which `deploy/helm/render` writes: what they say of ports, probes, times and names is what
//! the file of longwire says that is in them.

mod chart;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use clap::Parser as _;
use fs_err as fs;
use longwire::{
    cli::{Cli, Command},
    config::{self, AdminBind, Config},
    net::server::LAST_WORDS,
};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    documents::make_named_files,
    harness::{Backend, Proxy, Wire},
};

/// Where the chart mounts the file. Below this path are the files of Secrets, which are made anew for a test.
const FOLDER: &str = "/etc/longwire";
const SECRETS: &str = "/run/longwire/";

/// What one file of manifests says.
struct Manifests {
    name: String,
    objects: Vec<Value>,
    /// The file of longwire as it is in there.
    written: Value,
    /// The same as longwire reads it.
    config: Config,
}

impl Manifests {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
        let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| Self::read(&entry.unwrap().path())).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let names: Vec<_> = all.iter().map(|manifests| &*manifests.name).collect();
        assert_eq!(names, ["full", "minimal", "nlb"]);
        all
    }

    fn read(path: &Path) -> Self {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        let objects: Vec<_> = serde_yaml::Deserializer::from_str(&text)
            .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{name}: {error}")))
            .collect();
        let files = objects.iter().find_map(|object| {
            let data = if object["kind"] == "Secret" { &object["stringData"] } else { &object["data"] };
            data["proxy.yaml"].is_string().then(|| data.as_object().unwrap().clone())
        });
        let files = files.unwrap_or_else(|| panic!("{name}: no proxy.yaml"));
        let written = serde_yaml::from_str(files["proxy.yaml"].as_str().unwrap()).unwrap();
        let config = Self::load(&name, &files);
        Self { name, objects, written, config }
    }

    /// Reads the file as `longwire check` does, in a folder with all the files that it names.
    fn load(name: &str, files: &serde_json::Map<String, Value>) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let secrets = format!("{}/secrets/", folder.path().display());
        let written = files["proxy.yaml"].as_str().unwrap();
        let proxy = variables(written).into_iter().fold(written.replace(SECRETS, &secrets), |text, variable| {
            text.replace(&format!("${{{variable}}}"), "from-the-environment")
        });
        make_named_files(folder.path(), &proxy, name);
        for (file, text) in files {
            fs::write(folder.path().join(file), text.as_str().unwrap()).unwrap();
        }
        fs::write(folder.path().join("proxy.yaml"), &proxy).unwrap();
        let loaded = config::load(&folder.path().join("proxy.yaml"));
        let loaded = loaded.unwrap_or_else(|errors| panic!("{name}: {errors}\n{proxy}"));
        assert!(loaded.warnings.is_empty(), "{name}: {}", loaded.warnings);
        loaded.config
    }

    /// How long new clients may still be sent to a pod that goes, as the values say.
    fn lead(&self) -> Duration {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/helm/longwire");
        let lead = |file: &Path| {
            let values: Value = serde_yaml::from_str(&fs::read_to_string(chart.join(file)).unwrap()).unwrap();
            values["termination"]["lead"].as_u64()
        };
        let own = lead(&Path::new("ci").join(format!("{}.yaml", self.name)));
        Duration::from_secs(own.or_else(|| lead(Path::new("values.yaml"))).unwrap())
    }

    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The one object of this kind. The Service of the admin interface does not count.
    fn the(&self, kind: &'static str) -> &Value {
        let found: Vec<_> = self.of_kind(kind).filter(|object| !is_of_admin(object)).collect();
        assert_eq!(found.len(), 1, "{}: {kind}", self.name);
        found[0]
    }

    fn pod(&self) -> &Value {
        &self.the("Deployment")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        let containers = self.pod()["spec"]["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1, "{}", self.name);
        &containers[0]
    }

    /// The ports of the container by name.
    fn ports(&self) -> BTreeMap<&str, u64> {
        let ports = self.container()["ports"].as_array().unwrap();
        ports.iter().map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_u64().unwrap())).collect()
    }

    fn admin_port(&self) -> u64 {
        match &self.config.admin.as_ref().unwrap().bind {
            AdminBind::Tcp(address) => {
                assert!(address.ip().is_unspecified(), "{}: the node asks at the address of the pod", self.name);
                address.port().into()
            }
            other => panic!("{}: {other}", self.name),
        }
    }

    /// The folders that the container has, with their volumes.
    fn folders(&self) -> BTreeMap<&str, &Value> {
        let volumes = self.pod()["spec"]["volumes"].as_array().unwrap();
        let mounts = self.container()["volumeMounts"].as_array().unwrap();
        let volume = |mount: &Value| volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        mounts.iter().map(|mount| (mount["mountPath"].as_str().unwrap(), volume(mount))).collect()
    }

    fn run_arguments(&self) -> longwire::cli::RunArgs {
        let arguments = self.container()["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        match Cli::try_parse_from(["longwire"].into_iter().chain(arguments)).unwrap().command {
            Some(Command::Run(run)) => run,
            other => panic!("{}: {other:?}", self.name),
        }
    }
}

fn is_of_admin(object: &Value) -> bool {
    object["metadata"]["labels"]["app.kubernetes.io/component"] == "admin"
}

/// All texts in a value.
fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

/// The variables of the environment that a file names.
fn variables(file: &str) -> BTreeSet<&str> {
    file.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next()).collect()
}

/// Whether an object with these labels is chosen by a selector.
fn has_labels(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(name, value)| labels[name] == *value)
}

#[test]
fn the_ports_of_a_pod_and_of_its_services_are_those_of_the_listeners() {
    for manifests in Manifests::all() {
        let name = &manifests.name;
        let ports = manifests.ports();
        assert_eq!(ports["admin"], manifests.admin_port(), "{name}");
        let service = &manifests.the("Service")["spec"];
        let outside = service["ports"].as_array().unwrap();
        let annotations = &manifests.the("Service")["metadata"]["annotations"];
        let sends_headers = annotations["service.beta.kubernetes.io/aws-load-balancer-proxy-protocol"] == "*";
        assert_eq!(sends_headers, name == "nlb");
        let mut found = BTreeSet::from([manifests.admin_port()]);
        for listener in &manifests.config.listeners {
            let port = u64::from(listener.bind.tcp().unwrap().port());
            found.insert(port);
            let (port_name, _) = ports.iter().find(|(_, number)| **number == port).unwrap();
            let at_service: Vec<_> = outside.iter().filter(|outside| outside["targetPort"] == *port_name).collect();
            let protocol = if listener.tls.is_some() { "kubernetes.io/wss" } else { "kubernetes.io/ws" };
            assert_eq!((at_service.len(), &at_service[0]["appProtocol"]), (1, &json!(protocol)), "{name}");
            assert_eq!(listener.proxy_protocol.is_some(), sends_headers, "{name}");
        }
        assert_eq!(found, ports.values().copied().collect(), "{name}");
        assert_eq!(outside.len() + 1, ports.len(), "{name}");
        if sends_headers {
            let health =
                |key: &str| annotations[format!("service.beta.kubernetes.io/aws-load-balancer-{key}")].as_str();
            // A check by HTTP would begin with a header too, which the admin interface answers with 400.
            assert_eq!(
                (health("healthcheck-protocol"), health("healthcheck-port")),
                (Some("tcp"), Some("traffic-port"))
            );
            assert_eq!(health("healthcheck-path"), None);
        }
        for policy in manifests.of_kind("NetworkPolicy") {
            let rules = policy["spec"]["ingress"].as_array().unwrap();
            let open = |rule: &Value| -> BTreeSet<_> {
                rule["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap()).collect()
            };
            let admin = BTreeSet::from([manifests.admin_port()]);
            assert_eq!(open(&rules[0]), &found - &admin, "{name}");
            assert!(rules[1]["from"].is_array() && open(&rules[1]) == admin, "{name}: not everybody");
        }
    }
}

#[test]
fn every_object_finds_the_pods_and_the_probes_find_the_admin_interface() {
    for manifests in Manifests::all() {
        let (name, labels) = (&manifests.name, &manifests.pod()["metadata"]["labels"]);
        let container = manifests.container();
        for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
            assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "admin" }), "{name}");
        }
        let selectors = [
            &manifests.the("Deployment")["spec"]["selector"]["matchLabels"],
            &manifests.the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        ];
        let of_policies =
            manifests.of_kind("NetworkPolicy").map(|policy| &policy["spec"]["podSelector"]["matchLabels"]);
        let of_services = manifests.of_kind("Service").map(|service| &service["spec"]["selector"]);
        let spread = manifests.pod()["spec"]["topologySpreadConstraints"].as_array().unwrap();
        let of_spread = spread.iter().map(|constraint| &constraint["labelSelector"]["matchLabels"]);
        let selectors: Vec<_> = selectors.into_iter().chain(of_policies).chain(of_services).chain(of_spread).collect();
        assert!(selectors.len() >= 6, "{name}");
        assert!(selectors.iter().all(|selector| has_labels(selector, labels)), "{name}: {selectors:?}");
        for scaler in manifests.of_kind("HorizontalPodAutoscaler") {
            let deployment = manifests.the("Deployment");
            assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
            assert!(deployment["spec"]["replicas"].is_null(), "{name}: the autoscaler says how many");
            let metric = scaler["spec"]["metrics"][0]["pods"]["metric"]["name"].as_str().unwrap();
            let table = include_str!("../../docs/metrics.md");
            assert!(table.contains(&format!("| `{metric}` | gauge |")), "{metric} is no metric of longwire");
        }
    }
}

#[test]
fn a_pod_is_given_the_time_that_its_drain_takes() {
    for manifests in Manifests::all() {
        let (name, config) = (&manifests.name, &manifests.config);
        let sleeps = &manifests.container()["lifecycle"]["preStop"]["sleep"]["seconds"];
        let sleeps = Duration::from_secs(sleeps.as_u64().unwrap_or(0));
        // What drain.wait covers is not slept before.
        assert_eq!(sleeps, manifests.lead().saturating_sub(config.drain.wait), "{name}");
        let grace = manifests.pod()["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
        // Records and messages are written behind the drain.
        let needed = sleeps + config.timeouts.drain + 2 * LAST_WORDS;
        assert_eq!(Duration::from_secs(grace), needed, "{name}");
        // longwire spreads over half of what is left at most.
        assert!(2 * config.drain.spread <= config.timeouts.drain.saturating_sub(config.drain.wait), "{name}");
    }
}

/// A pod of an update begins once the sessions of the one before have left: Kubernetes does not wait for pods that end.
#[test]
fn an_update_goes_on_when_the_sessions_of_a_pod_have_left() {
    for manifests in Manifests::all() {
        let (name, deployment) = (&manifests.name, &manifests.the("Deployment")["spec"]);
        let update = &deployment["strategy"]["rollingUpdate"];
        assert_eq!(update["maxUnavailable"], 0, "{name}");
        let waits = Duration::from_secs(deployment["minReadySeconds"].as_u64().unwrap());
        let drain = &manifests.config.drain;
        let leaving = manifests.lead().max(drain.wait) + drain.spread;
        // With twice the pods, all of the old ones leave together, and there is nobody to wait for.
        assert!(
            if update["maxSurge"] == "100%" { waits > Duration::ZERO } else { waits == leaving },
            "{name}: {waits:?}"
        );
    }
}

#[test]
fn the_process_runs_the_file_in_a_folder_of_its_own_and_follows_its_changes() {
    for manifests in Manifests::all() {
        let (name, run, folders) = (&manifests.name, manifests.run_arguments(), manifests.folders());
        assert_eq!(run.config, Path::new(FOLDER).join("proxy.yaml"), "{name}");
        let volume = folders[FOLDER];
        let mounted =
            if volume["configMap"].is_null() { &volume["secret"]["secretName"] } else { &volume["configMap"]["name"] };
        let kept =
            manifests.objects.iter().find(|object| ["ConfigMap", "Secret"].iter().any(|kind| object["kind"] == *kind));
        assert_eq!(*mounted, kept.unwrap()["metadata"]["name"], "{name}");
        for mount in manifests.container()["volumeMounts"].as_array().unwrap() {
            assert!(mount["subPath"].is_null() && mount["readOnly"] == true, "{name}: {mount}");
        }
        // Without --watch a change of the file starts new pods; with it, a change of what a reload leaves as it is.
        let annotations = &manifests.pod()["metadata"]["annotations"];
        assert_eq!(annotations["checksum/needs-restart"].is_string(), run.watch, "{name}");
        assert_eq!(annotations["checksum/config"].is_string(), !run.watch, "{name}");
        assert_eq!(run.watch, name != "full");
        let mut named = Vec::new();
        texts(&manifests.written, &mut named);
        for file in named.iter().filter(|text| text.starts_with(SECRETS)) {
            let folder = Path::new(file).parent().unwrap().to_str().unwrap();
            assert!(folders.contains_key(folder), "{name}: {file} is in no volume");
        }
        let given = manifests.container()["env"].as_array().into_iter().flatten();
        let given: BTreeSet<_> = given.filter_map(|variable| variable["name"].as_str()).collect();
        let wanted: BTreeSet<_> = named.iter().flat_map(|text| variables(text)).collect();
        assert_eq!(wanted, given, "{name}: the variables that the file names");
    }
}

#[test]
fn the_token_of_the_admin_interface_is_that_which_prometheus_shows_and_the_alerts_are_ours() {
    for manifests in Manifests::all() {
        let name = &manifests.name;
        let token = Path::new(manifests.written["admin"]["token_file"].as_str().unwrap());
        let secret = &manifests.folders()[token.parent().unwrap().to_str().unwrap()]["secret"]["secretName"];
        let service = manifests.of_kind("Service").find(|service| is_of_admin(service)).unwrap();
        assert_eq!(service["spec"]["publishNotReadyAddresses"], true, "{name}: a pod that drains is looked at too");
        assert_eq!(service["spec"]["ports"][0]["port"].as_u64(), Some(manifests.admin_port()));
        let own_name = service["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(manifests.config.admin.as_ref().unwrap().hosts.contains(&own_name), "{name}");
        for monitor in manifests.of_kind("ServiceMonitor") {
            let endpoint = &monitor["spec"]["endpoints"][0];
            assert_eq!((&endpoint["port"], &endpoint["path"]), (&json!("admin"), &json!("/metrics")), "{name}");
            let shown = json!({ "name": secret, "key": token.file_name().unwrap().to_str() });
            assert_eq!(endpoint["authorization"], json!({ "type": "Bearer", "credentials": shown }), "{name}");
            assert!(has_labels(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]));
            // The alert LongwireGone asks for this job.
            let label = monitor["spec"]["jobLabel"].as_str().unwrap();
            assert_eq!(service["metadata"]["labels"][label], "longwire");
        }
        for rule in manifests.of_kind("PrometheusRule") {
            let ours = include_str!("../../deploy/prometheus/alerts.yml");
            // What the autoscaler aims at wakes nobody.
            let aim = manifests.the("HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["target"]["averageValue"]
                .as_str()
                .and_then(|aim| aim.parse::<u64>().ok())
                .unwrap();
            let marks = [("10,000", 3 * aim / 2), ("50,000", 3 * aim)];
            let ours = marks.into_iter().fold(ours.to_owned(), |text, (mark, higher)| {
                text.replace(mark, &higher.to_string()).replace(&mark.replace(',', ""), &higher.to_string())
            });
            assert_eq!(rule["spec"], serde_yaml::from_str::<Value>(&ours).unwrap(), "{name}");
        }
        let watched = manifests.of_kind("ServiceMonitor").count() + manifests.of_kind("PrometheusRule").count();
        assert_eq!(watched, if name == "full" { 2 } else { 0 });
    }
}

#[test]
fn a_pod_has_no_rights() {
    for manifests in Manifests::all() {
        let (name, pod, container) = (&manifests.name, &manifests.pod()["spec"], manifests.container());
        let security = &pod["securityContext"];
        assert_eq!(
            (&security["runAsNonRoot"], &security["seccompProfile"]["type"]),
            (&json!(true), &json!("RuntimeDefault"))
        );
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        });
        assert_eq!(container["securityContext"], expected, "{name}");
        // Without capabilities, no port below 1024 can be bound.
        assert!(manifests.ports().values().all(|port| *port >= 1024), "{name}");
    }
}

/// The chart binds all addresses. Prometheus, and who asks for sessions, call a pod by its own address.
#[tokio::test]
async fn the_address_that_a_scrape_came_to_is_a_name_of_the_admin_interface() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "a-token-of-some-length\n").unwrap();
    let admin = "admin: { bind: \"0.0.0.0:0\", token_file: token, hosts: [longwire-admin] }";
    let proxy = Proxy::before(&[&Backend::echo()]).with(admin).start_from(&folder.path().join("proxy.yaml"));
    let Some(AdminBind::Tcp(bound)) = proxy.control().admin_address() else { panic!("no admin interface") };
    let address = std::net::SocketAddr::from(([127, 0, 0, 2], bound.port()));
    let token = "Authorization: Bearer a-token-of-some-length\r\n";
    for (host, shown, expected) in [
        (address.to_string(), token, 200),
        (format!("longwire-admin:{}", bound.port()), token, 200),
        (address.to_string(), "", 401),
        (format!("127.0.0.3:{}", bound.port()), token, 403),
    ] {
        let mut wire = Wire::connect(address).await;
        wire.send(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n{shown}\r\n")).await;
        assert_eq!(wire.response().await.status(), expected, "{host}");
    }
    proxy.stop().await;
}
