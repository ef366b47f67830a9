//! Which endpoint a connection goes to. Pure, but for chance.

use std::{net::SocketAddr, sync::Arc};

use crate::endpoint::Endpoint;

/// How connections are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// To the one with the fewest that are open.
    #[default]
    LeastConnections,
    /// To one after the other.
    RoundRobin,
}

impl Balance {
    /// As a flag has them.
    pub const VALUES: [&str; 2] = ["least-connections", "round-robin"];

    /// The one of that name.
    #[must_use]
    pub fn from_value(value: &str) -> Option<Self> {
        match value {
            "least-connections" => Some(Self::LeastConnections),
            "round-robin" => Some(Self::RoundRobin),
            _ => None,
        }
    }
}

/// The best endpoint that was not tried: a healthy one before one that is suspected, and only when there is neither any
/// other, since a check may be wrong. `turn` counts connections. Ties are broken by chance, so that nodes that start at
/// the same time don't all choose the same.
#[must_use]
pub fn next<'a>(
    balance: Balance,
    endpoints: &'a [Arc<Endpoint>],
    tried: &[SocketAddr],
    turn: usize,
    random: &mut fastrand::Rng,
) -> Option<&'a Arc<Endpoint>> {
    let mut best: Option<(&Arc<Endpoint>, (Standing, u32))> = None;
    let mut ties = 0;
    let count = endpoints.len();
    for (index, endpoint) in endpoints.iter().enumerate() {
        if tried.contains(&endpoint.address) {
            continue;
        }
        let order = match balance {
            Balance::LeastConnections => endpoint.open(),
            Balance::RoundRobin => u32::try_from((index + count - turn % count) % count).unwrap_or(u32::MAX),
        };
        let rank = (Standing::of(endpoint), order);
        match best {
            Some((_, known)) if known < rank => {}
            Some((_, known)) if known == rank => {
                ties += 1;
                if random.u32(0..=ties) == 0 {
                    best = Some((endpoint, rank));
                }
            }
            _ => {
                ties = 0;
                best = Some((endpoint, rank));
            }
        }
    }
    best.map(|(endpoint, _)| endpoint)
}

/// How good an endpoint is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Healthy,
    Suspected,
    Failed,
}

impl Standing {
    fn of(endpoint: &Endpoint) -> Self {
        match (endpoint.is_healthy(), endpoint.is_suspected()) {
            (false, _) => Self::Failed,
            (true, true) => Self::Suspected,
            (true, false) => Self::Healthy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Endpoints, Occupied};

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    /// Endpoints with so many connections each.
    fn endpoints(open: &[u32]) -> (Endpoints, Vec<Occupied>) {
        let endpoints = Endpoints::default().update((1..).zip(open).map(|(port, _)| address(port)));
        let busy = endpoints.all().iter().zip(open);
        let busy = busy.flat_map(|(endpoint, open)| (0..*open).map(|_| endpoint.occupy())).collect();
        (endpoints, busy)
    }

    fn port(balance: Balance, endpoints: &Endpoints, tried: &[u16], turn: usize) -> Option<u16> {
        let tried: Vec<SocketAddr> = tried.iter().map(|port| address(*port)).collect();
        let mut random = fastrand::Rng::with_seed(turn as u64);
        next(balance, endpoints.all(), &tried, turn, &mut random).map(|endpoint| endpoint.address.port())
    }

    #[test]
    fn the_least_used_of_the_healthy_ones() {
        let (endpoints, _busy) = endpoints(&[3, 1, 2]);
        let next = |tried: &[u16]| port(Balance::LeastConnections, &endpoints, tried, 0);
        assert_eq!(next(&[]), Some(2));
        assert_eq!(next(&[2]), Some(3));
        assert_eq!(next(&[2, 3, 1]), None);
        endpoints.all()[1].set_health(false, false);
        assert_eq!(next(&[]), Some(3));
        assert_eq!(next(&[3, 1]), Some(2));
        for endpoint in endpoints.all() {
            endpoint.set_health(false, false);
        }
        assert_eq!(next(&[]), Some(2));
    }

    #[test]
    fn suspected_ones_come_after_the_healthy_ones_and_before_those_that_failed() {
        let (endpoints, _busy) = endpoints(&[1, 2, 3]);
        let next = |tried: &[u16]| port(Balance::LeastConnections, &endpoints, tried, 0);
        endpoints.all()[0].set_health(false, false);
        endpoints.all()[1].suspect();
        assert_eq!([next(&[]), next(&[3]), next(&[3, 2])], [Some(3), Some(2), Some(1)]);
        // All of them are as good as none of them.
        for endpoint in endpoints.all() {
            endpoint.set_health(true, false);
            endpoint.suspect();
        }
        assert_eq!([next(&[]), next(&[1]), next(&[1, 2])], [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn ties_are_broken_by_chance() {
        let (endpoints, _busy) = endpoints(&[1, 1, 1, 2]);
        let mut seen = [0; 5];
        for turn in 0..600 {
            seen[usize::from(port(Balance::LeastConnections, &endpoints, &[], turn).unwrap())] += 1;
        }
        assert_eq!((seen[0], seen[4]), (0, 0));
        assert!(seen[1..4].iter().all(|times| (140..260).contains(times)), "{seen:?}");
    }

    #[test]
    fn one_after_the_other() {
        let (endpoints, _busy) = endpoints(&[9, 0, 0]);
        let next = |tried: &[u16], turn| port(Balance::RoundRobin, &endpoints, tried, turn).unwrap();
        assert_eq!([0, 1, 2, 3, 4].map(|turn| next(&[], turn)), [1, 2, 3, 1, 2]);
        assert_eq!(next(&[2], 1), 3);
        endpoints.all()[0].set_health(false, false);
        assert_eq!([0, 1, 2].map(|turn| next(&[], turn)), [2, 2, 3]);
    }

    #[test]
    fn what_is_known_of_an_endpoint_stays_known() {
        let (endpoints, _busy) = endpoints(&[1, 1]);
        endpoints.all()[0].set_health(false, false);
        let updated = endpoints.update([address(3), address(1), address(3)]);
        let seen: Vec<_> =
            updated.all().iter().map(|one| (one.address.port(), one.is_healthy(), one.open())).collect();
        assert_eq!(seen, [(1, false, 1), (3, true, 0)]);
    }
}
