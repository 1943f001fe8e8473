//! A network that fails on demand: a TCP proxy in front of a server, each direction of which can be held, emptied, slowed,
//! cut or closed at any time. What a control says holds from the moment at which it returns. The benchmarks use it, too.
#![allow(dead_code, reason = "each test uses some of it")]

#[path = "proxy/pump.rs"]
mod pump;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::port::{Port, listen};
use pump::{Socket, carry};

/// Bytes of one direction of one connection that are held back at most, by [`Proxy::hold`] or [`Proxy::delay`]; then the
/// sender has to wait. Far above what HTTP/2 lets anybody send unasked.
pub(crate) const HELD_BYTES: usize = 32 << 20;

/// Longest that anything is waited for: a broken test must end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

pub(crate) const BOTH: [Way; 2] = [Way::Up, Way::Down];

/// What becomes of those who connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Door {
    #[default]
    Open,
    /// They are let in and thrown out.
    Reset,
    /// Nobody listens.
    Closed,
}

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Flow {
    #[default]
    Pass,
    /// They are taken, and kept.
    Hold,
    /// They are taken, and thrown away.
    Swallow,
}

/// The rules of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Rule {
    flow: Flow,
    delay: Duration,
    bytes_per_second: Option<NonZeroU64>,
    /// Connections below this number get no byte of this direction any more.
    deaf_below: u64,
    /// Connections below this number got a FIN in this direction.
    closed_below: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    door: Door,
    ways: [Rule; 2],
    /// Connections below this number are reset.
    reset_below: u64,
    /// Connections below this number are reset if bytes of theirs are lost: they could only go on with garbage.
    lost_reset_below: u64,
}

/// What has come through so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections taken, those reset at once included.
    pub(crate) connections: u64,
    /// Connections that are open.
    pub(crate) open: u64,
    /// The most that were open at once.
    pub(crate) most_open: u64,
    /// Connections that were cut behind a certain byte.
    pub(crate) cuts: u64,
    /// Bytes taken, by [`Way`].
    taken: [u64; 2],
    /// Bytes handed on.
    passed: [u64; 2],
    listening: bool,
}

impl Counts {
    pub(crate) fn taken(&self, way: Way) -> u64 {
        self.taken[way as usize]
    }

    pub(crate) fn passed(&self, way: Way) -> u64 {
        self.passed[way as usize]
    }
}

/// What all connections share.
struct Link {
    upstream: SocketAddr,
    rules: watch::Sender<Rules>,
    counts: Mutex<Counts>,
    changed: Condvar,
    /// Bytes until the cut, by [`Way`].
    until_cut: Mutex<[Option<u64>; 2]>,
    /// When the line is free again, by [`Way`].
    free_at: Mutex<[Option<tokio::time::Instant>; 2]>,
}

impl Link {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        let result = change(&mut self.counts());
        self.changed.notify_all();
        result
    }
}

/// The proxy; dropping it resets everything.
pub(crate) struct Proxy {
    port: Port,
    link: Arc<Link>,
    /// Its own, so that it can be ended with all its connections.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Proxy {
    /// Begins to hand on what comes to the server at `upstream`, which needn't be there yet.
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let port = Port::reserve();
        let link = Arc::new(Link {
            upstream,
            rules: watch::Sender::new(Rules::default()),
            counts: Mutex::default(),
            changed: Condvar::new(),
            until_cut: Mutex::default(),
            free_at: Mutex::default(),
        });
        runtime.spawn(accept(port.address(), link.clone()));
        let proxy = Self { port, link, runtime: Some(runtime) };
        proxy.wait(|counts| counts.listening);
        proxy
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.link.counts()
    }

    /// Waits until the counts are such.
    #[track_caller]
    pub(crate) fn wait(&self, such: impl Fn(&Counts) -> bool) {
        let begun = Instant::now();
        let mut counts = self.link.counts();
        while !such(&counts) {
            let left = PATIENCE.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("waited for {PATIENCE:?}, and it's still {counts:?}"));
            counts = self.link.changed.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything passes, and new connections are taken. What was held goes on its way; connections that have lost bytes
    /// are reset.
    pub(crate) fn pass(&self) {
        let next = self.next();
        *self.link.until_cut.lock().unwrap() = [None; 2];
        self.change(|rules| {
            *rules = Rules { lost_reset_below: next, reset_below: rules.reset_below, ..keep(rules) };
        });
        self.wait(|counts| counts.listening);
    }

    /// New connections pass; those that are open now never hear of each other again in the directions that are
    /// swallowed, and aren't told so: a load balancer that has forgotten them.
    pub(crate) fn pass_new(&self) {
        let next = self.next();
        self.change(|rules| {
            for rule in &mut rules.ways {
                if rule.flow == Flow::Swallow {
                    rule.flow = Flow::Pass;
                    rule.deaf_below = next;
                }
            }
        });
    }

    /// Nobody listens any more; connecting is refused. What is open goes on.
    pub(crate) fn refuse(&self) {
        self.change(|rules| rules.door = Door::Closed);
        self.wait(|counts| !counts.listening);
    }

    /// Who connects is let in and reset at once. What is open goes on.
    pub(crate) fn reset_newcomers(&self) {
        self.change(|rules| rules.door = Door::Reset);
        self.wait(|counts| counts.listening);
    }

    /// Bytes are taken (up to [`HELD_BYTES`]) and kept, also those of new connections.
    pub(crate) fn hold(&self, ways: &[Way]) {
        self.each(ways, |rule| rule.flow = Flow::Hold);
    }

    /// Whatever comes is thrown away, also the end, and also what was held.
    pub(crate) fn swallow(&self, ways: &[Way]) {
        self.each(ways, |rule| rule.flow = Flow::Swallow);
    }

    /// The server gets everything and the client never hears of it.
    pub(crate) fn drop_answers(&self) {
        self.swallow(&[Way::Down]);
    }

    /// Resets all connections (RST, not FIN) that are open now.
    pub(crate) fn reset_all(&self) {
        let next = self.next();
        self.change(|rules| rules.reset_below = next);
    }

    /// The receiving side of this direction gets a FIN on all connections that are open now; what comes later in this
    /// direction is thrown away. The other direction goes on.
    pub(crate) fn half_close(&self, way: Way) {
        let next = self.next();
        self.each(&[way], |rule| rule.closed_below = next);
    }

    /// No byte is handed on earlier than this after it came.
    pub(crate) fn delay(&self, ways: &[Way], delay: Duration) {
        self.each(ways, |rule| rule.delay = delay);
    }

    /// All connections together get so much in this direction.
    pub(crate) fn limit(&self, way: Way, bytes_per_second: u64) {
        self.each(&[way], |rule| rule.bytes_per_second = Some(NonZeroU64::new(bytes_per_second).unwrap()));
    }

    /// When exactly so many more bytes have gone this way, over all connections, the connection of the last one ends
    /// there: a FIN behind it, a RST to whom it came from. Once; all else passes.
    pub(crate) fn cut_after(&self, way: Way, bytes: u64) {
        self.link.until_cut.lock().unwrap()[way as usize] = Some(bytes);
        // Whoever waits for bytes must learn that none may go.
        self.change(|_| {});
    }

    /// Ends the proxy and all its connections.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            self.reset_all();
            runtime.shutdown_background();
        }
    }

    /// The number of the next connection.
    fn next(&self) -> u64 {
        self.counts().connections
    }

    fn each(&self, ways: &[Way], change: impl Fn(&mut Rule)) {
        self.change(|rules| ways.iter().for_each(|&way| change(&mut rules.ways[way as usize])));
    }

    /// Waits for the bytes that are being handed on under the old rules.
    fn change(&self, change: impl FnOnce(&mut Rules)) {
        self.link.rules.send_modify(change);
    }
}

/// What healing doesn't undo: what has happened to connections.
fn keep(rules: &Rules) -> Rules {
    let kept = |rule: Rule| Rule { deaf_below: rule.deaf_below, closed_below: rule.closed_below, ..Rule::default() };
    Rules { ways: rules.ways.map(kept), ..Rules::default() }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn accept(address: SocketAddr, link: Arc<Link>) {
    let mut rules = link.rules.subscribe();
    let mut listener = None;
    loop {
        if rules.borrow_and_update().door == Door::Closed {
            listener = None;
            link.count(|counts| counts.listening = false);
            if rules.changed().await.is_err() {
                return;
            }
            continue;
        }
        let listening = match &listener {
            Some(listener) => listener,
            None => listener.insert(listen(address).await),
        };
        link.count(|counts| counts.listening = true);
        tokio::select! {
            biased;
            changed = rules.changed() => if changed.is_err() { return },
            accepted = listening.accept() => if let Ok((client, _)) = accepted {
                let number = link.count(|counts| {
                    counts.connections += 1;
                    counts.connections - 1
                });
                if link.rules.borrow().door == Door::Open {
                    tokio::spawn(connection(link.clone(), client, number));
                } else {
                    let _ = client.set_zero_linger();
                }
            }
        }
    }
}

async fn connection(link: Arc<Link>, client: TcpStream, number: u64) {
    let Ok(server) = TcpStream::connect(link.upstream).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let (Ok(client), Ok(server)) = (Socket::new(client), Socket::new(server)) else { return };
    link.count(|counts| {
        counts.open += 1;
        counts.most_open = counts.most_open.max(counts.open);
    });
    carry(&link, number, &client, &server).await;
    drop((client, server));
    link.count(|counts| counts.open -= 1);
}
