//! Rules of others, in which DNAT is looked for.

use agent::{
    conflict::{
        Conflict, Kind, Question,
        elements::{Element, Shape, elements},
        packet::{Cell, Packet},
        rule::{self, Rule},
    },
    wanted::LocalAddress,
};

/// An address that DNAT leads away from, in the seeds.
const V4: &str = "10.96.0.1";
const V6: &str = "fd00:96::1";
/// Bytes of all registers together.
const REGISTERS: usize = 64;

/// The expressions of a rule: who knows more of a packet does not come to a contrary result.
pub fn conflict_rule(data: &[u8]) {
    let _ = rule::verdict(data);
    for address in [V4, V6] {
        let whole = Packet::to(address.parse().unwrap(), 443);
        let nothing = Packet::any(whole.family);
        let port = Packet { port: Some(443), ..nothing };
        for (less, more) in [(nothing, port), (nothing, whole), (port, whole)] {
            match (rule::read(data, less), rule::read(data, more)) {
                (None, more) => assert_eq!(more, None, "what fits no packet does not fit this one"),
                (Some(less), Some(more)) => {
                    bounded(&less, data);
                    assert!(more.fit.certain || !less.fit.certain, "{less:?} {more:?}");
                }
                (Some(less), None) => assert!(!less.fit.certain, "{less:?}"),
            }
        }
        if let Some(whole) = rule::read(data, whole) {
            bounded(&whole, data);
        }
    }
}

fn bounded(rule: &Rule, data: &[u8]) {
    // The shortest expression that looks into a set has a header, a name, a set and a register.
    assert!(rule.members.len() <= data.len() / 16);
    for lookup in rule.members.iter().chain(&rule.map) {
        assert!(lookup.key.len() <= REGISTERS && lookup.set.len() < data.len());
    }
}

/// A set and its elements, whose attributes are read from the same bytes: an element is found by its own key, and by
/// no other of the same length.
pub fn conflict_elements(data: &[u8]) {
    let shape = Shape::read(data).unwrap_or(Shape { key_length: 4, ranges: false });
    let found: Vec<Element<'_>> = elements(data).collect();
    assert!(found.len() <= data.len() / 4);
    for element in &found {
        let Some(key) = element.key else {
            assert!(shape.may_be(element, &[]), "what has no key is for all");
            continue;
        };
        let own: Vec<Cell> = key.iter().map(|byte| Cell::of(*byte)).collect();
        assert!(shape.may_be(element, &own));
        assert!(
            shape.may_be(element, &vec![Cell::default(); key.len()]),
            "what is not known may be the same"
        );
        for at in 0..key.len().min(REGISTERS) {
            let mut other = own.clone();
            other[at] = Cell::of(!key[at]);
            assert_eq!(shape.may_be(element, &other), shape.ranges);
        }
    }
}

/// A nat table as `iptables-legacy -S` prints it: what is certain is found whatever else is there, and what is kept
/// away from everything is not.
pub fn conflict_legacy(data: &[u8]) {
    let printed = String::from_utf8_lossy(data);
    // A table is of one family; two colons in a row are in every table of the other.
    let (address, other) = if printed.contains("::") { (V6, "[2001:db8::1]:1") } else { (V4, "192.0.2.1:1") };
    let address: LocalAddress = address.parse().unwrap();
    let question = |rules| Question { addresses: vec![address], port: 443.try_into().unwrap(), rules };
    let look = |rules, text: &str| {
        let found = question(rules).look_through(text, "iptables-legacy", address.ip());
        told_as_asked(&found, &question(rules), text);
        found
    };
    let (away, targets) = (look(false, &printed), look(true, &printed));
    assert!(away.len() <= 2, "one a hook");

    let first = |rule: &str| format!("-A PREROUTING {rule}\n-A OUTPUT {rule}\n{printed}");
    assert_eq!(look(false, &first("-j ACCEPT")), [], "nothing is translated that is accepted before");
    let taken = first(&format!("-d {address} -p tcp -m tcp --dport 443 -j DNAT --to-destination {other}"));
    assert_eq!(look(false, &taken).len(), 2);
    let ours = std::net::SocketAddr::new(address.ip(), 443);
    let target = format!("-A OTHERS -p tcp -j DNAT --to-destination {ours}\n{printed}");
    assert_eq!(look(true, &target).len(), targets.len() + 1);
    // Nothing leads to a chain that nobody names, with backslashes in it or without.
    if !printed.replace('\\', "").contains("NOWHERE") {
        let beside = format!("-A NOWHERE -j DNAT --to-destination {other}\n{printed}");
        assert_eq!((look(false, &beside), look(true, &beside)), (away, targets));
    }
}

fn told_as_asked(found: &[Conflict], question: &Question, printed: &str) {
    assert!(found.len() <= printed.lines().count());
    for conflict in found {
        let kind = if question.rules { Kind::Target } else { Kind::Destination };
        assert_eq!((conflict.kind, conflict.port), (kind, question.port));
        assert_eq!(conflict.address, question.addresses[0].ip());
        let chains = conflict.place.strip_prefix("iptables-legacy nat ").expect("the program and the table");
        // At most nine deep; a name may itself hold what stands between two.
        assert!(chains.split(" > ").all(|chain| printed.contains(chain)), "{chains}");
    }
}
