//! The variables that can be injected, and sets of them. Pure.

use std::sync::Arc;

use crate::fqdn::Fqdn;

/// A variable that this webhook can add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// `KUBERNETES_SERVICE_HOST`
    Host,
    /// `KUBERNETES_SERVICE_PORT`
    Port,
}

impl Variable {
    const ALL: [Self; 2] = [Self::Host, Self::Port];

    /// Its name in a container's environment.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "KUBERNETES_SERVICE_HOST",
            Self::Port => "KUBERNETES_SERVICE_PORT",
        }
    }

    /// The variable of that name, if it is one of these.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variable| variable.name() == name)
    }
}

/// A set of [`Variable`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Variables(u8);

impl Variables {
    /// Adds one.
    pub fn insert(&mut self, variable: Variable) {
        self.0 |= 1 << variable as u8;
    }

    /// Whether it is in there.
    #[must_use]
    pub fn contains(self, variable: Variable) -> bool {
        self.0 & (1 << variable as u8) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What every container is to have.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// With their values, which need no escapes in JSON; in the order in which they are added.
    pub variables: Arc<[(Variable, String)]>,
    /// Ephemeral containers too.
    pub ephemeral_containers: bool,
}

impl Injection {
    /// The API server's name, and its port if one is given.
    #[must_use]
    pub fn new(host: &Fqdn, port: Option<u16>, ephemeral_containers: bool) -> Self {
        let host = Some((Variable::Host, host.to_string()));
        let port = port.map(|port| (Variable::Port, port.to_string()));
        Self { variables: host.into_iter().chain(port).collect(), ephemeral_containers }
    }
}
