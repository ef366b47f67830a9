//! The balancer, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::{
    balancer::{Backend, Balancer, PROPAGATION},
    eventually,
};

/// A server that says its name and repeats what it is told, and is ready or not.
struct Server {
    backend: Backend,
    ready: Arc<AtomicBool>,
}

fn server(name: u8, ready: bool) -> Server {
    let ready = Arc::new(AtomicBool::new(ready));
    let health = Arc::clone(&ready);
    let health = listen(move |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let status = if health.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    });
    let address = listen(move |mut stream| {
        let _ = stream.write_all(&[name]);
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            let _ = stream.write_all(bytes.get(..length).unwrap());
        }
    });
    Server { backend: Backend { address, health }, ready }
}

/// Each connection in a thread of its own.
fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn dial(balancer: &Balancer) -> Option<(u8, TcpStream)> {
    let mut stream = TcpStream::connect(balancer.address()).unwrap();
    let mut name = [0];
    match stream.read_exact(&mut name) {
        Ok(()) => Some((name[0], stream)),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            None
        }
    }
}

fn used(balancer: &Balancer, wanted: usize) {
    let enough = || (balancer.in_use().len() == wanted).then_some(());
    eventually(|| format!("{wanted} in use"), enough);
}

#[test]
fn new_connections_go_round_and_old_ones_stay() {
    let balancer = Balancer::start(Duration::ZERO);
    assert!(dial(&balancer).is_none());
    assert_eq!(balancer.refused(), 1);

    let (one, two, never) = (server(1, true), server(2, true), server(3, false));
    for server in [&one, &two, &never] {
        balancer.add(server.backend);
    }
    used(&balancer, 2);
    let mut dialled: Vec<_> = (0..6).map(|_| dial(&balancer).unwrap()).collect();
    let count = |name| dialled.iter().filter(|(from, _)| *from == name).count();
    assert_eq!((count(1), count(2)), (3, 3));

    one.ready.store(false, Ordering::SeqCst);
    used(&balancer, 1);
    assert!((0..4).all(|_| dial(&balancer).unwrap().0 == 2));
    balancer.remove(two.backend);
    used(&balancer, 0);
    assert!(dial(&balancer).is_none());
    for (_, stream) in &mut dialled {
        stream.write_all(b"still there?").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"still there?");
    }

    one.ready.store(true, Ordering::SeqCst);
    used(&balancer, 1);
    assert_eq!(dial(&balancer).unwrap().0, 1);
}

#[test]
fn changes_take_a_while_to_get_about() {
    let delay = PROPAGATION;
    let balancer = Balancer::start(delay);
    let one = server(1, true);
    let begin = Instant::now();
    balancer.add(one.backend);
    used(&balancer, 1);
    assert!(begin.elapsed() >= delay);

    let begin = Instant::now();
    one.ready.store(false, Ordering::SeqCst);
    used(&balancer, 0);
    assert!(begin.elapsed() >= delay);
}

#[test]
fn a_reset_is_handed_on() {
    let balancer = Balancer::start(Duration::ZERO);
    let health = server(1, true).backend.health;
    // Unread bytes make the kernel send a reset when the connection is closed.
    let address = listen(|mut stream| {
        let _ = stream.write_all(b"1");
        let _ = stream.peek(&mut [0]);
    });
    balancer.add(Backend { address, health });
    used(&balancer, 1);
    let (_, mut stream) = dial(&balancer).unwrap();
    stream.write_all(b"never read").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_server_that_does_not_listen_is_a_connection_refused() {
    let balancer = Balancer::start(Duration::ZERO);
    let health = server(1, true).backend.health;
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    balancer.add(Backend { address: gone, health });
    used(&balancer, 1);
    assert!(dial(&balancer).is_none());
    assert_eq!(balancer.refused(), 1);
}
