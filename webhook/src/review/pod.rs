//! A Pod, as far as it matters here. Pure.
//!
//! Everything else in it is skipped where it stands. What has not the shape that Kubernetes gives it is told with
//! its path, and is no error: the API server refuses such a Pod itself.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess};

use crate::{
    env::{Variable, Variables},
    json::{Key, Lenient, List, Malformed, Node, Text, field, once},
};

/// The label by which a Pod stays as it is.
pub const INJECT_LABEL: &str = "apiserver-proxy.networking.gardener.cloud/inject";
/// Where kubelet marks the Pods of its static manifests.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Env {
    /// Entries in the list.
    pub len: u32,
    /// Those of ours that are among them.
    pub present: Variables,
    /// The proxy's variables that have a value of their own, and not one from elsewhere: of each its last entry, which
    /// is the one that counts for kubelet.
    pub plain: Vec<Plain>,
}

/// A variable of the proxy's with a value that is written in the Pod.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain {
    /// Which.
    pub variable: Variable,
    /// Its place in the list.
    pub at: u32,
    /// Empty where it has none.
    pub value: String,
}

/// A value may hold a password.
impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.variable, self.at)
    }
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
    object.next_value::<IgnoredAny>().map(drop)
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
            if key == MIRROR_ANNOTATION && std::mem::replace(&mut mirror, true) {
                return Err(A::Error::custom(format_args!("duplicate key {MIRROR_ANNOTATION:?}")));
            }
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

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Lenient<Self>, A::Error> {
        let mut env = Ok(Self::default());
        while let Some(Lenient(entry)) = list.next_element::<Lenient<EnvEntry>>()? {
            let Ok(so_far) = &mut env else { continue };
            match entry {
                Ok(Some(EnvEntry { variable, plain })) => {
                    if let Some(variable) = variable {
                        so_far.present.insert(variable);
                        so_far.plain.retain(|before| before.variable != variable);
                        so_far.plain.extend(plain.map(|value| Plain { variable, at: so_far.len, value }));
                    }
                    so_far.len += 1;
                }
                Ok(None) => env = Err(Malformed(format!("[{}] is null, not an object", so_far.len))),
                Err(malformed) => env = Err(malformed.under(format_args!("[{}]", so_far.len))),
            }
        }
        Ok(Lenient(env.map(Some)))
    }
}

/// An entry of `env`: which of our variables it sets, if any, and to what, if that is the proxy's and written here.
struct EnvEntry {
    variable: Option<Variable>,
    plain: Option<String>,
}

impl<'de> Node<'de> for EnvEntry {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        let (mut name, mut value, mut elsewhere) = (None, None, false);
        while let Some(Key(key)) = object.next_key()? {
            match &*key {
                "name" => once::<_, EnvName>(&mut object, &mut name, &key)?,
                // API servers send the name first, so other variables' values are skipped.
                "value" if may_be_of_proxy(name.as_ref()) => {
                    once::<_, Text>(&mut object, &mut value, &key)?;
                }
                "valueFrom" => elsewhere |= object.next_value::<Option<IgnoredAny>>()?.is_some(),
                _ => skip(&mut object)?,
            }
        }
        let read = || {
            let variable = field(name, "name")?.and_then(|EnvName(variable)| variable);
            // Not written, or not a string, which no API server lets through.
            let value = value.unwrap_or_default().0.unwrap_or_default();
            let plain = (!elsewhere && variable.is_some_and(Variable::is_of_proxy))
                .then(|| value.map(|Text(value)| value).unwrap_or_default());
            Ok(Some(Self { variable, plain }))
        };
        Ok(Lenient(read()))
    }
}

fn may_be_of_proxy(name: Option<&Lenient<EnvName>>) -> bool {
    match name {
        None => true,
        Some(Lenient(Ok(Some(EnvName(Some(variable)))))) => variable.is_of_proxy(),
        Some(_) => false,
    }
}

struct EnvName(Option<Variable>);

impl Node<'_> for EnvName {
    const EXPECTED: &'static str = "a string";

    fn text(name: &str) -> Option<Self> {
        Some(Self(Variable::from_name(name)))
    }
}
