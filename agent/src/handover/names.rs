//! How a claim is written as the name of a socket, and found in a list of names. Pure.
//!
//! `apiserver-proxy-sidecar/1/INSTANCE/ADDRESS/PORT/RULES/INTERFACE`, here with nftables on `lo`:
//! `apiserver-proxy-sidecar/1/00c0ffee00c0ffee/10.96.0.2/443/n/lo`. The 1 is the format's version: agents of the
//! future have to announce themselves in this one too. `ss -xl` shows the names, with an `@` before them.

use std::{collections::BTreeSet, fmt, str};

use super::claim::{Claim, InstanceId, Rules};

/// What every name starts with.
pub(super) const PREFIX: &str = "apiserver-proxy-sidecar/1/";

/// Bytes that a name can have: `sun_path` has 108, and the first of an abstract name is 0 (unix(7)).
///
/// The longest name has 106: 26 for the prefix, 16 for the instance, 39 for an IPv6 address, 5 for the port,
/// 1 for the rules, 15 for the device, and four slashes.
pub const LONGEST_NAME: usize = 107;

/// The name of a socket: who claims what. Written without the leading 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Who.
    pub instance: InstanceId,
    /// What.
    pub claim: Claim,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, claim: Claim { address, port, rules, interface } } = self;
        write!(f, "{PREFIX}{instance}/{}/{port}/{}/{interface}", address.ip(), rules.code())
    }
}

impl Name {
    /// Reads a name exactly as it is written by us; any other spelling is somebody else's.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.split('/');
        let instance = InstanceId(u64::from_str_radix(parts.next()?, 16).ok()?);
        let address = parts.next()?.parse().ok()?;
        let port = parts.next()?.parse().ok()?;
        let code = parts.next()?;
        let rules = Rules::ALL.into_iter().find(|rules| rules.code() == code)?;
        let interface = parts.next()?.parse().ok()?;
        let name = Self { instance, claim: Claim { address, port, rules, interface } };
        (name.to_string() == text).then_some(name)
    }
}

/// The names in a listing of the kernel's Unix sockets (`/proc/net/unix`, proc(5)); each once, whatever it stands
/// in between. Anything else is passed over.
///
/// A line is `Num RefCount Protocol Flags Type St Inode Path`; in an abstract name every 0 is shown as `@`, and
/// nothing is escaped. So other processes can write here what they like, line feeds included: a name found is a
/// hint, and has yet to be looked up. Names of ours have no white space, and begin on a line of their own.
///
/// Any bytes will do, and none panic.
#[must_use]
pub fn parse_names(listing: &[u8]) -> BTreeSet<Name> {
    let name_in = |line: &[u8]| {
        let path = line.rsplit(|byte| *byte == b' ').next()?;
        Name::read(str::from_utf8(path.strip_prefix(b"@")?).ok()?)
    };
    listing.split(|byte| *byte == b'\n').filter_map(name_in).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::{super::claim::Kind, *};

    fn name(instance: u64, address: &str, port: u16, rules: Rules, interface: &str) -> Name {
        let claim = Claim {
            address: address.parse().unwrap(),
            port: port.try_into().unwrap(),
            rules,
            interface: interface.parse().unwrap(),
        };
        Name { instance: InstanceId(instance), claim }
    }

    #[test]
    fn names_are_written_and_read_back() {
        let longest = "fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1111";
        for (name, text) in [
            (name(0xc0ffee, "10.96.0.2", 443, Rules::None, "lo"), "0000000000c0ffee/10.96.0.2/443/-/lo"),
            (name(1, "fd00::2", 1, Rules::In(Kind::Iptables), "e@?"), "0000000000000001/fd00::2/1/i/e@?"),
            (name(2, "10.96.0.2", 443, Rules::Undecided, "größe"), "0000000000000002/10.96.0.2/443/?/größe"),
            (
                name(u64::MAX, longest, 65535, Rules::In(Kind::Nftables), "fifteen-bytes-1"),
                "ffffffffffffffff/fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1111/65535/n/fifteen-bytes-1",
            ),
        ] {
            let text = format!("{PREFIX}{text}");
            assert_eq!(name.to_string(), text);
            assert_eq!(Name::read(&text), Some(name));
            assert!(text.len() < LONGEST_NAME, "{text}");
        }
    }

    #[test]
    fn other_spellings_are_not_ours() {
        for rest in [
            "",
            "lock",
            "c0ffee/10.96.0.2/443/-/lo",
            "0000000000C0FFEE/10.96.0.2/443/-/lo",
            "+000000000c0ffee/10.96.0.2/443/-/lo",
            "10000000000c0ffee/10.96.0.2/443/-/lo",
            "0000000000c0ffee/10.96.0.2/443/-",
            "0000000000c0ffee/10.96.0.2/443/-/",
            "0000000000c0ffee/10.96.0.2/443/-/lo/",
            "0000000000c0ffee/10.96.0.2/443/-/lo/more",
            "0000000000c0ffee/10.96.0.2/443/-/sixteen-bytes-xx",
            "0000000000c0ffee/10.96.0.2/443/iptables/lo",
            "0000000000c0ffee/10.96.0.2/0/-/lo",
            "0000000000c0ffee/10.96.0.2/0443/-/lo",
            "0000000000c0ffee/10.96.0.2/65536/-/lo",
            "0000000000c0ffee/10.96.0.2/32/443/-/lo",
            "0000000000c0ffee/127.0.0.1/443/-/lo",
            "0000000000c0ffee/FD00::2/443/-/lo",
            "0000000000c0ffee/fd00:0::2/443/-/lo",
        ] {
            assert_eq!(Name::read(&format!("{PREFIX}{rest}")), None, "{rest}");
        }
        assert_eq!(Name::read("apiserver-proxy-sidecar/2/0000000000c0ffee/10.96.0.2/443/-/lo"), None);
    }

    #[test]
    fn a_listing_is_searched_for_names() {
        let ours = "@apiserver-proxy-sidecar/1/0000000000000007/10.96.0.2/443/n/lo";
        let columns = "0000000021655f5c: 00000002 00000000 00010000 0001 01  1058";
        let one = BTreeSet::from([name(7, "10.96.0.2", 443, Rules::In(Kind::Nftables), "lo")]);
        let cases: &[(&str, String, bool)] = &[
            ("empty", String::new(), false),
            (
                "heading and others",
                format!("Num Path\n{columns}\n{columns} /run/x\n{columns} @/tmp/y\n"),
                false,
            ),
            ("one", format!("Num Path\n{columns} {ours}\n{columns} @z\n"), true),
            ("twice, as with a connection that waits", format!("{columns} {ours}\n{columns} {ours}\n"), true),
            ("the last line is cut", format!("{columns} @z\n{columns} {}", ours.replace("n/lo", "n")), false),
            ("in a path", format!("{columns} /run/{ours}\n"), false),
            ("with something behind it", format!("{columns} {ours} x\n"), false),
            ("a 0 behind it", format!("{columns} {ours}\0\n"), false),
            // Looks like one of ours, and has to be looked up.
            ("written by somebody, with a line feed", format!("{columns} @x\n0: {ours}\n"), true),
        ];
        for (case, listing, found) in cases {
            let wanted = if *found { one.clone() } else { BTreeSet::new() };
            assert_eq!(parse_names(listing.as_bytes()), wanted, "{case}");
        }
        let mut broken = format!("{columns} @").into_bytes();
        broken.extend([0xff, 0xfe, b'\n']);
        broken.extend(format!("{columns} {ours}\n").bytes());
        assert_eq!(parse_names(&broken), one, "not UTF-8");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_names(&bytes);
        }

        #[test]
        fn what_almost_looks_like_a_name_is_one_or_is_not(
            rest in "[0-9a-f]{14,17}/[0-9.:a-f]{1,40}/[0-9]{1,6}/[-?inx]/[a-z@é/]{0,16}"
        ) {
            let text = format!("{PREFIX}{rest}");
            if let Some(name) = Name::read(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn every_name_is_found_and_fits(
            instance: u64, ip: std::net::IpAddr, port: NonZeroU16, code in 0_usize..4,
            interface in "[!-.0-9;-~é]{1,15}"
        ) {
            let (Ok(address), Ok(interface)) = (ip.to_string().parse(), interface.parse()) else {
                return Ok(()); // No address or no device that an agent could have.
            };
            let claim = Claim { address, port, rules: Rules::ALL[code], interface };
            let name = Name { instance: InstanceId(instance), claim };
            prop_assert!(name.to_string().len() <= LONGEST_NAME);
            let listing = format!("0: 2 0 10000 1 1 99 @{name}\n");
            prop_assert_eq!(parse_names(listing.as_bytes()), BTreeSet::from([name]));
        }
    }
}
