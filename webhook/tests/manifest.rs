//! What `manifest` prints, by example: `testdata/manifest`. `UPDATE_GOLDEN=1 cargo test -p webhook --test manifest`
//! writes it anew; look at the difference. `hack/check-manifests.sh` looks at what it means.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{ffi::OsString, fs, process::Command};

use common::flags::Stop;
use webhook::manifest;

fn run(args: &[&str]) -> Result<String, Stop> {
    manifest::run(args.iter().map(OsString::from))
}

#[test]
fn every_case_is_printed_as_it_was() {
    let ca = testkit::testdata("manifest/ca.crt");
    let from_file = format!("--ca-bundle-file={}", ca.display());
    let proxy = |case: &str| {
        let path = testkit::testdata(&format!("admission/proxy-{case}/egress.yaml"));
        format!("--egress-config={}", path.display())
    };
    let (excluded, overwrite) = (proxy("excluded-name"), proxy("overwrite-from-secret"));
    let cases: [(&str, &[&str]); 10] = [
        ("webhook", &["webhook"]),
        ("webhook-ca-bundle", &["webhook", &from_file]),
        (
            "webhook-cert-manager",
            &["webhook", "--inject-ca-from=apiserver-proxy/apiserver-proxy-pod-webhook", "--name=other.name"],
        ),
        // Texts that YAML would take for something else.
        (
            "webhook-names",
            &["webhook", "--namespace=1e3", "--service=null", "--service-port=8443", "--name=0"],
        ),
        ("webhook-url", &["webhook", "--url=https://10.0.0.1:9443", &from_file]),
        ("policy", &["policy", "--apiserver-fqdn=foo.bar."]),
        ("policy-port", &["policy", "--apiserver-fqdn=foo.bar.", "--apiserver-port=6443", "--name=other"]),
        (
            "policy-no-ephemeral",
            &["policy", "--apiserver-fqdn=foo.bar.", "--inject-ephemeral-containers=false"],
        ),
        ("policy-proxy", &["policy", "--apiserver-fqdn=foo.bar.", &excluded]),
        ("policy-proxy-overwrite", &["policy", "--apiserver-fqdn=foo.bar.", &overwrite]),
    ];
    for (name, args) in cases {
        let printed = run(args).unwrap();
        assert_eq!(run(args).unwrap(), printed, "the same twice");
        let golden = testkit::testdata(&format!("manifest/{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &printed).unwrap();
        }
        assert_eq!(printed, fs::read_to_string(&golden).unwrap(), "{}", golden.display());
    }
    let files = fs::read_dir(testkit::testdata("manifest")).unwrap();
    let is_yaml = |name: &OsString| name.to_str().unwrap().ends_with(".yaml");
    assert_eq!(files.filter(|file| is_yaml(&file.as_ref().unwrap().file_name())).count(), cases.len());
}

#[test]
fn a_policy_that_the_api_server_would_not_read_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("egress.yaml");
    let flag = format!("--egress-config={}", file.display());
    let print = |members: usize| {
        let members: String = (0..members).map(|n| format!("host-{n:04}.example.com,")).collect();
        fs::write(&file, format!("proxy: {{http: 'http://proxy:3128', noProxy: '{members}'}}")).unwrap();
        run(&["policy", "--apiserver-fqdn=foo.bar.", &flag])
    };
    assert!(print(700).is_ok());
    let Err(Stop::Mistake(why)) = print(800) else { panic!("printed") };
    assert!(why.starts_with("NO_PROXY is too long for a policy: its expression has 10"), "{why}");
}

#[test]
fn nobody_prints_a_password_for_all_to_see() {
    let config = testkit::testdata("egress/seed/config.yaml").display().to_string();
    let stop =
        run(&["policy", "--apiserver-fqdn=foo.bar.", &format!("--egress-config={config}")]).unwrap_err();
    let expected = format!(
        "invalid argument {config:?} for \"--egress-config\" flag: http://***@192.168.52.220:3128 has a name or \
         password in it, and everybody in the cluster can read a policy; name a Secret in pods.credentialsSecret, or \
         take the webhook"
    );
    assert_eq!(stop, Stop::Mistake(expected));
}

#[test]
fn mistakes_name_flag_and_value() {
    let usage = "usage: apiserver-proxy-pod-webhook manifest webhook|policy [flags]; --help after either word lists \
                 its flags";
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(&key, testkit::pki::Authority::new("a").issue(1).key).unwrap();
    let key = format!("--ca-bundle-file={}", key.path().display());
    for (args, expected) in [
        (&[][..], usage),
        (&["hook"], "\"hook\" is no manifest; usage: "),
        (
            &["policy"],
            "required flag \"--apiserver-fqdn\" not set; it can also be set by ASP_WEBHOOK_APISERVER_FQDN",
        ),
        (
            &["policy", "--apiserver-fqdn=10.0.0.1"],
            "invalid argument \"10.0.0.1\" for \"--apiserver-fqdn\" flag: ",
        ),
        (&["policy", "--apiserver-fqdn=a.b", "--name=A"], "invalid argument \"A\" for \"--name\" flag: "),
        (&["policy", "--apiserver-fqdn=a.b", "--url=https://a"], "unknown flag: --url"),
        (
            &["webhook", "--namespace=a.b"],
            "invalid argument \"a.b\" for \"--namespace\" flag: not a DNS label",
        ),
        (&["webhook", "--service-port=0"], "invalid argument \"0\" for \"--service-port\" flag: "),
        (
            &["webhook", "--url=http://a"],
            "invalid argument \"http://a\" for \"--url\" flag: not an https:// URL",
        ),
        (
            &["webhook", "--url=https://a", "--service-port=443"],
            "invalid argument \"https://a/webhook/pod-apiserver-env\" for \"--url\" flag: --service or ",
        ),
        (
            &["webhook", "--ca-bundle-file=/nowhere"],
            "invalid argument \"/nowhere\" for \"--ca-bundle-file\" flag: cannot read it: No such file",
        ),
        (
            &["webhook", "--ca-bundle-file=/dev/null"],
            "invalid argument \"/dev/null\" for \"--ca-bundle-file\" flag: ",
        ),
        (&["webhook", &key], "invalid argument "),
        (&["webhook", "--inject-ca-from=a"], "invalid argument \"a\" for \"--inject-ca-from\" flag: "),
        (&["webhook", "more"], "unexpected argument \"more\""),
    ] {
        let Err(Stop::Mistake(mistake)) = run(args) else { panic!("{args:?} was taken") };
        assert!(mistake.starts_with(expected), "{args:?}: {mistake}");
        assert_eq!(mistake.lines().count(), 1, "{mistake}");
    }
    let ca = format!("--ca-bundle-file={}", testkit::testdata("manifest/ca.crt").display());
    let Err(Stop::Mistake(mistake)) = run(&["webhook", &ca, "--inject-ca-from=a/b"]) else { panic!("taken") };
    assert!(mistake.starts_with("invalid argument \"a/b\" for \"--inject-ca-from\" flag: "), "{mistake}");
    let Err(Stop::Asked(help)) = run(&["webhook", "--help"]) else { panic!("no help") };
    assert!(
        help.starts_with("Usage of apiserver-proxy-pod-webhook manifest webhook (") && help.contains("--url")
    );
    assert_eq!(run(&["--help"]), Err(Stop::Asked(usage.to_owned())));
}

#[test]
fn the_program_prints_it_and_ends() {
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-pod-webhook"))
            .arg("manifest")
            .args(args)
            .output()
            .unwrap()
    };
    let printed = run(&["webhook"]);
    assert!(printed.status.success() && printed.stderr.is_empty());
    let expected = fs::read_to_string(testkit::testdata("manifest/webhook.yaml")).unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), expected);

    let mistake = run(&[]);
    assert_eq!(mistake.status.code(), Some(2));
    assert!(mistake.stdout.is_empty() && mistake.stderr.starts_with(b"Error: usage: "));
}
