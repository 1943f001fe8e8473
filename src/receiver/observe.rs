//! What happens in a receiver, for those who want to show or count it.

use std::net::SocketAddr;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A client created an ingestion config.
    ConfigCreated {
        /// The id it was given.
        ingestion_config_id: String,
        /// The asset it is for.
        asset: String,
        /// The client's own key; may be empty.
        client_key: String,
        /// How many flows it started with.
        flows: usize,
    },
    /// A client added flows to an ingestion config.
    FlowsAdded {
        /// The config that has them now.
        ingestion_config_id: String,
        /// Their names.
        flows: Vec<String>,
    },
    /// A client created a run.
    RunCreated {
        /// The id it was given.
        run_id: String,
        /// Its name.
        name: String,
    },
    /// A client opened an ingest stream.
    StreamOpened {
        /// The stream's number: 1, 2, … since the receiver started.
        stream: u64,
        /// Who opened it, if known.
        peer: Option<SocketAddr>,
    },
    /// A request was refused, but its stream goes on.
    RequestRefused {
        /// The stream's number.
        stream: u64,
        /// The request's place in the stream, counted from 0.
        index: u64,
        /// Why.
        reason: String,
    },
    /// A stream ended, all that was accepted is on stable storage, and the client was told so.
    StreamAcknowledged {
        /// The stream's number.
        stream: u64,
        /// Requests stored.
        accepted: u64,
        /// Requests refused without ending the stream.
        refused: u64,
    },
    /// A stream was ended with an error; the client was told the reason.
    StreamRefused {
        /// The stream's number.
        stream: u64,
        /// Requests stored, though not acknowledged.
        accepted: u64,
        /// Why.
        reason: String,
    },
    /// A client went away before its stream ended.
    StreamBroken {
        /// The stream's number.
        stream: u64,
        /// Requests stored, though not acknowledged.
        accepted: u64,
    },
}

/// Is told of events, from several threads; it should return quickly.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn event(&self, _: &Event) {}
}
