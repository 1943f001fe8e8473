//! An ingest server that refuses, throttles, keeps silent and dies on demand, and remembers every record that it ever
//! saw. What isn't ingesting is answered by the real receiver behind it.
#![allow(dead_code, reason = "each test uses some of it")]

mod counted;
mod fate;
mod seen;
mod service;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sift_replay::receiver::{Receiver, ReceiverOptions, Registry, SessionKey, Store, StoreError, Unobserved};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;
use sift_rs::runs::v2::CreateRunRequest;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::Status;

use super::port::Port;
pub(crate) use fate::{CallFate, Fate, rate_limited};
use fate::{CallFault, Faults};
pub(crate) use seen::{Copies, RecordId, Seen};

/// What is ingested.
pub(crate) type Request = IngestWithConfigDataStreamRequest;

/// The organization to which whoever asks belongs, unless told otherwise.
pub(crate) const ORGANIZATION: &str = "7a0f5c0e-0000-4000-8000-000000000001";

/// Longest that anything is waited for: a broken test must end.
const PATIENCE: Duration = Duration::from_secs(120);

type Trigger = Box<dyn FnOnce() + Send>;

/// The server, while its owner lives; see [`Server`] for what it can do.
pub(crate) struct Faulty {
    server: Arc<Server>,
    /// What configs, assets and runs there are; survives every death.
    pub(crate) registry: Arc<Registry>,
    _receiver: Receiver,
    back: Option<Runtime>,
}

/// The server's controls and memory; may be handed to threads and triggers.
pub(crate) struct Server {
    port: Port,
    /// Where the real receiver is.
    back: String,
    seen: Mutex<Seen>,
    faults: Mutex<Faults>,
    /// Done when so many messages have been seen.
    triggers: Mutex<Vec<(u64, Trigger)>>,
    /// Held while triggers do their work.
    pulling: Mutex<()>,
    /// How often held streams have been released.
    released: watch::Sender<u64>,
    /// Its own, so that it can be ended with all its connections; `None` while it is dead.
    runtime: Mutex<Option<Runtime>>,
}

impl Faulty {
    pub(crate) fn start() -> Self {
        let back = runtime();
        let registry = Arc::new(Registry::new());
        let (store, observer) = (Arc::new(Nothing), Arc::new(Unobserved));
        let starting = Receiver::start(ReceiverOptions::default(), registry.clone(), store, observer);
        // Not `block_on`: the caller may be asynchronous itself.
        let (sender, receiver) = std::sync::mpsc::channel();
        back.spawn(async move { drop(sender.send(starting.await.unwrap())) });
        let receiver = receiver.recv().unwrap();
        let server = Arc::new(Server {
            port: Port::reserve(),
            back: format!("http://{}", receiver.local_addr()),
            seen: Mutex::default(),
            faults: Mutex::default(),
            triggers: Mutex::default(),
            pulling: Mutex::default(),
            released: watch::Sender::new(0),
            runtime: Mutex::default(),
        });
        server.revive();
        Self { server, registry, _receiver: receiver, back: Some(back) }
    }

    /// What a trigger or another thread may hold.
    pub(crate) fn server(&self) -> Arc<Server> {
        self.server.clone()
    }
}

impl Deref for Faulty {
    type Target = Arc<Server>;

    fn deref(&self) -> &Arc<Server> {
        &self.server
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        lock(&self.server.triggers).clear();
        self.server.kill();
        if let Some(back) = self.back.take() {
            back.shutdown_background();
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A test that fails while it holds a lock shall not hide its failure behind others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.port.address()
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.address())
    }

    /// What it has seen so far.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Waits until it has seen such.
    #[track_caller]
    pub(crate) fn wait(&self, such: impl Fn(&Seen) -> bool) {
        assert!(self.wait_unless(such, || false));
    }

    /// Waits until it has seen such, or `over`; returns whether it has.
    #[track_caller]
    pub(crate) fn wait_unless(&self, such: impl Fn(&Seen) -> bool, mut over: impl FnMut() -> bool) -> bool {
        let begun = Instant::now();
        loop {
            let looked = Instant::now();
            {
                let seen = lock(&self.seen);
                if such(&seen) {
                    return true;
                }
                if over() {
                    return such(&seen);
                }
                assert!(begun.elapsed() < PATIENCE, "waited for {PATIENCE:?}, and it's still {}", seen.figures());
            }
            // Looking may take long, and the server can't go on meanwhile: most of the time is its.
            std::thread::sleep((looked.elapsed() * 4).max(Duration::from_millis(1)));
        }
    }

    /// Refuses the records that `refuse` says; `None` accepts them.
    pub(crate) fn refuse(&self, refuse: impl Fn(&Request) -> Option<Status> + Send + Sync + 'static) {
        lock(&self.faults).refuse = Some(Arc::new(refuse));
    }

    /// The fates of the next streams, behind those that are due already.
    pub(crate) fn next_streams(&self, fates: impl IntoIterator<Item = Fate>) {
        lock(&self.faults).next.extend(fates);
    }

    /// The fate of each `every`-th stream from now on.
    pub(crate) fn every(&self, every: u64, fate: Fate) {
        lock(&self.faults).every = Some((every, 0, fate));
    }

    /// The fate of all streams for which there is no other.
    pub(crate) fn all_streams(&self, fate: Fate) {
        lock(&self.faults).all = Some(fate);
    }

    /// The fate of the next `times` calls of a method (its last name; `*` for all but ingesting).
    pub(crate) fn next_calls(&self, method: &str, times: u64, fate: CallFate) {
        lock(&self.faults).calls.push(CallFault { method: method.to_owned(), left: times, fate });
    }

    /// The organization to which whoever asks belongs; `None`: nobody is told (UNIMPLEMENTED).
    pub(crate) fn organization(&self, id: Option<&str>) {
        lock(&self.faults).organization = id.map(str::to_owned);
    }

    /// Forgets all faults and triggers; held streams are released, silent ones stay silent. Not to be called by a
    /// trigger.
    pub(crate) fn heal(&self) {
        let _nobody_pulls = lock(&self.pulling);
        lock(&self.triggers).clear();
        let mut faults = lock(&self.faults);
        *faults = Faults { organization: faults.organization.take(), ..Faults::default() };
        drop(faults);
        self.release();
    }

    /// Answers the streams that are [`Fate::Held`] now.
    pub(crate) fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    /// Does `work` when `messages` more have been seen, before the next one is. It runs in the server: it may call this
    /// server's and a proxy's controls, but wait for nothing that the server should do.
    pub(crate) fn after(&self, messages: u64, work: impl FnOnce() + Send + 'static) {
        let at = lock(&self.seen).messages + messages;
        lock(&self.triggers).push((at, Box::new(work)));
    }

    /// Dies when `messages` more have been seen, of which the last is still remembered.
    pub(crate) fn die_after(self: &Arc<Self>, messages: u64) {
        let server = Arc::downgrade(self);
        self.after(messages, move || {
            if let Some(server) = server.upgrade() {
                server.kill();
            }
        });
    }

    /// Whether it is dead.
    pub(crate) fn is_dead(&self) -> bool {
        lock(&self.runtime).is_none()
    }

    /// Ends, and all its connections with it, without a word. From now on nothing is received or acknowledged;
    /// its sockets close soon after ([`Seen::is_listening`]).
    pub(crate) fn kill(&self) {
        let runtime = {
            let mut seen = lock(&self.seen);
            seen.life += 1;
            lock(&self.runtime).take()
        };
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    /// Comes back on the same port, and remembers everything.
    pub(crate) fn revive(self: &Arc<Self>) {
        let life = lock(&self.seen).life;
        let mut place = lock(&self.runtime);
        assert!(place.is_none(), "it lives");
        let runtime = runtime();
        runtime.spawn(service::serve(self.clone(), life));
        *place = Some(runtime);
        drop(place);
        self.wait(|seen| seen.listening_in == Some(life));
    }

    fn note<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut lock(&self.seen))
    }
}

/// Nothing is ever ingested by the receiver behind.
struct Nothing;

impl Store for Nothing {
    fn open(
        &self,
        _: &SessionKey,
        _: &CreateIngestionConfigRequest,
        _: Option<&CreateRunRequest>,
    ) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn record(&self, _: &SessionKey, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn flush(&self, _: &[SessionKey]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
}
