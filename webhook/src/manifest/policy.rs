//! The MutatingAdmissionPolicy and its binding: what the webhook does, in CEL.
//!
//! The API server runs the mutations one after the other, each on what the one before has made, so there is one for
//! each variable. The first gives the operations that the webhook's patch has, in its order; with more variables the
//! order is by variable, and the Pod the same. Values are literals of maps: a list of typed objects
//! (`[Object.spec.containers.env{…}]`) as the value of a JSONPatch panics the API server of Kubernetes 1.36.
//!
//! The API server shows CEL a Pod that it has decoded: what is null is absent, and a malformed Pod was refused before.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>; `transformList`
//! is in the CEL of Kubernetes since 1.32.

use clap::{ArgMatches, Command};
use common::{egress::Config, flags::Stop};

use super::{cel, given, name_flag, not_opted_out, opted_out, rules, values::quoted};
use crate::{
    cli, egress,
    env::Injection,
    fqdn::Fqdn,
    names::Subdomain,
    review::pod::{INJECT_LABEL, MIRROR_ANNOTATION},
};

/// The longest expression that the API server reads, in characters: what cel-go's parser takes where nobody says
/// otherwise.
const LONGEST_EXPRESSION: usize = 100_000;

pub(super) fn command() -> Command {
    Command::new("policy").args([
        cli::apiserver_fqdn(),
        cli::apiserver_port(),
        cli::egress_config(),
        cli::inject_ephemeral_containers(),
        name_flag("[optional] name is the name of the MutatingAdmissionPolicy and of its binding."),
    ])
}

/// The manifests that these flags ask for.
///
/// # Errors
/// When one has no value, or the proxy can't be told to everybody.
pub(super) fn print(matches: &ArgMatches) -> Result<String, Stop> {
    let host: &Fqdn = given(matches, "apiserver-fqdn")?;
    let ephemeral: bool = *given(matches, "inject-ephemeral-containers")?;
    let Subdomain(name) = given(matches, "name")?;
    let mut injection = Injection::new(host, matches.get_one("apiserver-port").copied(), ephemeral);
    if let Some(config) = egress_config(matches)? {
        injection = injection.with_proxy(&config);
    }
    let variables = cel::variables(&injection).into_iter().map(|(name, expression)| {
        let expression = readable(name, expression)?;
        Ok(format!("    - name: {name}\n      expression: >-\n        {expression}\n"))
    });
    let variables = variables.collect::<Result<String, Stop>>()?;
    let mutations = injection.entries.iter().map(|entry| {
        let expression = readable(entry.variable.name(), cel::mutation(entry, &injection))?;
        Ok(format!("    - patchType: JSONPatch\n      jsonPatch:\n        expression: |-\n{expression}\n"))
    });
    let mutations = mutations.collect::<Result<String, Stop>>()?;
    Ok(format!(
        "# Has the API server put its name into every new Pod, and every debug container, by itself: instead of the
# webhook, which need not run then. Kubernetes 1.36 or later. Printed by: apiserver-proxy-pod-webhook manifest policy
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: apiserver-proxy-pod-webhook
spec:
  # A Pod without the variable still runs; a cluster that creates no Pods does not.
  failurePolicy: Ignore
  reinvocationPolicy: IfNeeded
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector:
      matchExpressions:
{wanted}    objectSelector:
      matchExpressions:
{wanted}    resourceRules:
{rules}  matchConditions:
    # kubelet's own Pods, which it shows to the API server but nobody can change.
    - name: no-mirror-pod
      expression: >-
        !has(object.metadata.annotations) || !({mirror} in object.metadata.annotations)
    # The selector above takes an update if either the old or the new Pod fits.
    - name: not-opted-out
      expression: >-
        !has(object.metadata.labels) || !({label} in object.metadata.labels) ||
        !(object.metadata.labels[{label}] in [{opted_out}])
  variables:
{variables}  mutations:
{mutations}---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: apiserver-proxy-pod-webhook
spec:
  policyName: {name}
",
        name = quoted(name),
        wanted = not_opted_out(),
        mirror = quoted(MIRROR_ANNOTATION),
        label = quoted(INJECT_LABEL),
        opted_out = opted_out(),
        rules = rules(ephemeral),
    ))
}

/// The same expression.
///
/// # Errors
/// When the API server would refuse it, and the whole policy with it.
fn readable(what: &str, expression: String) -> Result<String, Stop> {
    match expression.chars().count() {
        0..=LONGEST_EXPRESSION => Ok(expression),
        long => Err(Stop::Mistake(format!(
            "{what} is too long for a policy: its expression has {long} characters, and the API server takes \
             {LONGEST_EXPRESSION}; write less into the file of --egress-config, or take the webhook"
        ))),
    }
}

/// The configuration of `--egress-config`, if everybody may read it.
///
/// # Errors
/// When it can't be used, or holds a password.
fn egress_config(matches: &ArgMatches) -> Result<Option<Config>, Stop> {
    let Some(path) = cli::egress_file(matches) else { return Ok(None) };
    let wrong = |why: String| {
        let path = path.display().to_string();
        Stop::Mistake(format!("invalid argument {path:?} for \"--egress-config\" flag: {why}"))
    };
    let config = egress::load(&path).map_err(wrong)?;
    let urls = [&config.proxy.http, &config.proxy.https];
    let with_password = urls.into_iter().flatten().find(|url| url.has_userinfo());
    match (with_password, &config.pods.credentials_secret) {
        (Some(url), None) => Err(wrong(format!(
            "{url} has a name or password in it, and everybody in the cluster can read a policy; name a Secret in \
             pods.credentialsSecret, or take the webhook"
        ))),
        _ => Ok(Some(config)),
    }
}
