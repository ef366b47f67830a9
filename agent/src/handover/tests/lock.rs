//! One at a time.

use std::{
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
use testkit::{eventually, netns::Netns};

use super::{
    super::lock::{self, LockError},
    LONG, binder, busy_binder, foreign_binder, take,
};

#[test]
fn one_instance_at_a_time_has_the_lock() {
    let _netns = Netns::enter();
    let first = take(Duration::ZERO).unwrap();
    let error = take(Duration::from_millis(20)).unwrap_err();
    let pid = std::process::id().cast_signed();
    assert!(matches!(error, LockError::Held { pid: Some(held_by), .. } if held_by == pid), "{error}");
    assert!(
        error.to_string().contains("has held the lock @apiserver-proxy-sidecar/1/lock for 20ms"),
        "{error}"
    );
    let second = thread::spawn(|| take(LONG).map(drop));
    drop(first);
    second.join().unwrap().unwrap();
}

#[test]
fn a_lock_is_never_held_twice() {
    let _netns = Netns::enter();
    let held = Mutex::new(());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let lock = take(LONG).unwrap();
                    let alone = held.try_lock().expect("nobody else has it");
                    thread::sleep(Duration::from_millis(1));
                    drop((alone, lock));
                }
            });
        }
    });
}

#[test]
fn a_lock_ends_with_its_process_and_waiting_for_a_stopped_one_ends_too() {
    let _netns = Netns::enter();
    let other = binder(&[lock::NAME]);
    other.signal(SIGSTOP);
    let started = Instant::now();
    let error = take(Duration::from_millis(50)).unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert!(error.to_string().contains(&format!("(process {})", other.pid())), "{error}");
    let waiting = thread::spawn(|| take(LONG).map(drop));
    other.signal(SIGKILL);
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_lock_whose_holder_can_not_be_asked_is_held_all_the_same() {
    let _netns = Netns::enter();
    let _other = busy_binder(lock::NAME);
    let error = take(Duration::ZERO).unwrap_err();
    assert!(matches!(error, LockError::Held { pid: None, .. }), "{error}");
}

#[test]
fn programs_that_are_started_hold_no_name() {
    let _netns = Netns::enter();
    let lock = take(Duration::ZERO).unwrap();
    let _other = binder(&["something else"]);
    drop(lock);
    eventually(|| "a free lock".to_owned(), || take(Duration::ZERO).ok().map(drop));
}

#[test]
fn a_lock_that_another_user_holds_says_so() {
    let _netns = Netns::enter();
    let Some(other) = foreign_binder(&[lock::NAME]) else {
        return testkit::skipped("a lock of another user", "there is no other user in this user namespace");
    };
    let error = take(Duration::ZERO).unwrap_err();
    assert!(matches!(error, LockError::Foreign { uid: 65534, pid: Some(_), .. }), "{error}");
    assert!(error.to_string().contains(&format!("uid 65534 (process {})", other.pid())), "{error}");
}
