//! The MutatingAdmissionPolicy and its binding: what the webhook does, in CEL.
//!
//! The API server runs the mutations one after the other, each on what the one before has made, so there is one for
//! each variable. The first gives the operations that the webhook's patch has, in its order; with two variables the
//! order is by variable, and the Pod the same. Values are literals of maps: a list of typed objects
//! (`[Object.spec.containers.env{…}]`) as the value of a JSONPatch panics the API server of Kubernetes 1.36.
//!
//! The API server shows CEL a Pod that it has decoded: what is null is absent, and a malformed Pod was refused before.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>; `transformList`
//! is in the CEL of Kubernetes since 1.32.

use clap::{ArgMatches, Command};
use common::flags::Stop;

use super::{given, name_flag, not_opted_out, opted_out, rules, values::quoted};
use crate::{
    cli,
    env::{Entry, Injection},
    fqdn::Fqdn,
    names::Subdomain,
    review::pod::{INJECT_LABEL, MIRROR_ANNOTATION},
};

pub(super) fn command() -> Command {
    Command::new("policy").args([
        cli::apiserver_fqdn(),
        cli::apiserver_port(),
        cli::inject_ephemeral_containers(),
        name_flag("[optional] name is the name of the MutatingAdmissionPolicy and of its binding."),
    ])
}

/// The manifests that these flags ask for.
///
/// # Errors
/// When one has no value.
pub(super) fn print(matches: &ArgMatches) -> Result<String, Stop> {
    let host: &Fqdn = given(matches, "apiserver-fqdn")?;
    let ephemeral: bool = *given(matches, "inject-ephemeral-containers")?;
    let Subdomain(name) = given(matches, "name")?;
    let injection = Injection::new(host, matches.get_one("apiserver-port").copied(), ephemeral);
    let mutations = injection.entries.iter().map(|entry| mutation(entry, injection.ephemeral_containers));
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
        variables = variables(ephemeral),
        mutations = mutations.collect::<String>(),
    ))
}

/// The containers that may be changed, list by list.
fn variables(ephemeral_containers: bool) -> String {
    let variable =
        |name, expression: &str| format!("    - name: {name}\n      expression: >-\n        {expression}\n");
    // The environment of a running container can't be changed.
    let created = |list| {
        let expression =
            format!("request.operation == \"CREATE\" && has(object.spec.{list}) ? object.spec.{list} : []");
        variable(list, &expression)
    };
    let mut text = created("initContainers") + &created("containers");
    if ephemeral_containers {
        text += &variable(
            "ephemeralContainers",
            "has(object.spec.ephemeralContainers) ? object.spec.ephemeralContainers : []",
        );
        text += &variable(
            "oldNames",
            "oldObject != null && has(oldObject.spec.ephemeralContainers)
        ? oldObject.spec.ephemeralContainers.map(c, c.name) : []",
        );
    }
    text
}

/// Adds one variable to all containers that lack it.
fn mutation(entry: &Entry, ephemeral_containers: bool) -> String {
    let (name, value) = (quoted(entry.variable.name()), entry.json());
    let added = |list: &str, condition: &str| {
        format!(
            "          variables.{list}.transformList(i, c,
            {condition}!(has(c.env) && c.env.exists(e, e.name == {name})),
            has(c.env) && c.env.size() > 0
              ? JSONPatch{{
                  op: \"add\", path: \"/spec/{list}/\" + string(i) + \"/env/-\",
                  value: {value}
                }}
              : JSONPatch{{
                  op: \"add\", path: \"/spec/{list}/\" + string(i) + \"/env\",
                  value: [{value}]
                }}
          )"
        )
    };
    let mut lists = vec![added("initContainers", ""), added("containers", "")];
    if ephemeral_containers {
        lists.push(added("ephemeralContainers", "!(c.name in variables.oldNames) && "));
    }
    format!("    - patchType: JSONPatch\n      jsonPatch:\n        expression: |-\n{}\n", lists.join(" +\n"))
}
