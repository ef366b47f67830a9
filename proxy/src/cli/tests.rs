use super::*;

fn config_of(args: &[&str], yaml: &str) -> Result<Config, String> {
    let args = ["apiserver-proxy", "--config=/etc/proxy.yaml"].into_iter().chain(args.iter().copied());
    let line = CommandLine::new(args.map(OsString::from)).and_then(|line| line.config(yaml.as_bytes()));
    line.map_err(|stop| match stop {
        Stop::Mistake(text) => text,
        Stop::Asked(text) => panic!("{text}"),
    })
}

const ENOUGH: [&str; 2] = ["--listen=10.96.0.2:443", "--upstream=10.0.0.1:6443"];

fn with(args: &[&str]) -> Result<Config, String> {
    config_of(&[&ENOUGH[..], args].concat(), "")
}

#[test]
fn defaults() {
    let Config { listen, threads, settings, health, drain_timeout, probe_socket, .. } = with(&[]).unwrap();
    assert_eq!(listen, ["10.96.0.2:443".parse().unwrap()]);
    assert!((1..=4).contains(&threads));
    let expected = Settings {
        protocol: Protocol::Tcp,
        balance: Balance::LeastConnections,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: None,
        user_timeout: Duration::from_secs(30),
        keepalive: Duration::from_secs(15),
        max_connections: 10_000,
        close_on_unhealthy: true,
        access_log: AccessLog::Off,
    };
    assert_eq!(settings, expected);
    let expected = HealthSettings {
        kind: Check::Tcp,
        sni: None,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
    };
    assert_eq!((health, drain_timeout), (expected, Duration::from_secs(30)));
    assert!(probe_socket.unwrap().to_str().unwrap().starts_with("@apiserver-proxy/"));
}

#[test]
fn a_file_says_the_same() {
    let yaml = "listen: [10.96.0.2:443, '[fd00::2]:443']\n\
                upstream:\n- 10.0.0.1:6443\n- 10.0.0.2:6443\n\
                upstreamProtocol: http-connect\nconnectTarget: kube-apiserver:443\n\
                connectHeader:\n- 'Proxy-Authorization: Basic hunter2'\n\
                maxConnections: 10\nidleTimeout: 0\ndrainTimeout: 1m\ncloseOnUnhealthy: false\naccessLog: errors\n";
    let config = config_of(&["--max-connections=20"], yaml).unwrap();
    assert_eq!((config.listen.len(), config.sources.upstreams.len()), (2, 2));
    assert_eq!((config.settings.max_connections, config.settings.access_log), (20, AccessLog::Errors));
    assert_eq!((config.settings.close_on_unhealthy, config.settings.idle_timeout), (false, None));
    assert_eq!(config.drain_timeout, Duration::from_secs(60));
    assert!(
        matches!(&config.settings.protocol, Protocol::HttpConnect(connect) if connect.headers.len() == 1)
    );
    assert!(!format!("{config:?}").contains("hunter2"));
    let other = config_of(&["--max-connections=30"], &yaml.replace(", '[fd00::2]:443'", "")).unwrap();
    assert_eq!(config.takes_a_restart(&other), ["listen"]);
    let in_force = other.following(&config);
    assert_eq!((in_force.listen.len(), in_force.settings.max_connections), (2, 30));
    assert_eq!(in_force.flagz.value("listen"), "10.96.0.2:443,[fd00::2]:443");
    assert_eq!(in_force.flagz.value("max-connections"), "30");
}

#[test]
fn mistakes_name_flag_and_value() {
    for (args, expected) in [
        (
            &["--listen=localhost:443"][..],
            r#"invalid argument "localhost:443" for "--listen" flag: "localhost:443" is not an address with a port; write one such as 10.96.0.2:443 or [fd00::2]:443"#,
        ),
        (
            &["--listen=0.0.0.0:443"],
            r#"10.96.0.2:443 for "--listen" flag: another one of them takes all addresses of that port"#,
        ),
        (&["--threads=0"], r#"invalid argument "0" for "--threads" flag: 0 is not in 1..=64"#),
        (
            &["--max-connections=-1"],
            r#"invalid argument "-1" for "--max-connections" flag: invalid digit found in string"#,
        ),
        (
            &["--connect-timeout=0"],
            r#"invalid argument "0" for "--connect-timeout" flag: it must be above 0"#,
        ),
        (
            &["--keepalive=10ms"],
            r#"invalid argument "10ms" for "--keepalive" flag: it must be from 1s to 9h6m7s"#,
        ),
        (
            &["--balance=random"],
            r#"invalid argument "random" for "--balance" flag: accepted are least-connections, round-robin"#,
        ),
        (
            &["--health-sni=10.0.0.1"],
            r#"invalid argument "10.0.0.1" for "--health-sni" flag: not a DNS name, such as kube-apiserver.example.com"#,
        ),
        (&["--proxy-tlv=0xEA=x"], r#"--proxy-tlv is for --upstream-protocol=proxy-v2, and that is "tcp""#),
        (
            &["--upstream-protocol=http-connect"],
            "--upstream-protocol=http-connect needs --connect-target=HOST:PORT",
        ),
        (&["--connect-header=Host: hunter2"], r#"invalid argument "REDACTED" for "--connect-header" flag"#),
        (&["--upstreem=x"], "unknown flag: --upstreem, did you mean --upstream?"),
    ] {
        assert_eq!(with(args).unwrap_err(), expected);
    }
    assert_eq!(
        config_of(&ENOUGH[..1], "").unwrap_err(),
        "no endpoint can be known: give --upstream=HOST:PORT, or --discover, or both"
    );
    let unset = config_of(&ENOUGH[1..], "").unwrap_err();
    assert!(unset.starts_with("required flag \"--listen\" not set"), "{unset}");
}

#[test]
fn mistakes_in_the_file_name_line_and_key() {
    for (yaml, expected) in [
        (
            "upstream:\n- 10.0.0.1:6443\nmaxConnections: 0\n",
            r#"/etc/proxy.yaml: line 3, column 17: maxConnections: invalid argument "0" for "--max-connections" flag: 0 is not in 1..=1000000"#,
        ),
        (
            "threads: {}\n",
            r#"/etc/proxy.yaml: line 1, column 10: threads: expected a value, not keys; write a text with ": " in it in quotes"#,
        ),
        ("accessLog: off\n", ""),
        (
            "connectHeader: 'Host: hunter2'\n",
            r#"/etc/proxy.yaml: line 1, column 16: connectHeader: invalid argument "REDACTED" for "--connect-header" flag"#,
        ),
    ] {
        let told = config_of(&ENOUGH, yaml).map(|_| String::new()).unwrap_or_else(|error| error);
        assert_eq!(told, expected, "{yaml}");
    }
    for yaml in ["config: x\n", "max-connections: 1\n", "version: true\n"] {
        let told = config_of(&ENOUGH, yaml).unwrap_err();
        assert!(told.starts_with("/etc/proxy.yaml: line 1, column 1: unknown key"), "{told}");
    }
    assert!(config_of(&ENOUGH, "listen: [\n").unwrap_err().contains("not valid YAML"));
}
