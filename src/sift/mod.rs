//! Sift as a gRPC client sees it: where to send and as whom, registering what precedes the data, and
//! sending buffers of ready-made messages.
//!
//! Nothing here knows of files, frames or sessions: bytes go in, outcomes come out. Retrying, halving
//! and checkpoints belong to the layer above, which decides by the [`Fault`] of each error.

mod api_key;
mod assets;
mod classify;
mod connect_error;
mod connection;
mod credentials;
mod diagnosis;
mod error;
mod filter;
mod flows;
mod gzip;
mod labels;
mod organization;
mod profile;
mod register;
mod runs;
mod send;
#[cfg(all(test, feature = "receiver"))]
mod tests;
mod transport;
mod uri;

pub use api_key::ApiKey;
pub use assets::update_asset;
pub use classify::{Fault, classify};
pub use connect_error::{ConnectError, ConnectErrorKind};
pub use connection::Connection;
pub use credentials::{Destination, DestinationOptions, Timeouts};
pub use error::{RegisterError, SendError};
pub use flows::{Difference, add_flows};
pub use register::{Registration, as_asset, register};
pub use runs::{RunRequest, find_or_create_run_named, get_run, load_run};
pub use send::{IngestStream, MESSAGE_PREFIX_BYTES, message_prefix};
