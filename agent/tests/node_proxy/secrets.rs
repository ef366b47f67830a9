//! The password is in the drop-ins and in what `--print` prints, and nowhere else.

use std::fs;

use testkit::process::{Running, sh};

use crate::fixture::{Node, PASSWORD, program, seed};

/// Parts of it too, and what it is as somebody would encode it.
fn nowhere_in(text: &str) {
    for secret in [PASSWORD, "mySuper", "SecretPassword", "myProxyUser", "hunter2", "bXlTdXBlcl"] {
        assert!(!text.contains(secret), "{secret} is in:\n{text}");
    }
}

#[test]
fn nothing_that_is_printed_or_served_has_the_password() {
    let node = Node::boot();
    let mut all = String::new();
    let mut run = |args: &[&str]| all.push_str(&node.run(&[args, &["-v=9"]].concat()).1);
    run(&["--check"]);
    run(&["--apply", "--restart", "--log-format=json"]);
    run(&["--apply"]);
    run(&["--check"]);
    // Others' files, ours in another style, and one that is not ours.
    for text in [
        "[Service]\nEnvironment=HTTP_PROXY=myProxyUser:hunter2@host\n",
        "[Service]\nEnvironment='HTTP_PROXY=http://myProxyUser:hunter2\\x40host' NO_PROXY=a\n",
        "[Service]\nEnvironment=HTTP_PROXY=http://myProxyUser:hunter2@host FOO=http://myProxyUser:hunter2@host\n",
    ] {
        fs::create_dir_all(node.drop_in("kubelet").parent().unwrap()).unwrap();
        fs::write(node.drop_in("kubelet"), text).unwrap();
        run(&["--check"]);
        run(&["--remove", "--units=kubelet"]);
    }
    fs::remove_dir_all(node.drop_in("kubelet").parent().unwrap()).unwrap();
    for broken in [
        "proxy: {http: 'http://myProxyUser:hunter2@x y'}",
        "proxy: {http: http://myProxyUser:hunter2@x, https: {myProxyUser: hunter2}}",
        "proxy:\n  http: http://myProxyUser:hunter2@x\n  hunter2@: x",
        "proxy: {http: \"http://myProxyUser:hunter2@x",
        "proxy: {http: ftp://myProxyUser:hunter2@x}",
    ] {
        node.configure(broken);
        run(&["--apply"]);
        run(&["--check"]);
    }
    node.configure(&seed("config.yaml"));
    let socket = node.folder.path().join("probe.sock");
    let probe = format!("--probe-socket={}", socket.display());
    let running = Running::start(&mut node.command(&["--daemon", "-v=9", "--restart", &probe]));
    running.wait_for("in place, watching");
    fs::remove_file(node.drop_in("kubelet")).unwrap();
    running.wait_for("put back");
    node.configure("proxy: {http: 'http://myProxyUser:hunter2@x y'}");
    running.wait_for("the last good configuration stays in use");
    for page in ["livez", "readyz?verbose", "metrics", "statusz", "flagz"] {
        all.push_str(&sh(&format!("curl -s --unix-socket {} 'http://localhost/{page}'", socket.display())));
    }
    all.push_str(&running.printed());
    drop(running);
    nowhere_in(&all);
    assert!(all.contains("***@host") && all.contains("put back") && all.contains("# EOF"), "{all}");
    // What would show a failure of this very test: the one place where it is meant to be.
    let mut print = program();
    print.arg("--print=kubelet").arg(format!("--egress-config={}", node.config().display()));
    node.configure(&seed("config.yaml"));
    assert!(String::from_utf8(print.output().unwrap().stdout).unwrap().contains(PASSWORD));
}
