//! HTTP CONNECT. Source: RFC 9110 section 9.3.6, RFC 9112.

use std::{fmt, str::FromStr};

/// Bytes that the head of an answer may have.
pub const LONGEST_HEAD: usize = 8 * 1024;

/// What is asked of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// `host:port`.
    pub target: Authority,
    /// Headers besides, in order.
    pub headers: Vec<Header>,
}

/// `host:port`, as it stands in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(String);

/// A header, checked. Its value may be a password, and is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: String,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ***", self.name)
    }
}

/// Why a text can't be in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not `host:port`.
    #[error("not host:port, such as kube-apiserver.example.com:443")]
    Authority,
    /// Not `Name: value`.
    #[error(
        "not a header, such as \"X-Gardener-Destination: outbound|443||kube-apiserver.NAMESPACE.svc.cluster.local\""
    )]
    Header,
}

impl FromStr for Authority {
    type Err = BadRequest;

    fn from_str(text: &str) -> Result<Self, BadRequest> {
        let (host, port) = text.rsplit_once(':').ok_or(BadRequest::Authority)?;
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match in_brackets {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            }
        };
        let is_port = port.bytes().all(|digit| digit.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0);
        if is_host && is_port { Ok(Self(text.to_owned())) } else { Err(BadRequest::Authority) }
    }
}

impl FromStr for Header {
    type Err = BadRequest;

    fn from_str(text: &str) -> Result<Self, BadRequest> {
        let (name, value) = text.split_once(':').ok_or(BadRequest::Header)?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let value = value.trim();
        let fits = !name.is_empty()
            && name.bytes().all(is_token)
            && value.bytes().all(|byte| byte == b' ' || byte == b'\t' || byte.is_ascii_graphic());
        // These would make the request another one.
        let forbidden = ["host", "content-length", "transfer-encoding", "connection"];
        if !fits || forbidden.iter().any(|header| name.eq_ignore_ascii_case(header)) {
            return Err(BadRequest::Header);
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

impl Connect {
    /// The request.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let Authority(target) = &self.target;
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        for Header { name, value } in &self.headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        request.push_str("\r\n");
        request.into_bytes()
    }
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// More of it has to come.
    Partial,
    /// From here on the bytes are those of the connection; the head was so long.
    Open(usize),
    /// Another status than 2xx.
    Refused(u16),
    /// No answer in HTTP.
    Malformed,
}

/// Reads the head of an answer, interim ones (1xx) skipped.
#[must_use]
pub fn answer(bytes: &[u8]) -> Answer {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let complete = line.len() < rest.len();
        let status = match status(line, complete) {
            Ok(status) => status,
            Err(answer) => return answer,
        };
        let Some(length) = head(rest) else {
            return if bytes.len() < LONGEST_HEAD { Answer::Partial } else { Answer::Malformed };
        };
        match status {
            101 => return Answer::Malformed,
            100..=199 => from += length,
            200..=299 => return Answer::Open(from + length),
            refused => return Answer::Refused(refused),
        }
    }
}

/// The status of a first line, `HTTP/1.1 200 OK`.
fn status(line: &[u8], complete: bool) -> Result<u16, Answer> {
    const BEGIN: &[u8] = b"HTTP/1.";
    let begun = BEGIN.iter().zip(line).all(|(wanted, found)| wanted == found);
    if !begun || line.len() > LONGEST_HEAD {
        return Err(Answer::Malformed);
    }
    if !complete {
        return Err(Answer::Partial);
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = std::str::from_utf8(line.get(..12.min(line.len())).unwrap_or_default())
        .unwrap_or_default()
        .split(' ');
    let version = words.next().unwrap_or_default();
    let digits = words.next().unwrap_or_default();
    let known = matches!(version, "HTTP/1.0" | "HTTP/1.1")
        && digits.len() == 3
        && matches!(line.get(12), None | Some(b' '));
    match digits.parse() {
        Ok(status @ 100..=999) if known => Ok(status),
        _ => Err(Answer::Malformed),
    }
}

/// Up to the first empty line, that included.
fn head(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        length += line.len();
        if matches!(line, b"\r\n" | b"\n") {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_says_where_to() {
        let connect = Connect {
            target: "kube-apiserver:443".parse().unwrap(),
            headers: vec!["X-Gardener-Destination: outbound|443||kube-apiserver.ns.svc".parse().unwrap()],
        };
        let expected = "CONNECT kube-apiserver:443 HTTP/1.1\r\nHost: kube-apiserver:443\r\n\
                        X-Gardener-Destination: outbound|443||kube-apiserver.ns.svc\r\n\r\n";
        assert_eq!(connect.request(), expected.as_bytes());
    }

    #[test]
    fn what_would_make_another_request_is_refused() {
        for text in ["a", "a:0", "a:+1", ":443", "a b:443", "a\r\n:443", "fd00::1:443", "[a]:443", "a:65536"]
        {
            assert_eq!(text.parse::<Authority>(), Err(BadRequest::Authority), "{text:?}");
        }
        for text in ["[fd00::1]:443", "10.0.0.1:443", "a_b.c:1"] {
            assert!(text.parse::<Authority>().is_ok(), "{text}");
        }
        for text in
            ["", "a", ": b", "a b: c", "a: b\r\nc: d", "a: b\0", "Host: x", "content-length: 1", "ä: b"]
        {
            assert_eq!(text.parse::<Header>(), Err(BadRequest::Header), "{text:?}");
        }
    }

    #[test]
    fn answers() {
        for (bytes, expected) in [
            ("", Answer::Partial),
            ("HTT", Answer::Partial),
            ("HTTP/1.1 200 OK\r\n", Answer::Partial),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r", Answer::Partial),
            ("HTTP/1.1 200 OK\r\n\r\n", Answer::Open(19)),
            ("HTTP/1.1 200\r\n\r\nSSH-2.0", Answer::Open(16)),
            ("HTTP/1.0 204 \nA: b\n\n", Answer::Open(20)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx", Answer::Open(44)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTT", Answer::Partial),
            ("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nforbidden", Answer::Refused(403)),
            ("HTTP/1.1 503 x\r\n\r\n", Answer::Refused(503)),
            ("HTTP/1.1 101 x\r\n\r\n", Answer::Malformed),
            ("HTTP/2 200\r\n\r\n", Answer::Malformed),
            ("HTTP/1.1 20 OK\r\n\r\n", Answer::Malformed),
            ("HTTP/1.1 2000\r\n\r\n", Answer::Malformed),
            ("HTTP/1.1 +20\r\n\r\n", Answer::Malformed),
            ("SSH-2.0-OpenSSH", Answer::Malformed),
            ("\u{16}\u{3}\u{1}", Answer::Malformed),
        ] {
            assert_eq!(answer(bytes.as_bytes()), expected, "{bytes:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(2000));
        assert_eq!(answer(long.as_bytes()), Answer::Malformed);
        assert_eq!(answer(format!("HTTP/1.1 {}", "x".repeat(10_000)).as_bytes()), Answer::Malformed);
    }

    proptest! {
        #[test]
        fn an_answer_in_pieces_is_the_same(cut in 0_usize..44) {
            let whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx";
            prop_assert_eq!(answer(&whole[..cut]), Answer::Partial);
        }

        #[test]
        fn any_bytes_are_an_answer_of_some_kind(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Answer::Open(length) = answer(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
