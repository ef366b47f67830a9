//! Headers of both versions, read by a parser that somebody else wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;

use proptest::prelude::*;
use proxy::protocol::{Protocol, Route, tlv::Tlv};
use proxy_header::{ParseConfig, ProxyHeader, Tlv as Seen};

/// Two addresses of one family, as a listener sees them.
fn route() -> impl Strategy<Value = Route> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
    let both = prop_oneof![(v4.clone(), v4).boxed(), (v6.clone(), v6).boxed()];
    both.prop_map(|(source, destination)| Route::new(source, destination))
}

/// Of types that mean nothing to the parser.
fn tlvs() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    prop::collection::vec((0xE0_u8..=0xEF, prop::collection::vec(any::<u8>(), 0..200)), 0..20)
}

fn written((kind, value): &(u8, Vec<u8>)) -> Tlv {
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kind:#04x}=hex:{hex}").parse().unwrap()
}

fn ends(header: &ProxyHeader<'_>) -> Option<(SocketAddr, SocketAddr)> {
    header.proxied_address().map(|address| (address.source, address.destination))
}

proptest! {
    #[test]
    fn version_1(route in route()) {
        let bytes = Protocol::ProxyV1.greeting(Some(route));
        prop_assert!(bytes.len() <= 107);
        let (header, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!(ends(&header), Some((route.source, route.destination)));
    }

    #[test]
    fn version_2(route in route(), tlvs in tlvs()) {
        let protocol = Protocol::ProxyV2(tlvs.iter().map(written).collect());
        let bytes = protocol.greeting(Some(route));
        let (header, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!(ends(&header), Some((route.source, route.destination)));
        let seen: Vec<_> = header
            .tlvs()
            .map(|tlv| match tlv.unwrap() {
                Seen::Custom(kind, value) => (kind, value.to_vec()),
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(seen, tlvs);
    }

    #[test]
    fn of_our_own(tlvs in tlvs()) {
        let protocol = Protocol::ProxyV2(tlvs.iter().map(written).collect());
        for protocol in [Protocol::ProxyV1, protocol] {
            let bytes = protocol.greeting(None);
            let (header, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
            prop_assert_eq!(length, bytes.len());
            prop_assert_eq!(ends(&header), None);
        }
    }
}
