//! Places that are taken, by whom, and for how long.

use std::{
    io,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    super::{Page, SocketError, probe, serve::patiently, serve_tcp, serve_unix, unix},
    Check, Fake, in_background, pages,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_fails_is_tried_for_ever_more_and_more_slowly() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let pauses = runtime.block_on(async {
        let tries = Mutex::new(Vec::new());
        patiently(&"x", Duration::from_secs(1), || async {
            let mut tries = tries.lock().unwrap();
            tries.push(tokio::time::Instant::now());
            if tries.len() < 8 { Err("no") } else { Ok(()) }
        })
        .await;
        let tries = tries.into_inner().unwrap();
        tries.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect::<Vec<_>>()
    });
    assert_eq!(pauses, [1, 2, 4, 8, 10, 10, 10]);
}

#[test]
fn an_address_that_is_not_here_is_no_reason_to_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let serving =
            tokio::spawn(serve_tcp("192.0.2.1:0".parse().unwrap(), pages(&Arc::new(Fake::default()))));
        assert!(tokio::time::timeout(Duration::from_millis(1200), serving).await.is_err());
    });
}

fn serve_at(path: &Path, name: &'static str) {
    let subject = Arc::new(Fake { checks: Mutex::new(vec![Check::ok(name, "")]), ..Fake::default() });
    let (path, pages) = (path.to_owned(), pages(&subject));
    // Spawned, as programs do.
    in_background(move || async move { tokio::spawn(serve_unix(path, pages)).await });
}

fn answers(path: &Path, name: &str) -> bool {
    probe(path, Page::Ready).is_ok_and(|report| report.contains(name))
}

#[test]
fn a_socket_is_taken_over_dead_or_alive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.sock");
    drop(UnixListener::bind(&path).unwrap());
    // And one of a process that was killed while it made its own.
    drop(UnixListener::bind(folder.path().join("probe.sock~")).unwrap());
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    serve_at(&path, "first");
    eventually("the first", || answers(&path, "first"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    serve_at(&path, "second");
    eventually("the second", || {
        // There is always one that answers.
        let report = probe(&path, Page::Ready).unwrap();
        report.contains("second")
    });
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["probe.sock"], "nothing is left beside it");
}

#[test]
fn a_file_is_left_alone_and_a_folder_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/probe.sock");
    serve_at(&path, "found");
    std::thread::sleep(Duration::from_millis(100));
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "precious").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    eventually("the socket", || answers(&path, "found"));
}

#[tokio::test]
async fn errors_name_the_path_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = unix::bind(&file).await.unwrap_err();
    assert!(matches!(error, SocketError::NotASocket { .. }));
    assert_eq!(
        error.to_string(),
        format!("{} is there and is no socket; give another path, or remove it", file.display())
    );
    for path in [folder.path().join("none/sock"), folder.path().join("x".repeat(120))] {
        let error = unix::bind(&path).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot ") && error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn a_name_is_as_good_as_a_path() {
    let name = format!("@common-test/{}", std::process::id());
    let place = super::super::place(&name, "x").unwrap();
    serve_at(&place, "named");
    eventually("its answer", || answers(&place, "named"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let taken = runtime.block_on(unix::bind(&place)).unwrap_err();
    assert!(matches!(taken, SocketError::Name { .. }), "{taken}");
    let own = super::super::place("@", "x").unwrap();
    assert!(own.to_str().unwrap().starts_with("@x/4"), "{own:?}");
    assert_eq!(super::super::place("", "x"), None);
}
