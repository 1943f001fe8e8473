//! One connection on its way through the proxy.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::Shutdown;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::{Flow, HELD_BYTES, Link, Rules, Way};

/// Bytes taken at once.
const CHUNK: usize = 64 << 10;

/// One end of a connection.
pub(super) struct Socket {
    io: TcpStream,
    /// The same socket: only the standard library can send a FIN without owning it.
    std: std::net::TcpStream,
}

impl Socket {
    pub(super) fn new(io: TcpStream) -> std::io::Result<Self> {
        io.set_nodelay(true)?;
        let io = io.into_std()?;
        let std = io.try_clone()?;
        Ok(Self { io: TcpStream::from_std(io)?, std })
    }

    fn fin(&self) {
        let _ = self.std.shutdown(Shutdown::Write);
    }

    /// Closing it will reset it.
    fn reset(&self) {
        let _ = self.io.set_zero_linger();
    }
}

/// Why a connection doesn't go on.
enum Broken {
    Reset,
    /// Cut behind a byte that went this way.
    Cut(Way),
}

/// Carries bytes both ways until both sides have closed, or something breaks.
pub(super) async fn carry(link: &Link, number: u64, client: &Socket, server: &Socket) {
    let up = Pump::new(link, number, Way::Up, client, server);
    let down = Pump::new(link, number, Way::Down, server, client);
    match tokio::try_join!(up.run(), down.run()) {
        Ok(((), ())) => {}
        Err(Broken::Reset) => {
            client.reset();
            server.reset();
        }
        Err(Broken::Cut(way)) => {
            let (from, to) = if way == Way::Up { (client, server) } else { (server, client) };
            to.fin();
            from.reset();
            link.count(|counts| counts.cuts += 1);
        }
    }
}

/// What was taken.
struct Chunk {
    /// When it may go on.
    due: Instant,
    bytes: Vec<u8>,
    /// How much of it has gone.
    gone: usize,
}

struct Pump<'a> {
    link: &'a Link,
    number: u64,
    way: Way,
    from: &'a Socket,
    to: &'a Socket,
    held: VecDeque<Chunk>,
    held_bytes: usize,
    /// Whether the sender may send more.
    open: bool,
    /// Whether bytes, or a FIN, were thrown away: nothing may follow them.
    lost: bool,
    /// Whether the receiver has got its FIN.
    closed: bool,
    /// When the bandwidth allows the next byte.
    free_at: Option<Instant>,
}

impl<'a> Pump<'a> {
    fn new(link: &'a Link, number: u64, way: Way, from: &'a Socket, to: &'a Socket) -> Self {
        let held = VecDeque::new();
        Self { link, number, way, from, to, held, held_bytes: 0, open: true, lost: false, closed: false, free_at: None }
    }

    async fn run(mut self) -> Result<(), Broken> {
        let mut rules = self.link.rules.subscribe();
        loop {
            let now = *rules.borrow_and_update();
            self.obey(&now)?;
            let holds = now.ways[self.way as usize].flow == Flow::Hold;
            if !self.open && (self.lost || self.held.is_empty() && !holds) {
                if !self.lost && !self.closed {
                    self.to.fin();
                }
                return Ok(());
            }
            let due = self.held.front().map(|chunk| self.free_at.map_or(chunk.due, |free| free.max(chunk.due)));
            let due = due.filter(|_| !holds);
            let reads = self.open && self.held_bytes < HELD_BYTES;
            tokio::select! {
                changed = rules.changed() => if changed.is_err() { return Err(Broken::Reset) },
                ready = self.from.io.readable(), if reads => {
                    ready.map_err(|_| Broken::Reset)?;
                    self.take()?;
                }
                ready = write_when(self.to, due), if due.is_some() => {
                    ready.map_err(|_| Broken::Reset)?;
                    self.hand_on()?;
                }
            }
        }
    }

    /// What the rules say of this connection.
    fn obey(&mut self, rules: &Rules) -> Result<(), Broken> {
        let rule = rules.ways[self.way as usize];
        if self.number < rules.reset_below || (self.lost && self.number < rules.lost_reset_below) {
            return Err(Broken::Reset);
        }
        if self.number < rule.closed_below && !self.closed {
            self.closed = true;
            self.lost = true;
            self.to.fin();
        }
        if rule.flow == Flow::Swallow || self.number < rule.deaf_below {
            self.lost = true;
        }
        if self.lost {
            self.held.clear();
            self.held_bytes = 0;
        }
        // Nothing may go any more: the cut is here.
        if self.link.until_cut.lock().unwrap()[self.way as usize] == Some(0) {
            return self.cut();
        }
        Ok(())
    }

    fn cut(&self) -> Result<(), Broken> {
        self.link.until_cut.lock().unwrap()[self.way as usize] = None;
        Err(Broken::Cut(self.way))
    }

    fn take(&mut self) -> Result<(), Broken> {
        let mut chunk = vec![0; CHUNK];
        let taken = match self.from.io.try_read(&mut chunk) {
            Ok(0) => {
                self.open = false;
                return Ok(());
            }
            Ok(taken) => taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Broken::Reset),
        };
        chunk.truncate(taken);
        self.link.count(|counts| counts.taken[self.way as usize] += taken as u64);
        if !self.lost {
            let delay = self.link.rules.borrow().ways[self.way as usize].delay;
            self.held.push_back(Chunk { due: Instant::now() + delay, bytes: chunk, gone: 0 });
            self.held_bytes += taken;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), Broken> {
        // Held on to while writing, so that a change of rules that has returned is obeyed by every byte.
        let rules = self.link.rules.borrow();
        let rule = rules.ways[self.way as usize];
        let forbidden = rule.flow != Flow::Pass || self.number < rule.deaf_below.max(rule.closed_below);
        if forbidden || self.number < rules.reset_below {
            return Ok(());
        }
        let Some(chunk) = self.held.front_mut() else { return Ok(()) };
        let rest = &chunk.bytes[chunk.gone..];
        let mut until_cut = self.link.until_cut.lock().unwrap();
        let until_cut = &mut until_cut[self.way as usize];
        // Slices of about 10 ms of bandwidth.
        let slice = rule.bytes_per_second.map_or(u64::MAX, |rate| (rate.get() / 100).max(1));
        let most = slice.min(until_cut.unwrap_or(u64::MAX)).min(rest.len() as u64) as usize;
        let passed = match self.to.io.try_write(&rest[..most]) {
            Ok(passed) => passed,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Broken::Reset),
        };
        let mut cut = false;
        if let Some(left) = until_cut {
            *left -= passed as u64;
            cut = *left == 0;
        }
        chunk.gone += passed;
        if chunk.gone == chunk.bytes.len() {
            self.held.pop_front();
        }
        self.held_bytes -= passed;
        self.free_at = rule.bytes_per_second.map(|rate| {
            let mut free_at = self.link.free_at.lock().unwrap();
            let free_at = &mut free_at[self.way as usize];
            let begin = free_at.map_or(Instant::now(), |at| at.max(Instant::now()));
            *free_at.insert(begin + std::time::Duration::from_secs_f64(passed as f64 / rate.get() as f64))
        });
        self.link.count(|counts| counts.passed[self.way as usize] += passed as u64);
        if cut {
            *until_cut = None;
            return Err(Broken::Cut(self.way));
        }
        Ok(())
    }
}

/// Returns when `due` is past and the socket takes bytes.
async fn write_when(to: &Socket, due: Option<Instant>) -> std::io::Result<()> {
    if let Some(due) = due {
        sleep_until(due).await;
    }
    to.io.writable().await
}
