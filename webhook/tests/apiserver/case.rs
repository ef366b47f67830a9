//! The API server that the cases share, and what each case has of its own: namespaces, a Secret, registrations.

use std::{
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use serde_json::{Value, json};
use testkit::{
    balancer::Backend,
    cluster::Cluster,
    eventually,
    process::{Running, field, sh},
};

use crate::pods;

pub const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
/// What the webhook is called for; the label of the case comes before it, so that metrics tell cases apart.
const NAME: &str = "apiserver-proxy.networking.gardener.cloud";
/// The label of a case's namespaces, with its name.
const LABEL: &str = "case";

/// The API server, for as long as a case has it.
pub struct Api {
    pub cluster: Cluster,
    /// The kubeconfigs of an administrator and of the webhook.
    administrator: PathBuf,
    webhook: PathBuf,
}

/// The API server that runs, or a new one; none where there is no program for it, which is said.
pub fn api(test: &str) -> Option<Arc<Api>> {
    static SHARED: Mutex<Weak<Api>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(api) = shared.upgrade() {
        return Some(api);
    }
    let Some(cluster) = Cluster::real() else {
        testkit::skipped(&format!("apiserver::{test}"), "KUBEBUILDER_ASSETS is not set");
        return None;
    };
    let (administrator, webhook) = (cluster.kubeconfig("admin"), cluster.kubeconfig("webhook"));
    let api = Arc::new(Api { cluster, administrator, webhook });
    *shared = Arc::downgrade(&api);
    Some(api)
}

impl Api {
    /// kubectl as the administrator, if it is there with the API server.
    pub fn kubectl(&self) -> Option<Command> {
        let program = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS")?).join("kubectl");
        let mut command = Command::new(&program);
        command.arg("--kubeconfig").arg(&self.administrator);
        command.arg("--cache-dir").arg(self.administrator.with_file_name("kubectl"));
        program.is_file().then_some(command)
    }

    /// Does it have the policies that the webhook prints?
    pub fn has_policies(&self) -> bool {
        let resources = self.cluster.get(ADMISSION)["resources"].take();
        resources.as_array().unwrap().iter().any(|resource| resource["name"] == "mutatingadmissionpolicies")
    }
}

/// A case, by a name that no other has.
pub struct Case {
    pub api: Arc<Api>,
    pub name: &'static str,
    /// Its Pods are in there.
    pub namespace: String,
}

impl Case {
    /// One with a namespace for Pods, another for the webhook, with an empty Secret in that, and with the permissions
    /// that the webhook needs.
    pub fn new(api: &Arc<Api>, name: &'static str) -> Self {
        let case = Self { api: Arc::clone(api), name, namespace: format!("{name}-pods") };
        for namespace in [name, &case.namespace] {
            case.add_namespace(namespace, None);
        }
        let secret = json!({"metadata": {"name": name}});
        api.cluster.create(&format!("/api/v1/namespaces/{name}/secrets"), &secret);
        let verbs = ["get", "update", "watch"];
        let (group, resource) = ("admissionregistration.k8s.io", "mutatingwebhookconfigurations");
        api.cluster.allow("webhook", &verbs, "", "secrets", &[name]);
        api.cluster.allow("webhook", &verbs, group, resource, &[name]);
        case
    }

    /// Makes a namespace in which what the case registers counts; with that value of the label, if it is to have it.
    pub fn add_namespace(&self, namespace: &str, inject: Option<&str>) {
        let labels = match inject {
            Some(inject) => json!({LABEL: self.name, pods::INJECT: inject}),
            None => json!({LABEL: self.name}),
        };
        let object = json!({"metadata": {"name": namespace, "labels": labels}});
        self.api.cluster.create("/api/v1/namespaces", &object);
    }

    /// Registers the webhook at a port of localhost by a URL.
    pub fn register_by_url(&self, port: u16) {
        self.register(&[&format!("--url=https://localhost:{port}")]);
    }

    /// The same by a Service, of the only type that works without kube-proxy.
    pub fn register_by_service(&self, port: u16) {
        let service = json!({
            "metadata": {"name": self.name},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
        });
        self.api.cluster.create(&format!("/api/v1/namespaces/{}/services", self.name), &service);
        self.register(&["--service", self.name, &format!("--service-port={port}")]);
    }

    /// Registers it by the manifest that it prints, for the case's namespaces.
    fn register(&self, args: &[&str]) {
        let args = [&["webhook", "--namespace", self.name, "--name", self.name], args].concat();
        let mut registration = printed(&args).remove(0);
        let webhook = &mut registration["webhooks"][0];
        assert_eq!(webhook["name"], NAME);
        webhook["name"] = json!(format!("{}.{NAME}", self.name));
        webhook["namespaceSelector"]["matchLabels"] = json!({LABEL: self.name});
        self.apply("mutatingwebhookconfigurations", &registration);
    }

    /// Brings the policy into force that the webhook prints, for the case's namespaces.
    pub fn apply_policy(&self, args: &[&str]) {
        let args = [&["policy", "--apiserver-fqdn=foo.bar.", "--name", self.name], args].concat();
        let mut objects = printed(&args);
        let mut binding = objects.pop().unwrap();
        self.apply("mutatingadmissionpolicies", &objects.pop().unwrap());
        binding["spec"]["matchResources"] = json!({"namespaceSelector": {"matchLabels": {LABEL: self.name}}});
        self.apply("mutatingadmissionpolicybindings", &binding);
    }

    fn apply(&self, resource: &str, object: &Value) {
        self.api.cluster.create(&format!("{ADMISSION}/{resource}?fieldValidation=Strict"), object);
    }

    /// Where its registration is.
    pub fn registration_path(&self) -> String {
        format!("{ADMISSION}/mutatingwebhookconfigurations/{}", self.name)
    }

    /// Where its Secret is.
    pub fn secret_path(&self) -> String {
        format!("/api/v1/namespaces/{0}/secrets/{0}", self.name)
    }

    /// Waits until new Pods get the variable.
    pub fn in_force(&self) {
        let path = format!("{}?dryRun=All", pods::collection(&self.namespace));
        let has = || pods::has_host(&self.api.cluster.create(&path, &pods::plain("probe"))).then_some(());
        eventually(|| format!("{} to be in force", self.name), has);
    }

    /// How many Pods the API server has let through because the webhook gave no good answer.
    pub fn failed_open(&self) -> u64 {
        let metrics = self.api.cluster.get("/metrics");
        let name = format!("apiserver_admission_webhook_fail_open_count{{name=\"{}.{NAME}\"", self.name);
        let line = metrics.as_str().unwrap().lines().find(|line| line.starts_with(&name));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Starts the webhook, as a user who may do nothing but what the manifests allow.
    pub fn replica(&self, args: &[&str]) -> Replica {
        let mut command = program();
        command.env("KUBECONFIG", &self.api.webhook);
        let secret = format!("{0}/{0}", self.name);
        command.args(["--cert-secret", &secret, "--webhook-configuration", self.name]);
        // Where it says as well that it is not told of changes.
        command.arg("-v=2");
        Replica::start(command.args(["--apiserver-fqdn=foo.bar."]).args(args))
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-pod-webhook"))
}

/// The objects of a manifest that the webhook prints.
fn printed(args: &[&str]) -> Vec<Value> {
    let output = program().arg("manifest").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// A webhook that serves.
pub struct Replica {
    running: Running,
    pub backend: Backend,
}

impl Replica {
    fn start(command: &mut Command) -> Self {
        let running = Running::start(command.args([
            "--host=127.0.0.1",
            "--port=0",
            "--health-bind-address=127.0.0.1:0",
        ]));
        let line = running.wait_for("] serving");
        let backend = Backend { address: field(&line, "address"), health: field(&line, "health") };
        Self { running, backend }
    }

    /// One with a certificate that nobody trusts.
    pub fn untrusted() -> Self {
        Self::start(program().arg("--apiserver-fqdn=foo.bar."))
    }

    /// How many Pods it has patched.
    pub fn patched(&self) -> u64 {
        let metrics = sh(&format!("curl --silent --fail http://{}/metrics", self.backend.health));
        let created = "apiserver_proxy_pod_webhook_requests_total{operation=\"CREATE\",outcome=\"patched\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(created)).unwrap().parse().unwrap()
    }

    /// Ends it. It has lacked no permission.
    pub fn stop(self) {
        let (status, printed) = self.running.stop();
        assert!(status.success() && !printed.contains("forbidden"), "{status}: {printed}");
    }
}
