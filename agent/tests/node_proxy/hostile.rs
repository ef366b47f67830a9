//! Passwords full of what systemd takes for itself come through as they are.

use std::fs;

use common::egress::environment_line;

use crate::fixture::Node;

/// Any characters that systemd treats in a way of its own, and some that it might.
fn values() -> Vec<String> {
    let parts = [
        "%", "%%", "%h", "%n", "\"", "'", "$", "$$", "${HOME}", "$HOME", "\\", "\\\\", "\\n", "\\x41", "\\",
        " ", "  ", "\t", "#", ";", "=", "é", "日", "`id`", "@", ":", "~", "*", "{", "}", "|", "&", "<", "!",
        "[", "]",
    ];
    let mut values: Vec<String> = parts.iter().map(|part| format!("a{part}b")).collect();
    values.extend(parts.iter().map(|part| (*part).to_owned()));
    values.extend(parts.iter().zip(parts.iter().rev()).map(|(a, b)| format!("{a}{b}{a}")));
    values.push(parts.concat());
    values.push(parts.concat().repeat(20));
    values.extend(
        ["", " lead", "trail ", "trail\\", "%i%j%%%", "a\\\"b", "\"quoted\"", "'single'"].map(str::to_owned),
    );
    values
}

#[test]
fn systemd_reads_the_very_values_that_went_in() {
    let node = Node::boot();
    let values = values();
    let mut text = "[Service]\n".to_owned();
    for (number, value) in values.iter().enumerate() {
        text.push_str(&environment_line(&format!("V{number}"), value));
    }
    let folder = node.systemd.path("/etc/systemd/system/kubelet.service.d");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("values.conf"), text).unwrap();
    node.systemd.run("systemctl daemon-reload && systemctl restart kubelet");
    let pid = node.systemd.property("kubelet", "MainPID");
    let all = |pid: &str| node.systemd.run(&format!("cat /proc/{pid}/environ"));
    // The shell of the unit may not have become what it starts yet; its environment is the same.
    let environment = all(&pid);
    let environment: Vec<&str> = environment.split('\0').collect();
    assert!(values.len() > 100);
    for (number, value) in values.iter().enumerate() {
        let expected = format!("V{number}={value}");
        assert!(environment.contains(&expected.as_str()), "{expected:?} is not in {environment:?}");
    }
}

#[test]
fn a_password_with_everything_in_it_reaches_the_process() {
    let node = Node::boot();
    // As a URL has them: % " $ \ space ' @ / ; and what may stand there as it is.
    let url = "http://me:p%25%22%24%5C%20%27%40%2F%3B!$&'()*+,;=~._-w@proxy.example.com:3128";
    let yaml = url.replace('\'', "''");
    node.configure(&format!("proxy: {{http: '{yaml}', https: '{yaml}'}}\n"));
    node.done(&["--apply", "--restart"]);
    let no_proxy = "cluster.local,svc,127.0.0.1,localhost";
    let value = |name: &str| if name.eq_ignore_ascii_case("no_proxy") { no_proxy } else { url };
    let names = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];
    node.runs_with("kubelet", &names.map(|name| format!("{name}={}", value(name))));
    assert_eq!(node.done(&["--check"]), "in place: containerd, kubelet\n");
}
