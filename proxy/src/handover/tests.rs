use std::{net::TcpStream, os::fd::AsFd};

use super::*;

/// Serves it on a runtime of its own, until the test ends.
fn in_background(listening: Vec<Listening>) {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve(listening))
    });
}

fn any() -> Listening {
    obtain(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0)
}

#[test]
fn who_asks_gets_the_same_socket_and_passes_it_on() {
    let first = any();
    let address = first.address;
    assert!(!first.taken_over);
    in_background(vec![first]);
    let second = one(address).unwrap();
    assert!(second.taken_over);
    let _client = TcpStream::connect(address).unwrap();
    assert!(second.socket.accept().is_ok());
    in_background(vec![second]);
    let third = obtain(&[address, "127.0.0.1:0".parse().unwrap()]).unwrap();
    assert_eq!(third.iter().map(|one| one.taken_over).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn what_is_free_is_bound() {
    let address = any().address;
    let again = one(address).unwrap();
    assert!(!again.taken_over && again.name.is_some());
}

/// Somebody with the name of an address who answers as told.
fn answering(answer: impl Fn(&std::os::unix::net::UnixStream) + Send + 'static) -> SocketAddr {
    let address = any().address;
    let name = UnixListener::bind_addr(&name_of(address).unwrap()).unwrap();
    std::thread::spawn(move || {
        // Kept, since the end of the connection would be an answer.
        let mut kept = Vec::new();
        for asking in name.incoming() {
            answer(asking.as_ref().unwrap());
            kept.push(asking);
        }
    });
    address
}

#[test]
fn wrong_answers_are_no_reason_to_fail() {
    let (other, unix) =
        (any(), UnixListener::bind_addr(&Name::from_abstract_name("proxy-test/other").unwrap()));
    let unix = unix.unwrap();
    type Answering = Box<dyn Fn(&std::os::unix::net::UnixStream) + Send>;
    let answers: [Answering; 4] = [
        Box::new(move |asking| message::send(asking, [other.socket.as_fd(), unix.as_fd()]).unwrap()),
        Box::new(|asking| message::send(asking, [asking.as_fd(), asking.as_fd()]).unwrap()),
        Box::new(|asking| io::Write::write_all(&mut &*asking, b"HTTP/1.1 400").unwrap()),
        Box::new(|_| {}),
    ];
    for answer in answers {
        let address = answering(answer);
        let told = ask(address, Instant::now() + Duration::from_millis(200));
        assert!(matches!(told, Answer::No(_)), "{told:?}");
        let listening = one(address).unwrap();
        assert!(!listening.taken_over && listening.name.is_none());
    }
}

/// What is written to the log meanwhile.
fn logged(during: impl FnOnce()) -> String {
    let (written, mut log) = UnixStream::pair().unwrap();
    let writer = move || written.try_clone().unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    tracing::subscriber::with_default(subscriber, during);
    let mut text = String::new();
    io::Read::read_to_string(&mut log, &mut text).unwrap();
    text
}

#[test]
fn every_reason_is_told_once() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let address = answering(move |asking| {
        let number = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match number % 2 {
            0 => io::Write::write_all(&mut &*asking, b"HTTP/1.1 400").unwrap(),
            _ => message::send(asking, [asking.as_fd(), asking.as_fd()]).unwrap(),
        }
    });
    let _taken = TcpListener::bind(address).unwrap();
    let log = logged(|| assert!(matches!(one(address), Err(ListenError::Taken(_)))));
    for why in
        ["the answer is not two sockets", "an older instance answered with another socket than that of"]
    {
        assert_eq!(log.matches(why).count(), 1, "{log}");
    }
}
