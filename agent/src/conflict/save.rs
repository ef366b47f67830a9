//! The rules of the legacy interface, as `iptables-legacy -S` prints them. Pure, and for any text at all.
//!
//! Source: iptables(8), iptables-extensions(8).

use std::{convert::Infallible, net::IpAddr};

use super::{
    packet::{Answer, Fit, Packet},
    translation::{Part, Translation},
    values::{addresses, destination, local, network, part, ports, range},
    walk::{Source, Step, Then},
};

/// A printed table. Nothing of it is kept but the text: a chain is searched for when it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a>(pub &'a str);

impl<'a> Saved<'a> {
    /// The chain of each rule, and what is printed after it.
    fn rules(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.lines().filter_map(|line| line.strip_prefix("-A ")?.split_once(' '))
    }

    /// The chains that send packets to an address and port.
    #[must_use]
    pub fn targets(self, address: IpAddr, port: u16) -> Vec<&'a str> {
        let any = Packet { port: None, destination: None, ..Packet::to(address, port) };
        let leads_here = |line: &str| match step(line, any) {
            Some(Step { then: Then::Translate(translation), .. }) => {
                // Where the port stays, the rule must be one for our port.
                let stays = matches!(translation.port, Part::Same);
                translation.leads_to(address, port)
                    && (!stays || step(line, Packet { port: Some(port), ..any }).is_some())
            }
            _ => false,
        };
        self.rules().filter(|(_, line)| leads_here(line)).map(|(chain, _)| chain).collect()
    }
}

impl Source for Saved<'_> {
    type Error = Infallible;

    fn chain(&mut self, name: &str, packet: Packet) -> Result<Vec<Step>, Infallible> {
        let of_chain = self.rules().filter(|(chain, _)| *chain == name);
        let fitting = of_chain.filter_map(|(_, line)| step(line, packet));
        Ok(fitting.filter(|step| step.then != Then::Next).collect())
    }
}

/// Reads what follows `-A CHAIN`. Nothing if the rule does not fit the packet.
fn step(line: &str, packet: Packet) -> Option<Step> {
    let (mut fit, mut then, mut inverted) = (Fit::ALL, Then::Next, false);
    let mut words = words(line);
    while let Some(Word { text, quoted }) = words.next() {
        if quoted || !text.starts_with('-') {
            // The value of an option that is not known here, as a rule.
            inverted = text == "!" && !quoted;
            continue;
        }
        let mut value = || words.next().map(|word| word.text).unwrap_or_default();
        let answer = match text.as_str() {
            "-j" | "-g" => {
                then = target(value(), text == "-g");
                Answer::known(true)
            }
            "--to-destination" => {
                then = Then::Translate(destination(&value()));
                Answer::known(true)
            }
            "--to-ports" => {
                if let Then::Translate(translation) = &mut then {
                    translation.port = range(&value()).map_or(Part::Unknown, part);
                }
                Answer::known(true)
            }
            "-m" => match value().as_str() {
                "comment" | "tcp" | "multiport" | "addrtype" | "iprange" => Answer::known(true),
                _ => Answer::UNKNOWN,
            },
            "--comment" => {
                value();
                Answer::known(true)
            }
            "-p" => Answer::known(matches!(value().as_str(), "tcp" | "6" | "all" | "0")),
            "-d" => network(&value(), packet),
            "--dst-range" => addresses(&value(), packet),
            "--dport" => ports(std::iter::once(value().as_str()), packet),
            "--dports" => ports(value().split(','), packet),
            "--dst-type" => local(&value(), packet),
            // To be random or persistent is no condition; of others nobody can say.
            _ if then != Then::Next => Answer::known(true),
            _ => Answer::UNKNOWN,
        };
        fit = fit.and(answer.inverted_if(inverted))?;
        inverted = false;
    }
    Some(Step { fit, then })
}

/// A word of a line; quoted ones are never options.
struct Word {
    text: String,
    quoted: bool,
}

/// Splits a line as iptables quotes it: in double quotes, with backslashes before what would end them.
fn words(line: &str) -> impl Iterator<Item = Word> {
    let mut rest = line.chars().peekable();
    std::iter::from_fn(move || {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        rest.peek()?;
        let (mut text, quoted) = (String::new(), rest.next_if_eq(&'"').is_some());
        while let Some(c) = rest.next() {
            match c {
                '\\' if quoted => text.extend(rest.next()),
                '"' if quoted => break,
                c if c.is_whitespace() && !quoted => break,
                c => text.push(c),
            }
        }
        Some(Word { text, quoted })
    })
}

/// What a target does. What is no chain has no rules, so it does nothing.
fn target(name: String, goto: bool) -> Then {
    match name.as_str() {
        "ACCEPT" | "DROP" | "QUEUE" | "REJECT" => Then::Stop,
        "RETURN" => Then::Return,
        // Where to comes next.
        "DNAT" => Then::Translate(Translation { address: Part::Unknown, port: Part::Unknown }),
        "REDIRECT" => Then::Translate(Translation { address: Part::Unknown, port: Part::Same }),
        _ if goto => Then::Goto(name),
        _ => Then::Jump(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conflict::walk::translated;
    use proptest::prelude::*;

    fn ours() -> Packet {
        Packet::to("10.96.0.1".parse().unwrap(), 443)
    }

    fn fit(line: &str) -> Option<(bool, bool)> {
        step(line, ours()).map(|step| (step.fit.certain, step.fit.names))
    }

    #[test]
    fn conditions_are_read() {
        for (line, expected) in [
            ("-p tcp -m tcp --dport 443", Some((true, false))),
            (
                "-d 10.96.0.1/32 -p tcp -m comment --comment \"a \\\" -j DNAT\" -m tcp --dport 443",
                Some((true, true)),
            ),
            ("-d 10.96.0.0/24", Some((true, true))),
            ("-d 10.0.0.1/255.0.0.255", Some((true, true))),
            ("-d 10.96.0.2/32", None),
            ("-d fd00::2/128", None),
            ("! -d 10.96.0.2/32", Some((true, false))),
            ("! -d 10.96.0.1/32", None),
            ("-s 10.96.0.1/32", Some((false, false))),
            ("-s 10.244.0.0/16 -d 10.96.0.1/32", Some((false, true))),
            ("-p udp -m udp --dport 443", None),
            ("! -p tcp", None),
            ("-p tcp -m tcp --dport 80", None),
            ("-p tcp -m tcp ! --dport 80", Some((true, false))),
            ("-p tcp -m tcp --dport 400:500", Some((true, false))),
            ("-p tcp -m tcp --dport 1024:65535", None),
            ("-p tcp -m tcp --sport 80", Some((false, false))),
            ("-p tcp -m multiport --dports 80,443", Some((true, false))),
            ("-p tcp -m multiport --dports 80,1000:2000", None),
            ("-m addrtype --dst-type LOCAL", Some((true, true))),
            ("-m addrtype --dst-type BROADCAST", None),
            ("-m addrtype ! --dst-type LOCAL", None),
            ("-m iprange --dst-range 10.96.0.0-10.96.0.9", Some((true, true))),
            ("-m iprange --dst-range 10.96.0.2-10.96.0.9", None),
            ("-m statistic --mode random --probability 0.5", Some((false, false))),
            ("-m string --string \"-d 10.96.0.9\"", Some((false, false))),
        ] {
            assert_eq!(fit(line), expected, "{line}");
        }
    }

    const KUBE: &str = "-P PREROUTING ACCEPT\n-N KUBE-SERVICES\n-N KUBE-SVC-X\n-N KUBE-SEP-Y\n\
        -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
        -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment \"default/kubernetes:https cluster IP\" \
        -m tcp --dport 443 -j KUBE-SVC-X\n\
        -A KUBE-SVC-X -m comment --comment \"default/kubernetes:https\" -j KUBE-SEP-Y\n\
        -A KUBE-SEP-Y -s 192.168.1.1/32 -m comment --comment \"default/kubernetes:https\" -j KUBE-MARK-MASQ\n\
        -A KUBE-SEP-Y -p tcp -m comment --comment \"default/kubernetes:https\" -m tcp -j DNAT \
        --to-destination 192.168.1.1:6443\n";

    #[test]
    fn chains_are_followed() {
        let Ok(found) = translated(&mut Saved(KUBE), "PREROUTING", ours());
        assert_eq!(found.unwrap(), ["KUBE-SERVICES", "KUBE-SVC-X", "KUBE-SEP-Y"]);
        for other in [Packet::to("10.96.0.2".parse().unwrap(), 443), Packet { port: Some(80), ..ours() }] {
            let Ok(found) = translated(&mut Saved(KUBE), "PREROUTING", other);
            assert_eq!(found, None);
        }
        assert_eq!(Saved(KUBE).targets("192.168.1.1".parse().unwrap(), 6443), ["KUBE-SEP-Y"]);
        assert!(Saved(KUBE).targets("192.168.1.1".parse().unwrap(), 443).is_empty());
        assert!(Saved(KUBE).targets("192.168.1.2".parse().unwrap(), 6443).is_empty());
    }

    #[test]
    fn a_target_that_keeps_its_port_is_one_for_the_port_that_came() {
        for (line, found) in [
            ("-p tcp -m tcp --dport 443 -j DNAT --to-destination 10.96.0.1", true),
            ("-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.96.0.1", false),
            ("-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.96.0.1:443 --random", true),
            ("-p udp -m udp --dport 443 -j DNAT --to-destination 10.96.0.1:443", false),
            ("-j DNAT --to-destination 10.96.0.1", true),
            ("-d 10.96.0.1/32 -j REDIRECT --to-ports 443", false),
        ] {
            let text = format!("-A X {line}\n");
            assert_eq!(Saved(&text).targets("10.96.0.1".parse().unwrap(), 443).len() == 1, found, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text: String, rule in "(-A PREROUTING( (-[djgpm]|--dports?|--to-ports|!|\"|[0-9./:,\\[\\]-]{0,9}|DNAT)){0,9}\n){0,4}") {
            for text in [text, rule] {
                let _ = translated(&mut Saved(&text), "PREROUTING", ours());
                let _ = Saved(&text).targets("10.96.0.1".parse().unwrap(), 443);
            }
        }
    }
}
