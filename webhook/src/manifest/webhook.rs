//! The MutatingWebhookConfiguration.

use clap::{ArgMatches, Command, parser::ValueSource};
use common::flags::{Stop, value};

use super::{
    DEFAULT_NAME, given, name_flag, not_opted_out, rules,
    values::{CaBundle, Url, quoted},
};
use crate::{
    cli, handler,
    names::{Label, Namespaced, Subdomain},
};

pub(super) fn command() -> Command {
    Command::new("webhook").args([
        value(
            "ca-bundle-file",
            "string",
            CaBundle::read,
            "[optional] ca-bundle-file is the file with the CA certificates, in PEM, that the webhook's certificate is verified with.",
        ),
        value(
            "inject-ca-from",
            "string",
            |text: &str| text.parse::<Namespaced>(),
            "[optional] inject-ca-from is the Certificate, NAMESPACE/NAME, whose CA cert-manager is to put in.",
        ),
        name_flag("[optional] name is the name of the MutatingWebhookConfiguration."),
        value(
            "namespace",
            "string",
            |text: &str| text.parse::<Label>(),
            "[optional] namespace is the namespace that the webhook runs in; Pods in there are left alone.",
        )
        .default_value("apiserver-proxy"),
        value(
            "service",
            "string",
            |text: &str| text.parse::<Label>(),
            "[optional] service is the Service that the webhook is reached by.",
        )
        .default_value("apiserver-proxy-pod-webhook"),
        value("service-port", "int", cli::parse_port, "[optional] service-port is the port of that Service.")
            .default_value("443"),
        value(
            "url",
            "string",
            |text: &str| text.parse::<Url>(),
            "[optional] url is where the webhook is reached if not by a Service. The path is added if there is none.",
        ),
    ])
}

/// The manifest that these flags ask for.
///
/// # Errors
/// When they contradict each other.
pub(super) fn print(matches: &ArgMatches) -> Result<String, Stop> {
    let Label(namespace) = given(matches, "namespace")?;
    let Subdomain(name) = given(matches, "name")?;
    let certificate = matches.get_one::<Namespaced>("inject-ca-from");
    let bundle = matches.get_one::<CaBundle>("ca-bundle-file");
    if let (Some(certificate), Some(_)) = (certificate, bundle) {
        return contradiction(
            "inject-ca-from",
            &certificate.to_string(),
            "--ca-bundle-file says which CA it is",
        );
    }
    let ca = match (bundle, certificate) {
        (Some(CaBundle(bundle)), _) => format!("      caBundle: {bundle}\n"),
        (None, Some(_)) => {
            "      # caBundle is cert-manager's to fill in, from the annotation above.\n".to_owned()
        }
        (None, None) => {
            "      # caBundle is the webhook's to fill in, by --cert-secret and --webhook-configuration. Else
      # --ca-bundle-file=FILE puts one in, --inject-ca-from=NAMESPACE/CERTIFICATE has cert-manager do it.
"
            .to_owned()
        }
    };
    let annotations = certificate.map_or_else(String::new, |certificate| {
        format!("  annotations:\n    cert-manager.io/inject-ca-from: {}\n", quoted(&certificate.to_string()))
    });
    let client = match matches.get_one::<Url>("url") {
        Some(Url(url)) => {
            let chosen = |flag| matches.value_source(flag) != Some(ValueSource::DefaultValue);
            if chosen("service") || chosen("service-port") {
                return contradiction("url", url, "--service or --service-port says another way");
            }
            format!("      url: {}\n", quoted(url))
        }
        None => service(matches, namespace)?,
    };
    Ok(format!(
        "# Tells the API server to ask the webhook about every new Pod, and every debug container. Apply it last, when
# the webhook runs, and delete it first. Printed by: apiserver-proxy-pod-webhook manifest webhook
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: apiserver-proxy-pod-webhook
{annotations}webhooks:
  - name: {DEFAULT_NAME}
    admissionReviewVersions: [v1, v1beta1]
    clientConfig:
{ca}{client}    # A Pod without the variable still runs; a cluster that creates no Pods does not.
    failurePolicy: Ignore
    matchPolicy: Equivalent
    reinvocationPolicy: IfNeeded
    sideEffects: None
    timeoutSeconds: 2
    namespaceSelector:
      matchExpressions:
        # Its own Pods must start without it.
        - key: kubernetes.io/metadata.name
          operator: NotIn
          values: [{own}]
{wanted}    objectSelector:
      matchExpressions:
{wanted}    rules:
{rules}",
        name = quoted(name),
        own = quoted(namespace),
        wanted = not_opted_out(),
        rules = rules(true),
    ))
}

fn service(matches: &ArgMatches, namespace: &str) -> Result<String, Stop> {
    let (Label(service), port): (&Label, &u16) =
        (given(matches, "service")?, given(matches, "service-port")?);
    Ok(format!(
        "      service:
        namespace: {}
        name: {}
        port: {port}
        path: {}
",
        quoted(namespace),
        quoted(service),
        handler::PATH
    ))
}

fn contradiction<T>(flag: &str, given: &str, why: &str) -> Result<T, Stop> {
    Err(Stop::Mistake(format!("invalid argument {given:?} for \"--{flag}\" flag: {why}; give one of them")))
}
