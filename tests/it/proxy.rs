//! The fault proxy itself, before anything is believed that was tested with it: plain TCP, each of its modes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::proxy::{BOTH, Proxy, Way};

/// Far longer than anything takes: a broken test must end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a thread of its own per connection.
fn serve(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let handle = handle.clone();
            std::thread::spawn(move || handle(socket));
        }
    });
    address
}

/// Sends back what comes, then a FIN.
fn echo() -> SocketAddr {
    serve(|mut socket| {
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = socket.read(&mut chunk) {
            if socket.write_all(&chunk[..read]).is_err() {
                return;
            }
        }
    })
}

/// What came on a connection, and how it ended.
type Heard = (Vec<u8>, std::io::Result<()>);

/// Tells, of each connection, what came and how it ended.
fn sink() -> (SocketAddr, Receiver<Heard>) {
    let (told, heard) = channel();
    let address = serve(move |mut socket| {
        let mut all = Vec::new();
        let ended = socket.read_to_end(&mut all).map(drop);
        let _ = told.send((all, ended));
    });
    (address, heard)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let socket = TcpStream::connect(proxy.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Sends `text` and expects it back.
fn exchange(socket: &mut TcpStream, text: &[u8]) {
    socket.write_all(text).unwrap();
    expect(socket, text);
}

fn expect(socket: &mut TcpStream, text: &[u8]) {
    let mut back = vec![0; text.len()];
    socket.read_exact(&mut back).unwrap();
    assert_eq!(back, text);
}

/// That the connection was ended from the other side by a RST.
fn expect_reset(socket: &mut TcpStream) {
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
}

#[test]
fn what_passes_is_passed_on_as_it_is_with_its_end_and_counted() {
    let (proxy, noise) = (Proxy::start(echo()), noise(1, 3 << 20));
    let mut socket = connect(&proxy);
    let (mut sender, sent) = (socket.try_clone().unwrap(), noise.clone());
    let sending = std::thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    socket.read_to_end(&mut back).unwrap();
    sending.join().unwrap();
    assert!(back == noise);
    drop(socket);
    proxy.wait(|counts| counts.open == 0);
    let counts = proxy.counts();
    for way in BOTH {
        assert_eq!((counts.taken(way), counts.passed(way)), (3 << 20, 3 << 20));
    }
    assert_eq!((counts.connections, counts.most_open, counts.cuts), (1, 1, 0));
}

#[test]
fn whoever_connects_is_refused_or_reset_while_open_connections_go_on() {
    let proxy = Proxy::start(echo());
    let mut open = connect(&proxy);
    exchange(&mut open, b"before");
    for _ in 0..3 {
        proxy.refuse();
        let refused = TcpStream::connect(proxy.address()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        proxy.reset_newcomers();
        expect_reset(&mut connect(&proxy));
        exchange(&mut open, b"meanwhile");
        proxy.pass();
        exchange(&mut connect(&proxy), b"after");
    }
}

#[test]
fn a_server_that_is_not_there_is_a_reset() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    expect_reset(&mut connect(&Proxy::start(nobody)));
}

#[test]
fn what_is_held_is_taken_and_arrives_later() {
    let proxy = Proxy::start(echo());
    let mut socket = connect(&proxy);
    exchange(&mut socket, b"one");
    proxy.hold(&[Way::Up]);
    socket.write_all(b"two").unwrap();
    proxy.wait(|counts| counts.taken(Way::Up) == 6);
    assert_eq!(proxy.counts().passed(Way::Up), 3);
    // Now the answer is held too: the server has got everything, and the client nothing.
    proxy.hold(&[Way::Down]);
    proxy.pass();
    proxy.hold(&[Way::Down]);
    socket.write_all(b"three").unwrap();
    proxy.wait(|counts| counts.taken(Way::Down) == 11);
    assert!(proxy.counts().passed(Way::Down) <= 6);
    proxy.pass();
    expect(&mut socket, b"twothree");
    // Also of connections that come meanwhile, and with their end.
    proxy.hold(&BOTH);
    let mut late = connect(&proxy);
    late.write_all(b"late").unwrap();
    late.shutdown(std::net::Shutdown::Write).unwrap();
    proxy.wait(|counts| counts.taken(Way::Up) == 15);
    assert_eq!(proxy.counts().passed(Way::Up), 11);
    proxy.pass();
    let mut back = Vec::new();
    late.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"late");
}

#[test]
fn all_connections_are_reset_and_new_ones_pass() {
    let (address, heard) = sink();
    let proxy = Proxy::start(address);
    let mut sockets: Vec<_> = (0..5).map(|_| connect(&proxy)).collect();
    for socket in &mut sockets {
        socket.write_all(b"x").unwrap();
    }
    proxy.wait(|counts| counts.passed(Way::Up) == 5);
    proxy.reset_all();
    for mut socket in sockets {
        expect_reset(&mut socket);
        let (_, ended) = heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
    proxy.wait(|counts| counts.open == 0);
    let mut socket = connect(&proxy);
    socket.write_all(b"y").unwrap();
    drop(socket);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap().0, b"y");
}

#[test]
fn one_way_is_closed_and_the_other_goes_on() {
    // Up: the server sees the end, and can still answer.
    let address = serve(|mut socket| {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).unwrap();
        socket.write_all(&all).unwrap();
    });
    let proxy = Proxy::start(address);
    let mut socket = connect(&proxy);
    socket.write_all(b"all there is").unwrap();
    proxy.wait(|counts| counts.passed(Way::Up) == 12);
    proxy.half_close(Way::Up);
    socket.write_all(b"too late").unwrap();
    let mut back = Vec::new();
    socket.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"all there is");

    // Down: the client sees the end, and the server still gets what the client says.
    let (address, heard) = sink();
    let proxy = Proxy::start(address);
    let mut socket = connect(&proxy);
    socket.write_all(b"hello").unwrap();
    proxy.wait(|counts| counts.passed(Way::Up) == 5);
    proxy.half_close(Way::Down);
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    socket.write_all(b" there").unwrap();
    drop(socket);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap().0, b"hello there");
    // A new connection has both ways.
    exchange(&mut connect(&Proxy::start(echo())), b"x");
}

#[test]
fn no_byte_comes_earlier_than_its_delay_and_none_waits_for_another() {
    let proxy = Proxy::start(echo());
    let mut socket = connect(&proxy);
    let delay = Duration::from_millis(30);
    proxy.delay(&BOTH, delay);
    for _ in 0..3 {
        let begun = Instant::now();
        exchange(&mut socket, b"there and back");
        assert!(begun.elapsed() >= 2 * delay, "{:?}", begun.elapsed());
    }
    // However long the delay is, megabytes are taken meanwhile: it limits no bandwidth.
    proxy.delay(&BOTH, Duration::from_secs(3600));
    let passed = proxy.counts().passed(Way::Up);
    socket.write_all(&noise(2, 8 << 20)).unwrap();
    proxy.wait(|counts| counts.taken(Way::Up) == passed + (8 << 20));
    assert_eq!(proxy.counts().passed(Way::Up), passed);
    proxy.reset_all();
    expect_reset(&mut socket);
}

#[test]
fn the_answers_are_dropped_and_the_server_has_it_all() {
    let proxy = Proxy::start(echo());
    let mut deaf = connect(&proxy);
    exchange(&mut deaf, b"one");
    proxy.drop_answers();
    deaf.write_all(b"two").unwrap();
    proxy.wait(|counts| counts.taken(Way::Down) == 6);
    assert_eq!((proxy.counts().passed(Way::Up), proxy.counts().passed(Way::Down)), (6, 3));
    // The old connection stays deaf, and isn't told; a new one is not.
    proxy.pass_new();
    exchange(&mut connect(&proxy), b"new");
    deaf.write_all(b"more").unwrap();
    proxy.wait(|counts| counts.taken(Way::Down) == 13);
    assert_eq!(proxy.counts().passed(Way::Down), 6);
    // In the end it is reset: what comes now could only be misunderstood.
    proxy.pass();
    expect_reset(&mut deaf);
    exchange(&mut connect(&proxy), b"whole");
}

#[test]
fn an_end_is_swallowed_too() {
    let address = serve(|mut socket| {
        let _ = socket.read(&mut [0]);
        // And closes.
    });
    let proxy = Proxy::start(address);
    let mut socket = connect(&proxy);
    proxy.drop_answers();
    socket.write_all(b"x").unwrap();
    proxy.wait(|counts| counts.passed(Way::Up) == 1);
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let silence = socket.read(&mut [0]).unwrap_err().kind();
    assert!(matches!(silence, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{silence}");
}

#[test]
fn a_cut_is_behind_exactly_that_byte_once() {
    let sent = noise(3, 200_000);
    let mut rng = fastrand::Rng::with_seed(4);
    let lengths = [0, 1, 65_536, 65_537, 199_999].into_iter().chain((0..20).map(|_| rng.u64(..200_000)));
    for length in lengths.collect::<Vec<_>>() {
        let (address, heard) = sink();
        let proxy = Proxy::start(address);
        let mut socket = connect(&proxy);
        proxy.cut_after(Way::Up, length);
        // At some time it fails; when, depends on the buffers between.
        let _ = socket.write_all(&sent);
        let (got, _) = heard.recv_timeout(PATIENCE).unwrap();
        assert!(got == sent[..length as usize], "{} bytes instead of {length}", got.len());
        proxy.wait(|counts| counts.cuts == 1 && counts.open == 0);
        assert_eq!(proxy.counts().passed(Way::Up), length);
        let mut socket = connect(&proxy);
        socket.write_all(&sent).unwrap();
        drop(socket);
        assert!(heard.recv_timeout(PATIENCE).unwrap().0 == sent);
    }
    // Downwards.
    let proxy = Proxy::start(echo());
    let mut socket = connect(&proxy);
    proxy.cut_after(Way::Down, 1000);
    socket.write_all(&sent[..5000]).unwrap();
    let mut got = Vec::new();
    let _ = socket.read_to_end(&mut got);
    assert!(got == sent[..1000]);
}

#[test]
fn bandwidth_is_limited_over_all_connections() {
    let (address, heard) = sink();
    let proxy = Proxy::start(address);
    proxy.limit(Way::Up, 400_000);
    let begun = Instant::now();
    let mut sockets: Vec<_> = (0..4).map(|_| connect(&proxy)).collect();
    for socket in &mut sockets {
        socket.write_all(&noise(5, 40_000)).unwrap();
    }
    drop(sockets);
    for _ in 0..4 {
        assert!(heard.recv_timeout(PATIENCE).unwrap().0 == noise(5, 40_000));
    }
    // 160 kB, less the slice with which each begins.
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[test]
fn killing_it_resets_everything() {
    let mut proxy = Proxy::start(echo());
    let mut socket = connect(&proxy);
    exchange(&mut socket, b"x");
    let address = proxy.address();
    proxy.kill();
    let ended = socket.read(&mut [0]);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < PATIENCE);
    }
}
