use super::*;

const PROGRAM: Program = Program { name: "prog", env_prefix: "ASP_PROG_" };

fn command() -> Command {
    Command::new("prog").args([
        boolean("cleanup", false, "[optional] clean up on exit."),
        boolean("daemon", true, "[optional] run as a daemon"),
        string("interface", "[optional] name of the interface.").default_value("lo"),
        value("port", "int", clap::value_parser!(u16).range(1..), "[optional] port.").default_value("443"),
        value("backend", "string", clap::builder::PossibleValuesParser::new(["auto", "nft"]), "backend")
            .default_value("auto"),
        value("v", "Level", clap::value_parser!(i32), "verbosity").short('v').default_value("0"),
        string("ip-address", "address to listen on.").required(true),
    ])
}

fn run_env(args: &[&str], env: &[(&str, &str)]) -> Result<ArgMatches, Stop> {
    let args = std::iter::once("prog").chain(args.iter().copied()).map(OsString::from);
    parse_with_env(PROGRAM, command(), args, (Path::new(""), &FromFile::default()), |name| {
        env.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
    })
}

fn run(args: &[&str]) -> Result<ArgMatches, Stop> {
    let with_required: Vec<&str> = args.iter().copied().chain(["--ip-address=10.96.0.2"]).collect();
    run_env(&with_required, &[])
}

fn mistake(args: &[&str]) -> String {
    match run(args) {
        Err(Stop::Mistake(text)) => text,
        other => panic!("{args:?} gave {other:?}"),
    }
}

#[test]
fn booleans_take_go_spellings_after_an_equals_sign() {
    let daemon = |args: &[&str]| *run(args).unwrap().get_one::<bool>("daemon").unwrap();
    assert!(daemon(&[]));
    assert!(daemon(&["--daemon"]));
    for (text, meaning) in
        [("1", true), ("T", true), ("True", true), ("0", false), ("F", false), ("FALSE", false)]
    {
        assert_eq!(daemon(&[&format!("--daemon={text}")]), meaning, "{text}");
    }
    assert_eq!(
        mistake(&["--daemon=maybe"]),
        r#"invalid argument "maybe" for "--daemon" flag: neither true nor false"#
    );
    assert!(mistake(&["--daemon", "false"]).contains(r#"unexpected argument "false""#));
    assert_eq!(mistake(&["--daemon="]), r#"invalid argument "" for "--daemon" flag: neither true nor false"#);
}

#[test]
fn values_follow_an_equals_sign_or_a_space() {
    for args in [&["-v", "2"][..], &["-v=2"], &["--v=2"], &["--v", "2"], &["-v2"], &["-v=7", "-v=2"]] {
        assert_eq!(run(args).unwrap().get_one::<i32>("v"), Some(&2), "{args:?}");
    }
    assert_eq!(run(&["--v", "-1"]).unwrap().get_one::<i32>("v"), Some(&-1));
}

#[test]
fn mistakes_name_flag_and_value() {
    assert_eq!(
        mistake(&["--port=70000"]),
        r#"invalid argument "70000" for "--port" flag: 70000 is not in 1..=65535"#
    );
    assert!(mistake(&["--port", "x"]).starts_with(r#"invalid argument "x" for "--port" flag: "#));
    assert_eq!(mistake(&["--v=x"]), r#"invalid argument "x" for "--v" flag: invalid digit found in string"#);
    assert_eq!(
        mistake(&["--backend=ipfw"]),
        r#"invalid argument "ipfw" for "--backend" flag: accepted are auto, nft"#
    );
    assert_eq!(mistake(&["--prot=1"]), "unknown flag: --prot, did you mean --port?");
    assert_eq!(
        mistake(&["-ip-address=1"]),
        "unknown flag: -i; flags are written with two dashes, see prog --help"
    );
    assert_eq!(mistake(&["--frobnicate"]), "unknown flag: --frobnicate; see prog --help");
    assert_eq!(
        run_env(&["--ip-address"], &[]).unwrap_err(),
        Stop::Mistake("flag needs a value: --ip-address".into())
    );
    let Err(Stop::Mistake(missing)) = run_env(&[], &[]) else { panic!("nothing was required") };
    assert_eq!(missing, r#"required flag "--ip-address" not set; it can also be set by ASP_PROG_IP_ADDRESS"#);
}

#[test]
fn the_environment_sets_what_the_command_line_does_not() {
    let env = [("ASP_PROG_IP_ADDRESS", "10.0.0.1"), ("ASP_PROG_PORT", "8443"), ("ASP_PROG_DAEMON", "false")];
    let matches = run_env(&["--port=1"], &env).unwrap();
    assert_eq!(matches.get_one::<String>("ip-address").unwrap(), "10.0.0.1");
    assert_eq!(matches.get_one::<u16>("port"), Some(&1));
    assert_eq!(matches.get_one::<bool>("daemon"), Some(&false));

    let empty = run_env(&["--ip-address=10.0.0.1"], &[("ASP_PROG_PORT", "")]).unwrap();
    assert_eq!(empty.get_one::<u16>("port"), Some(&443), "an empty variable is unset");

    let Err(Stop::Mistake(text)) = run_env(&["--ip-address=1"], &[("ASP_PROG_PORT", "tcp://10.0.0.1:443")])
    else {
        panic!("accepted")
    };
    assert!(text.contains("\"tcp://10.0.0.1:443\"") && text.ends_with("(set by ASP_PROG_PORT)"), "{text}");
}

#[test]
fn a_flag_on_the_command_line_hides_a_bad_variable() {
    let matches = run_env(&["--ip-address=1", "-v", "3"], &[("ASP_PROG_V", "junk")]).unwrap();
    assert_eq!(matches.get_one::<i32>("v"), Some(&3));
}

#[test]
fn help_is_laid_out_as_pflag_does() {
    let Err(Stop::Asked(text)) = run_env(&["--port=bad", "--help"], &[]) else { panic!("no help") };
    let expected = format!(
        "Usage of prog ({}):
      --backend string      backend (default \"auto\")
      --cleanup             [optional] clean up on exit.
      --daemon              [optional] run as a daemon (default true)
      --interface string    [optional] name of the interface. (default \"lo\")
      --ip-address string   address to listen on.
      --port int            [optional] port. (default 443)
  -v, --v Level             verbosity
      --version             print the version and exit

Every flag can also be set by environment: --some-name as ASP_PROG_SOME_NAME.",
        version()
    );
    assert_eq!(text, expected);
    assert_eq!(run_env(&["--version"], &[]).unwrap_err(), Stop::Asked(format!("prog {}", version())));
}

#[test]
fn secrets_are_in_no_error_message() {
    let command = || {
        let parse = |text: &str| Err::<u8, _>(format!("{text:?} is none"));
        Command::new("prog")
            .args([secret(value("token", "string", parse, "")), value("open", "string", parse, "")])
    };
    let run = |arg: &str| {
        parse_with_env(
            PROGRAM,
            command(),
            ["prog".into(), arg.into()],
            (Path::new(""), &FromFile::default()),
            |_| None,
        )
        .unwrap_err()
    };
    let stop = |text: &str| Stop::Mistake(text.to_owned());
    assert_eq!(run("--token=hunter2"), stop(r#"invalid argument "REDACTED" for "--token" flag"#));
    assert_eq!(run("--open=x"), stop(r#"invalid argument "x" for "--open" flag: "x" is none"#));
}

#[test]
fn a_file_counts_more_than_the_environment_and_less_than_the_command_line() {
    let parse = |yaml: &str, args: &[&str]| {
        let file = FromFile::read(&command(), yaml.as_bytes(), &[])
            .map_err(|error| Stop::Mistake(error.to_string()))?;
        let args = ["prog"].into_iter().chain(args.iter().copied()).map(OsString::from);
        parse_with_env(PROGRAM, command(), args, (Path::new("/etc/prog.yaml"), &file), |name| match name {
            "ASP_PROG_PORT" => Some("1".into()),
            "ASP_PROG_BACKEND" => Some("nft".into()),
            _ => None,
        })
    };
    let yaml = "ipAddress: 10.0.0.1\nport: 2\ncleanup: true\ninterface: eth0\n";
    let matches = parse(yaml, &["--interface=eth1"]).unwrap();
    let text = |name: &str| matches.get_one::<String>(name).unwrap().clone();
    assert_eq!(
        (text("ip-address"), text("interface"), text("backend")),
        ("10.0.0.1".into(), "eth1".into(), "nft".into())
    );
    assert_eq!((matches.get_one::<u16>("port"), matches.get_one::<bool>("cleanup")), (Some(&2), Some(&true)));
    for (yaml, expected) in [
        (
            "port: 0\n",
            "/etc/prog.yaml: line 1, column 7: port: invalid argument \"0\" for \"--port\" flag: 0 is not in 1..=65535",
        ),
        ("port: [1, 2]\n", "line 1, column 11: port: one value is expected, and no list"),
        (
            "ip-address: x\n",
            "line 1, column 1: unknown key \"ip-address\"; known are backend, cleanup, daemon, interface, ipAddress, port, v",
        ),
        (
            "help: true\n",
            "line 1, column 1: unknown key \"help\"; known are backend, cleanup, daemon, interface, ipAddress, port, v",
        ),
        ("port: 1\nport: 2\n", "line 2, column 1: \"port\": stands there twice"),
    ] {
        assert_eq!(parse(yaml, &["--ip-address=10.0.0.1"]).unwrap_err(), Stop::Mistake(expected.to_owned()));
    }
}
