//! What is kept in the Secret, to and from its JSON.
//!
//! `ca.crt` are the CAs of everything that any replica may still show, `tls.crt` and `tls.key` the newest certificate,
//! `previous.crt` and `previous.key` the one before it while that is good. What else is in the Secret stays as it is.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{authorities::Authorities, pair::Pair};

/// What the replicas share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// What all will show once it is trusted everywhere.
    pub newest: Option<Pair>,
    /// What they showed before.
    pub previous: Option<Pair>,
    /// What the registration's `caBundle` must hold.
    pub authorities: Authorities,
}

impl Stored {
    /// From a Secret. What is missing, empty or no text is none.
    #[must_use]
    pub fn read(secret: &Value) -> Self {
        let bytes = |key: &str| {
            let text = secret.get("data")?.get(key)?.as_str()?;
            STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())
        };
        let text = |key: &str| bytes(key).and_then(|bytes| String::from_utf8(bytes).ok());
        let pair =
            |certificate: &str, key: &str| Some(Pair { certificate: text(certificate)?, key: text(key)? });
        Self {
            newest: pair("tls.crt", "tls.key"),
            previous: pair("previous.crt", "previous.key"),
            authorities: Authorities::from_pem(&bytes("ca.crt").unwrap_or_default()),
        }
    }

    /// Into a Secret.
    pub fn write(&self, secret: &mut Value) {
        let Some(secret) = secret.as_object_mut() else { return };
        let data = secret.entry("data").or_insert(Value::Null);
        if !data.is_object() {
            *data = Value::Object(Map::new());
        }
        let Some(data) = data.as_object_mut() else { return };
        let mut put = |key: &str, text: Option<&str>| match text {
            Some(text) => drop(data.insert(key.to_owned(), Value::String(STANDARD.encode(text)))),
            None => drop(data.remove(key)),
        };
        for (pair, certificate, key) in
            [(&self.newest, "tls.crt", "tls.key"), (&self.previous, "previous.crt", "previous.key")]
        {
            put(certificate, pair.as_ref().map(|pair| pair.certificate.as_str()));
            put(key, pair.as_ref().map(|pair| pair.key.as_str()));
        }
        put("ca.crt", Some(&self.authorities.to_pem()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cert_secret::{clock::Clocks, pair::make};

    const NOW: Clocks = Clocks { server: 1_800_000_000, own: 1_800_000_000 };

    #[test]
    fn what_is_written_is_read_and_the_rest_stays() {
        let mut secret = json!({"metadata": {"name": "x", "future": 1}, "data": {"other": "b3RoZXI=", "previous.crt": "eA=="}});
        assert_eq!(Stored::read(&secret).newest, None);
        let known = make(&["a.b.svc".to_owned()].into(), NOW).unwrap();
        let mut stored = Stored { newest: Some(known.pair), previous: None, authorities: known.authorities };
        stored.write(&mut secret);
        assert_eq!(Stored::read(&secret), stored);
        assert_eq!(secret["metadata"]["future"], 1);
        assert_eq!(secret["data"]["other"], "b3RoZXI=");
        assert!(secret["data"].get("previous.crt").is_none(), "half a pair is none");
        stored.previous = stored.newest.clone();
        stored.write(&mut secret);
        assert_eq!(Stored::read(&secret), stored);
    }

    #[test]
    fn what_can_not_be_used_is_none() {
        for secret in [
            json!({}),
            json!({"data": null}),
            json!({"data": {"tls.crt": "", "tls.key": "", "ca.crt": ""}}),
            json!({"data": {"tls.crt": "eA==", "ca.crt": "eA=="}}),
            json!({"data": {"tls.crt": "!", "tls.key": 1, "ca.crt": [1]}}),
            json!({"data": {"tls.crt": "/w==", "tls.key": "eA=="}}),
            json!([]),
        ] {
            assert_eq!(Stored::read(&secret), Stored::default(), "{secret}");
        }
    }

    #[test]
    fn a_secret_without_data_gets_some() {
        let known = make(&["a.b.svc".to_owned()].into(), NOW).unwrap();
        for mut secret in [json!({}), json!({"data": null}), json!({"data": "odd"})] {
            let stored = Stored { newest: Some(known.pair.clone()), ..Stored::default() };
            stored.write(&mut secret);
            assert_eq!(Stored::read(&secret), stored);
        }
    }
}
