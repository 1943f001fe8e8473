//! What goes wrong in a receiver, and what clients are told.

use super::store::StoreError;
use std::net::SocketAddr;
use tonic::Status;

/// Why a receiver could not start or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}; choose another address or port (0: any free one)")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The API key can't be sent by any client.
    #[error("the API key must not be empty and may only hold visible ASCII characters")]
    ApiKey,
    /// The server ended with an error.
    #[error("the server failed: {0}; start the receiver again")]
    Serve(String),
}

/// Why a call about configs, assets or runs was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is no such thing.
    #[error("there is no {what} {id:?} here; create it first, or list what there is")]
    NotFound {
        /// The kind of thing.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// There is one already.
    #[error("there is already {what} {name:?}; use that one, or another name")]
    AlreadyExists {
        /// The kind of thing.
        what: &'static str,
        /// Its name or client key.
        name: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The thing is not in a state that allows the call.
    #[error("{0}")]
    Precondition(String),
    /// The receiver's bound on what it remembers is reached.
    #[error(
        "this receiver remembers at most {limit} bytes of configs, assets and runs; delete runs, or start it with a larger limit"
    )]
    Exhausted {
        /// The bound, in bytes.
        limit: usize,
    },
}

/// Text from outside, short enough for a message that travels in an HTTP header.
pub(super) fn clipped(text: &str) -> String {
    const MOST: usize = 120;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl RegistryError {
    pub(super) fn not_found(what: &'static str, id: &str) -> Self {
        let id = clipped(id);
        Self::NotFound { what, id }
    }

    pub(super) fn exists(what: &'static str, name: &str) -> Self {
        let name = clipped(name);
        Self::AlreadyExists { what, name }
    }
}

impl From<RegistryError> for Status {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        match error {
            RegistryError::NotFound { .. } => Self::not_found(message),
            RegistryError::AlreadyExists { .. } => Self::already_exists(message),
            RegistryError::Invalid(_) => Self::invalid_argument(message),
            RegistryError::Precondition(_) => Self::failed_precondition(message),
            RegistryError::Exhausted { .. } => Self::resource_exhausted(message),
        }
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Full(_) | StoreError::Closed => Self::unavailable(message),
            StoreError::Failed(_) => Self::internal(message),
        }
    }
}
