//! The configuration of the corporate proxy: a person writes it, and there is a password in it.

use common::egress::{Config, Dialect, Scheme, Target, drop_in, no_proxy, variables};

const PASSWORD: &str = "hunter2";

/// A file: no error has what stands before an `@`, and of what is read a list comes that is what it says.
pub fn egress_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(Config::from_bytes(data).is_err());
        return;
    };
    if text.contains(PASSWORD) {
        return;
    }
    let mut config = match Config::parse(&text.replace('@', &format!("{PASSWORD}@"))) {
        Ok(config) => config,
        Err(error) => {
            let told = format!("{error} {error:?}");
            assert!(!told.contains(PASSWORD), "{told}");
            return;
        }
    };
    for url in [&config.proxy.http, &config.proxy.https].into_iter().flatten() {
        assert!(!format!("{url} {url:?}").contains(PASSWORD));
    }
    let list = no_proxy(&config);
    let members = list.members();
    assert!(members.iter().all(|member| !member.is_empty() && !member.contains([',', ' ', '"', '\n'])));

    // One line a variable, after `[Service]`, whatever the values are.
    assert_eq!(drop_in(&config).reveal().lines().count(), 1 + variables(&config).len());

    let joined = list.to_string();
    for member in members.iter().take(100) {
        let is_plain = !member.starts_with(['.', '*']) && !member.contains([':', '/']);
        for scheme in [Scheme::Http, Scheme::Https] {
            let Ok(target) = format!("{scheme}://{member}").parse::<Target>() else { continue };
            for dialect in Dialect::ALL {
                let route = dialect.route(&target, &config, &joined);
                assert!(!is_plain || !route.is_proxy(), "{dialect}: {target} with {joined}");
            }
        }
    }

    config.proxy.no_proxy = members.to_vec();
    assert_eq!(no_proxy(&config), list);
}
