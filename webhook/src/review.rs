//! AdmissionReview requests, as far as they matter here. Pure.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>,
//! `k8s.io/api/admission/v1`.

use std::borrow::Cow;

use serde::{Deserialize, de::MapAccess};

use crate::{
    env::{Variable, Variables},
    json::{self, Key, Lenient, List, Malformed, Node, Object, Text, field, once},
};

/// The label by which a Pod stays as it is.
pub const INJECT_LABEL: &str = "apiserver-proxy.networking.gardener.cloud/inject";
/// Where kubelet marks the Pods of its static manifests.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// A version of the protocol; a request is answered in its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `admission.k8s.io/v1`
    V1,
    /// `admission.k8s.io/v1beta1`
    V1Beta1,
}

impl Version {
    /// As in `apiVersion`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// Why bytes are no AdmissionReview request that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum BadReview {
    /// Nothing there.
    #[error("the body is empty; send an AdmissionReview")]
    Empty,
    /// Not text.
    #[error("the body is not JSON: it is not UTF-8 from byte {0} on")]
    Encoding(usize),
    /// Nested too deep.
    #[error("the body is nested deeper than {} levels", json::MAX_DEPTH)]
    Depth,
    /// Not JSON, not of the right types, or a key twice.
    #[error("the body is not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON of another kind or version.
    #[error(
        "the body is kind {kind:?} of apiVersion {api_version:?}; expected AdmissionReview of admission.k8s.io/v1 or admission.k8s.io/v1beta1"
    )]
    Kind {
        /// As found.
        kind: String,
        /// As found.
        api_version: String,
    },
    /// No request in it.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// No uid in it.
    #[error("the AdmissionReview's request has no uid")]
    NoUid,
}

/// One request of an API server.
#[derive(Debug, PartialEq)]
pub struct Review<'a> {
    /// To answer in.
    pub version: Version,
    /// To echo.
    pub request: Request<'a>,
}

/// What is asked.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Names the request; never empty.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// Of the object.
    #[serde(borrow, default)]
    pub kind: Option<Object<Kind<'a>>>,
    /// Such as `ephemeralcontainers`; empty for the object itself.
    #[serde(borrow, default)]
    pub sub_resource: Option<Cow<'a, str>>,
    /// CREATE, UPDATE, DELETE or CONNECT.
    #[serde(borrow, default)]
    pub operation: Option<Cow<'a, str>>,
    /// The object, read as a Pod.
    #[serde(default)]
    pub object: Lenient<Pod>,
    /// The object before an update.
    #[serde(default)]
    pub old_object: Lenient<Pod>,
}

/// A GroupVersionKind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Kind<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow, default)]
    version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
}

impl Kind<'_> {
    /// Whether it is a Pod of core/v1.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.group.is_empty() && self.version == "v1" && self.kind == "Pod"
    }
}

impl std::fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = if self.group.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{} {}", self.group, self.version, self.kind)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Option<Object<Request<'a>>>,
}

impl<'a> Review<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`BadReview`] for whatever an API server does not send. A malformed Pod is no error here.
    pub fn parse(body: &'a [u8]) -> Result<Self, BadReview> {
        if body.trim_ascii().is_empty() {
            return Err(BadReview::Empty);
        }
        let text = std::str::from_utf8(body).map_err(|error| BadReview::Encoding(error.valid_up_to()))?;
        if json::deeper_than(json::MAX_DEPTH, text) {
            return Err(BadReview::Depth);
        }
        let Object(envelope) = serde_json::from_str::<Object<Envelope<'a>>>(text)?;
        let version = match (&*envelope.kind, &*envelope.api_version) {
            ("AdmissionReview", "admission.k8s.io/v1") => Version::V1,
            ("AdmissionReview", "admission.k8s.io/v1beta1") => Version::V1Beta1,
            (kind, api_version) => {
                let brief = |text: &str| text.chars().take(100).collect();
                return Err(BadReview::Kind { kind: brief(kind), api_version: brief(api_version) });
            }
        };
        let Object(request) = envelope.request.ok_or(BadReview::NoRequest)?;
        if request.uid.is_empty() { Err(BadReview::NoUid) } else { Ok(Self { version, request }) }
    }
}

/// What matters of a Pod.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pod {
    /// The value of [`INJECT_LABEL`].
    pub inject: Option<String>,
    /// It stands for a static Pod of a node.
    pub mirror: bool,
    /// Nothing where it has none.
    pub spec: Option<PodSpec>,
}

/// The containers of a Pod; empty where a list is absent or null.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodSpec {
    /// `initContainers`
    pub init_containers: Vec<Container>,
    /// `containers`
    pub containers: Vec<Container>,
    /// `ephemeralContainers`
    pub ephemeral_containers: Vec<Container>,
}

/// What matters of a container.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Container {
    /// Empty where it has none.
    pub name: String,
    /// Nothing where `env` is absent or null.
    pub env: Option<Env>,
}

/// What matters of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Env {
    /// Entries in the list.
    pub len: usize,
    /// Those of ours that are among them.
    pub present: Variables,
}

impl<'de> Node<'de> for Pod {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        let (mut metadata, mut spec) = (None, None);
        while let Some(Key(key)) = object.next_key()? {
            match &*key {
                "metadata" => once::<_, Metadata>(&mut object, &mut metadata, &key)?,
                "spec" => once::<_, PodSpec>(&mut object, &mut spec, &key)?,
                _ => skip(&mut object)?,
            }
        }
        let read = || {
            let Metadata { inject, mirror } = field(metadata, "metadata")?.unwrap_or_default();
            Ok(Some(Self { inject, mirror, spec: field(spec, "spec")? }))
        };
        Ok(Lenient(read()))
    }
}

fn skip<'de, A: MapAccess<'de>>(object: &mut A) -> Result<(), A::Error> {
    object.next_value::<serde::de::IgnoredAny>().map(drop)
}

#[derive(Default)]
struct Metadata {
    inject: Option<String>,
    mirror: bool,
}

impl<'de> Node<'de> for Metadata {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        let (mut labels, mut annotations) = (None, None);
        while let Some(Key(key)) = object.next_key()? {
            match &*key {
                "labels" => once::<_, Labels>(&mut object, &mut labels, &key)?,
                "annotations" => once::<_, Annotations>(&mut object, &mut annotations, &key)?,
                _ => skip(&mut object)?,
            }
        }
        let read = || {
            let inject = field(labels, "labels")?.and_then(|Labels(inject)| inject);
            let mirror = field(annotations, "annotations")?.is_some_and(|Annotations(mirror)| mirror);
            Ok(Some(Self { inject, mirror }))
        };
        Ok(Lenient(read()))
    }
}

struct Labels(Option<String>);

impl<'de> Node<'de> for Labels {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        let mut inject = None;
        while let Some(Key(key)) = object.next_key()? {
            if key == INJECT_LABEL {
                once::<_, Text>(&mut object, &mut inject, &key)?
            } else {
                skip(&mut object)?
            }
        }
        let inject = field(inject, INJECT_LABEL).map(|inject| inject.map(|Text(value)| value));
        Ok(Lenient(inject.map(|inject| Some(Self(inject)))))
    }
}

struct Annotations(bool);

impl<'de> Node<'de> for Annotations {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        let mut mirror = false;
        while let Some(Key(key)) = object.next_key()? {
            mirror |= key == MIRROR_ANNOTATION;
            skip(&mut object)?;
        }
        Ok(Lenient(Ok(Some(Self(mirror)))))
    }
}

impl<'de> Node<'de> for PodSpec {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        let (mut init, mut containers, mut ephemeral) = (None, None, None);
        while let Some(Key(key)) = object.next_key()? {
            match &*key {
                "initContainers" => once(&mut object, &mut init, &key)?,
                "containers" => once(&mut object, &mut containers, &key)?,
                "ephemeralContainers" => once(&mut object, &mut ephemeral, &key)?,
                _ => skip(&mut object)?,
            }
        }
        let list = |slot, key| field(slot, key).map(|list| list.map(|List(list)| list).unwrap_or_default());
        let read = || {
            Ok::<_, Malformed>(Some(Self {
                init_containers: list(init, "initContainers")?,
                containers: list(containers, "containers")?,
                ephemeral_containers: list(ephemeral, "ephemeralContainers")?,
            }))
        };
        Ok(Lenient(read()))
    }
}

impl<'de> Node<'de> for Container {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        let (mut name, mut env) = (None, None);
        while let Some(Key(key)) = object.next_key()? {
            match &*key {
                "name" => once(&mut object, &mut name, &key)?,
                "env" => once::<_, Env>(&mut object, &mut env, &key)?,
                _ => skip(&mut object)?,
            }
        }
        let read = || {
            let name = field(name, "name")?.map(|Text(name)| name).unwrap_or_default();
            Ok(Some(Self { name, env: field(env, "env")? }))
        };
        Ok(Lenient(read()))
    }
}

impl<'de> Node<'de> for Env {
    const EXPECTED: &'static str = "a list";

    fn list<A: serde::de::SeqAccess<'de>>(list: A) -> Result<Lenient<Self>, A::Error> {
        let Lenient(entries) = List::<EnvEntry>::list(list)?;
        Ok(Lenient(entries.map(|entries| {
            entries.map(|List(entries)| {
                let mut env = Self { len: entries.len(), ..Self::default() };
                entries
                    .iter()
                    .filter_map(|EnvEntry(variable)| *variable)
                    .for_each(|ours| env.present.insert(ours));
                env
            })
        })))
    }
}

/// An entry of `env`: which of our variables it sets, if any.
struct EnvEntry(Option<Variable>);

impl<'de> Node<'de> for EnvEntry {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        let mut name = None;
        while let Some(Key(key)) = object.next_key()? {
            if key == "name" { once::<_, EnvName>(&mut object, &mut name, &key)? } else { skip(&mut object)? }
        }
        let variable = field(name, "name").map(|name| name.and_then(|EnvName(variable)| variable));
        Ok(Lenient(variable.map(|variable| Some(Self(variable)))))
    }
}

struct EnvName(Option<Variable>);

impl Node<'_> for EnvName {
    const EXPECTED: &'static str = "a string";

    fn text(name: &str) -> Option<Self> {
        Some(Self(Variable::from_name(name)))
    }
}
