//! An embedded destination: a small gRPC server that speaks the parts of Sift's API that clients
//! need to ingest, and hands what it gets to a [`Store`].
//!
//! It serves demonstrations and tests; in front of a vehicle's own software it is an on-board
//! endpoint for Sift's SDKs in any language, which need not know that they do not talk to Sift.
//!
//! # What it promises
//!
//! * An ingest stream is acknowledged only when all of its requests are on stable storage
//!   ([`Store::flush`] has returned), or are counted as refused.
//! * A request is stored bit for bit, but without the fields that belong to the transport: the ids
//!   of config, run and organization, and `end_stream_on_validation_error`.
//! * A request that does not fit its ingestion config is never stored. If it says
//!   `end_stream_on_validation_error`, the stream ends with `INVALID_ARGUMENT`, and a message that
//!   names the request, flow, channel and reason; otherwise the stream goes on, and the request is
//!   counted and kept in memory for a while ([`Receiver::refused`]). Bytes that are not a protobuf
//!   message always end the stream, for then nobody knows what they say.
//! * When a stream ends with an error, by refusal, by a lost connection, or by shutdown, then what
//!   was accepted before stays stored (after a refusal, it is also flushed), but nothing of the
//!   stream is acknowledged: a client that sends it again stores it twice.
//! * Ids are derived from names and client keys: a receiver that is started again, with its
//!   [`Registry`] restored, gives the same things the same ids.
//! * Clients are told one organization, whose id stays the same for the same store of recordings
//!   ([`organization_of`], [`Registry::with_organization`]).
//! * Memory is bounded by [`ReceiverOptions`] and by [`Registry::with_limit`].
//!
//! # What it does not speak
//!
//! Everything else (data, annotations, rules, arbitrary protobuf messages, …) is answered with
//! `UNIMPLEMENTED`. There is no TLS: put it on loopback, or behind something that has it.

mod auth;
mod error;
mod filter;
mod identity;
mod ingest;
mod list;
mod observe;
mod outline;
mod recording;
mod refused;
mod schema;
mod server;
mod service;
mod state;
mod store;
mod stream;

pub use error::{ReceiverError, RegistryError};
pub use identity::{IdentityError, organization_of};
pub use observe::{Event, Observer, Unobserved};
pub use recording::{RecordingStore, Restored, restore};
pub use refused::RefusedRequest;
pub use server::{Receiver, ReceiverCounts, ReceiverOptions};
pub use state::Registry;
pub use store::{SessionKey, Store, StoreError};

#[cfg(test)]
mod tests;
