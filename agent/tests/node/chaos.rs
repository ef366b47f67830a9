//! Everything that goes wrong on nodes, at random, for a minute, on all backends side by side.
//!
//! CHAOS_SECONDS in the environment makes it longer, CHAOS_SEED repeats a run: the seed is printed.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};
use testkit::{
    netns::Netns,
    process::{Running, sh, try_sh},
};

use crate::fixture::{Case, LEGACY_V4, LEGACY_V6, NFT_V4, NFT_V6, NFTABLES_V4, NFTABLES_V6, has_address};

/// After each step all is back by then: a sync interval of a second, as long again while somebody seems to fight,
/// and a machine that has other tests to run.
const BOUND: Duration = Duration::from_secs(15);
/// Somebody else's.
const FOREIGN_RULE: &str = "-A INPUT -s 10.9.9.9/32 -j ACCEPT";
const FOREIGN_ADDRESS: &str = "10.9.9.1/32";

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.roll(all.len() as u64)).unwrap()]
    }
}

struct Node {
    cases: [Case; 2],
    agent: Option<Running>,
    many_rules: String,
    log: Vec<String>,
    worst: Duration,
}

impl Node {
    fn new(cases: [Case; 2], many_rules: String) -> Self {
        sh(&format!("ip addr add {FOREIGN_ADDRESS} dev lo"));
        let mut node = Self { cases, agent: None, many_rules, log: Vec::new(), worst: Duration::ZERO };
        node.put_foreign_rule();
        node.start();
        node
    }

    fn start(&mut self) {
        let mut command = self.cases[0].agent(&["--sync-interval=1s", "--cleanup"]);
        self.agent = Some(Running::start(command.arg(format!("--ip-address={}", self.cases[1].address))));
    }

    fn put_foreign_rule(&self) {
        self.cases[0].iptables(FOREIGN_RULE);
    }

    /// Ours exactly once each, and what is somebody else's.
    fn is_in_place(&self) -> bool {
        let ours = |case: &Case| {
            let rules = case.rules().into_iter().filter(|rule| rule.contains(case.net)).collect::<Vec<_>>();
            rules == case.wanted() && has_address("lo", case.net)
        };
        self.cases.iter().all(ours)
            && self.cases[0].rules().contains(&format!("filter {FOREIGN_RULE}"))
            && has_address("lo", FOREIGN_ADDRESS)
            && sh("ip link show lo").contains(",UP")
    }

    fn wait(&mut self, seed: u64) {
        let begun = Instant::now();
        while !self.is_in_place() {
            assert!(
                begun.elapsed() < BOUND,
                "CHAOS_SEED={seed} on {}: not back within {BOUND:?} after:\n{}\n{:?}\n{:?}\n{}\nthe agent:\n{}",
                self.cases[0].backend,
                self.log.join("\n"),
                self.cases[0].rules(),
                self.cases[1].rules(),
                sh("ip addr show lo"),
                self.agent.as_ref().map(Running::printed).unwrap_or_default(),
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        self.worst = self.worst.max(begun.elapsed());
    }

    fn step(&mut self, dice: &mut Dice) {
        let case = dice.one_of(&self.cases);
        let (table, chain) = dice.one_of(&[
            ("raw", "PREROUTING"),
            ("raw", "OUTPUT"),
            ("filter", "INPUT"),
            ("filter", "OUTPUT"),
        ]);
        let step = dice.roll(8);
        self.log.push(format!("{step}: {} {table} {chain}", case.family));
        match step {
            0 => case.delete_one(table, chain),
            1 => self.flush(case, table),
            2 => drop(try_sh(&format!("ip addr del {} dev lo", case.net))),
            3 => {
                sh("ip link set lo down");
            }
            4 => {
                let file = File::create("/run/xtables.lock").unwrap();
                let held = Flock::lock(file, FlockArg::LockExclusive).unwrap();
                sh(&format!("ip addr del {} dev lo", case.net));
                std::thread::sleep(Duration::from_millis(dice.roll(300)));
                drop(held);
            }
            5 => {
                // Replaces the table filter, ours in it included.
                let restore = format!("iptables-{}-restore", case.variant);
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("rules");
                std::fs::write(&file, &self.many_rules).unwrap();
                sh(&format!("{restore} < {}", file.display()));
                self.cases[0].iptables("-F FORWARD");
                self.put_foreign_rule();
            }
            6 => {
                let agent = self.agent.take().unwrap();
                agent.signal(Signal::SIGKILL);
                agent.wait();
                case.delete_one(table, chain);
                self.start();
            }
            _ => {
                self.agent.as_ref().unwrap().signal(Signal::SIGSTOP);
                self.flush(case, table);
                sh(&format!("ip addr del {} dev lo", case.net));
                std::thread::sleep(Duration::from_millis(dice.roll(200)));
                self.agent.as_ref().unwrap().signal(Signal::SIGCONT);
            }
        }
    }

    fn flush(&self, case: Case, table: &str) {
        case.flush(table);
        if table == "filter" && case.family == "iptables" && case.backend != "nftables" {
            self.put_foreign_rule();
        }
    }
}

fn chaos(cases: [Case; 2], seed: u64, seconds: u64, many_rules: String) {
    let _netns = Netns::enter();
    let mut dice = Dice(seed);
    let mut node = Node::new(cases, many_rules);
    node.wait(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        node.step(&mut dice);
        node.wait(seed);
        std::thread::sleep(Duration::from_millis(dice.roll(300)));
    }
    let (status, printed) = node.agent.take().unwrap().stop();
    assert!(status.success(), "{printed}");
    for case in cases {
        let left: Vec<String> = case.rules().into_iter().filter(|rule| rule.contains(case.net)).collect();
        assert_eq!(left, Vec::<String>::new(), "CHAOS_SEED={seed} {printed}");
        assert!(!has_address("lo", case.net));
    }
    assert!(case_has_foreign(cases[0]) && has_address("lo", FOREIGN_ADDRESS));
    println!(
        "{}: {} steps, the longest took {:?} to be seen back",
        cases[0].backend,
        node.log.len(),
        node.worst
    );
}

fn case_has_foreign(case: Case) -> bool {
    case.rules().contains(&format!("filter {FOREIGN_RULE}"))
}

#[test]
fn chaos_is_survived() {
    let number = |name, default| std::env::var(name).map_or(default, |text: String| text.parse().unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("CHAOS_SEED", u64::from(now.subsec_nanos()));
    let seconds = number("CHAOS_SECONDS", 60);
    println!("CHAOS_SEED={seed}");
    let mut many = String::from("*filter\n");
    for n in 0..15_000 {
        many += &format!("-A FORWARD -s 10.{}.{}.1/32 -p tcp --dport 443 -j ACCEPT\n", n / 250, n % 250);
    }
    many += "COMMIT\n";
    let backends = [[NFT_V4, NFT_V6], [NFTABLES_V4, NFTABLES_V6], [LEGACY_V4, LEGACY_V6]];
    let threads = backends.map(|cases| {
        let many = many.clone();
        std::thread::spawn(move || chaos(cases, seed, seconds, many))
    });
    let outcomes = threads.map(std::thread::JoinHandle::join);
    assert!(outcomes.iter().all(Result::is_ok), "repeat it with CHAOS_SEED={seed}");
}
