//! What can go wrong between here and Sift, told so that an operator knows what to do next.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tonic::Status;

use super::classify::{Fault, classify, classify_http};
use super::flows::Difference;

/// Why there is no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Neither a URI nor a profile was given, and there is no default profile.
    #[error(
        "no destination: give its URI (--uri or SIFT_URI, with the key in SIFT_API_KEY or --api-key-file), \
         or name a profile (--profile), or put grpc_uri and api_key at the top level of {}",
        profile_file.display()
    )]
    NoDestination {
        /// Where the default profile would be.
        profile_file: PathBuf,
    },
    /// The URI is not an endpoint's.
    #[error(
        "{uri:?} is not the URI of a gRPC endpoint: {problem}. A right one looks like \
         https://grpc-api.example.com or http://127.0.0.1:50051"
    )]
    InvalidUri {
        /// As given; hidden if it might hold a password.
        uri: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Plain `http` to another machine, without `insecure`.
    #[error(
        "{name} is plain http to another machine: the key and the data could be read on the way. \
         Use https, or --insecure if that network is trusted"
    )]
    PlainTextRefused {
        /// The destination.
        name: String,
    },
    /// Only loopback destinations can do without a key.
    #[error(
        "no API key for {name}: set SIFT_API_KEY, or name a file that holds it with --api-key-file, \
         or a profile with --profile"
    )]
    MissingKey {
        /// The destination.
        name: String,
    },
    /// What was found is no key.
    #[error("the API key from {origin} can't be used: {problem}")]
    InvalidKey {
        /// Where it was found.
        origin: String,
        /// What is wrong with it; never the key itself.
        problem: &'static str,
    },
    /// A file that the options name can't be read.
    #[error("can't read the {what} {}: {source}", path.display())]
    ReadFile {
        /// What the file was to be.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that the options name is not what it should be.
    #[error("the {what} {} can't be used: {problem}", path.display())]
    InvalidFile {
        /// What the file was to be.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The profile file has no such table.
    #[error("{} has no profile {profile:?}; it has: {}", path.display(), listed(known))]
    UnknownProfile {
        /// The profile that was asked for.
        profile: String,
        /// The profile file.
        path: PathBuf,
        /// The profiles it has.
        known: Vec<String>,
    },
    /// The profile has no URI, and none was given.
    #[error(
        "{} has no grpc_uri (nor uri) in {}: add it, give --uri, or choose another profile with --profile",
        path.display(),
        profile.as_deref().map_or("its top level".to_owned(), |name| format!("profile {name:?}"))
    )]
    IncompleteProfile {
        /// The table, or `None` for the top level.
        profile: Option<String>,
        /// The profile file.
        path: PathBuf,
    },
    /// Options that don't go together.
    #[error("{problem}")]
    InvalidOptions {
        /// What is wrong with them.
        problem: &'static str,
    },
    /// The certificates that were given can't be used.
    #[error("can't set up TLS for {name}: {detail}; check the CA and client certificate files")]
    TlsSetup {
        /// The destination.
        name: String,
        /// The TLS library's reason.
        detail: String,
    },
    /// The host's name has no address.
    #[error(
        "can't find the address of {host:?} ({name}): {detail}; check the spelling and the network"
    )]
    Unresolved {
        /// The destination.
        name: String,
        /// The host looked up.
        host: String,
        /// The resolver's reason.
        detail: String,
    },
    /// The host answers that nothing listens there.
    #[error(
        "{name} refuses connections: nothing listens on that port, or a firewall is in between"
    )]
    Refused {
        /// The destination.
        name: String,
    },
    /// No way to the host, or no answer in time.
    #[error("can't reach {name} ({doing}): {detail}; check the network, the host and the port")]
    Unreachable {
        /// The destination.
        name: String,
        /// What was being done.
        doing: &'static str,
        /// What happened.
        detail: String,
    },
    /// The host was reached, but there is no secure connection to it.
    #[error(
        "no TLS connection to {name}: {detail}. If its certificate is signed privately, give the \
         authority with --ca-cert; if it speaks plain text, use http"
    )]
    TlsHandshake {
        /// The destination.
        name: String,
        /// The TLS library's reason.
        detail: String,
    },
    /// Something answers, but not a gRPC server.
    #[error(
        "{name} answers, but not as a gRPC server: {detail}. Check the port, http against https, and \
         that the URI is the gRPC endpoint's, not the REST one's"
    )]
    NotGrpc {
        /// The destination.
        name: String,
        /// What came back.
        detail: String,
    },
    /// A gRPC server without Sift's ping.
    #[error(
        "{name} is not Sift's gRPC endpoint: it does not know sift.ping.v1 ({detail}). Check the URI; \
         Sift's REST endpoint is another one"
    )]
    PingUnimplemented {
        /// The destination.
        name: String,
        /// The server's answer.
        detail: String,
    },
    /// The server does not accept the key.
    #[error(
        "{name} does not accept the API key ({detail}): check that it is this organization's and not expired"
    )]
    Unauthenticated {
        /// The destination.
        name: String,
        /// The server's answer.
        detail: String,
    },
    /// The server knows the key, but it may not do this.
    #[error(
        "{name} knows the API key but denies it access ({detail}): ask its administrator for the permission to ingest"
    )]
    PermissionDenied {
        /// The destination.
        name: String,
        /// The server's answer.
        detail: String,
    },
    /// The server was reached but can't serve now.
    #[error("{name} was reached but failed to answer a ping ({detail}); try again later")]
    PingFailed {
        /// The destination.
        name: String,
        /// The server's answer.
        detail: String,
    },
}

/// What a caller has to tell apart about a [`ConnectError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// The options are wrong; nothing was sent.
    Usage,
    /// There is no such destination, no way to it, or it can't serve.
    Unreachable,
    /// It is there, and does not let these credentials in.
    CredentialsRefused,
}

impl ConnectError {
    /// Whether the options, the way there, or the credentials are to blame.
    pub fn kind(&self) -> ConnectErrorKind {
        match self {
            ConnectError::NoDestination { .. }
            | ConnectError::InvalidUri { .. }
            | ConnectError::PlainTextRefused { .. }
            | ConnectError::MissingKey { .. }
            | ConnectError::InvalidKey { .. }
            | ConnectError::ReadFile { .. }
            | ConnectError::InvalidFile { .. }
            | ConnectError::UnknownProfile { .. }
            | ConnectError::IncompleteProfile { .. }
            | ConnectError::InvalidOptions { .. }
            | ConnectError::TlsSetup { .. } => ConnectErrorKind::Usage,
            ConnectError::Unresolved { .. }
            | ConnectError::Refused { .. }
            | ConnectError::Unreachable { .. }
            | ConnectError::TlsHandshake { .. }
            | ConnectError::NotGrpc { .. }
            | ConnectError::PingUnimplemented { .. }
            | ConnectError::PingFailed { .. } => ConnectErrorKind::Unreachable,
            ConnectError::Unauthenticated { .. } | ConnectError::PermissionDenied { .. } => {
                ConnectErrorKind::CredentialsRefused
            }
        }
    }
}

/// Why what must precede the data could not be registered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The server refused, or the connection failed.
    #[error("{call} failed: {}", Shown(status))]
    Call {
        /// The gRPC method.
        call: &'static str,
        /// What came back.
        status: Status,
    },
    /// No answer in time.
    #[error("{call} was not answered within {} s", waited.as_secs_f64())]
    Timeout {
        /// The gRPC method.
        call: &'static str,
        /// How long was waited.
        waited: Duration,
    },
    /// An answer without what it must hold.
    #[error("the answer to {call} has no {field}: the destination does not behave like Sift")]
    MissingField {
        /// The gRPC method.
        call: &'static str,
        /// What is missing.
        field: &'static str,
    },
    /// The recorded ingestion config has an empty field that identifies it.
    #[error("the recorded ingestion config has no {field}: its flows can't be registered")]
    MissingIdentity {
        /// The empty field.
        field: &'static str,
    },
    /// A run without client key would be created anew by each replay.
    #[error(
        "the recorded run {name:?} has no client key: each replay would make another run of that name. \
         Record it with one, or replay into an existing run"
    )]
    MissingRunKey {
        /// The run's name.
        name: String,
    },
    /// The server says that it exists, but does not show it.
    #[error(
        "the destination says that the {what} with client key {client_key:?} exists, but does not list it: \
         it may be archived, or the API key may not see it"
    )]
    NotListed {
        /// Ingestion config or run.
        what: &'static str,
        /// Its client key.
        client_key: String,
    },
    /// The client key belongs to another asset's config.
    #[error(
        "the ingestion config {client_key:?} belongs to asset {destination:?} at the destination, but to \
         {recorded:?} in the recording: two assets can't share a client key"
    )]
    AssetDiffers {
        /// The config's client key.
        client_key: String,
        /// The asset's name in the recording.
        recorded: String,
        /// The asset's name at the destination.
        destination: String,
    },
    /// A flow of that name exists and is another one.
    #[error(
        "flow {flow:?} exists at the destination and differs{}: {difference}. The recording needs another \
         client key (a new version of the schema)",
        channel.as_deref().map_or(String::new(), |channel| format!(" in channel {channel:?}"))
    )]
    FlowDiffers {
        /// The flow's name.
        flow: String,
        /// The channel's name in the recording, if one channel is to blame.
        channel: Option<String>,
        /// What differs.
        difference: Difference,
    },
    /// More pages or flows than any real configuration has.
    #[error("{call} went on beyond {limit} {what}: the destination does not behave like Sift")]
    TooMany {
        /// The gRPC method.
        call: &'static str,
        /// The limit.
        limit: usize,
        /// What is counted.
        what: &'static str,
    },
    /// The server says that a flow exists and does not list it, again and again.
    #[error(
        "flow {flow:?} could not be added: the destination says that it exists but does not list it; \
         try again later"
    )]
    FlowNotListed {
        /// The flow's name.
        flow: String,
    },
}

impl RegisterError {
    /// What to do about it: [`Fault::Data`] means that this recording can't be registered as it is.
    pub fn fault(&self) -> Fault {
        match self {
            RegisterError::Call { status, .. } => classify(status),
            RegisterError::Timeout { .. } | RegisterError::FlowNotListed { .. } => {
                Fault::Transient { retry_after: None }
            }
            RegisterError::MissingField { .. } | RegisterError::TooMany { .. } => {
                Fault::Destination
            }
            RegisterError::MissingIdentity { .. }
            | RegisterError::MissingRunKey { .. }
            | RegisterError::NotListed { .. }
            | RegisterError::AssetDiffers { .. }
            | RegisterError::FlowDiffers { .. } => Fault::Data,
        }
    }
}

/// Why a stream of data was not acknowledged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The server ended the stream with an error status.
    #[error("the destination refused the stream: {}", Shown(.0))]
    Refused(Status),
    /// Something in between answered, not the gRPC server.
    #[error(
        "HTTP status {status} instead of a gRPC answer: a proxy or load balancer answered for the destination"
    )]
    HttpStatus {
        /// The HTTP status code.
        status: u16,
    },
    /// The answer ended without a gRPC status.
    #[error(
        "the answer ended without a gRPC status: it was cut off on the way; nothing is acknowledged"
    )]
    NoStatus,
    /// Status OK without the message that the method returns.
    #[error("the destination answered OK without its response message; nothing is acknowledged")]
    NoResponse,
    /// The answer is far larger than any acknowledgement.
    #[error("the answer is larger than {limit} bytes; nothing is acknowledged")]
    OversizedResponse {
        /// The limit.
        limit: usize,
    },
    /// The server said OK before it had everything.
    #[error("the destination answered OK before the stream ended; nothing is acknowledged")]
    EndedEarly,
    /// The connection failed or was reset.
    #[error("the connection failed: {detail}")]
    Transport {
        /// What the layers below say.
        detail: String,
    },
    /// Everything was sent, and no answer came.
    #[error("no acknowledgement within {} s after the end of the stream", waited.as_secs_f64())]
    AcknowledgementTimeout {
        /// How long was waited.
        waited: Duration,
    },
    /// The server takes no more bytes.
    #[error("the destination has taken no data for {} s", waited.as_secs_f64())]
    Stalled {
        /// How long was waited.
        waited: Duration,
    },
    /// The stream has already failed; its first error said why.
    #[error("the stream has already ended")]
    Ended,
}

impl SendError {
    /// What to do about it.
    pub fn fault(&self) -> Fault {
        match self {
            SendError::Refused(status) => classify(status),
            SendError::HttpStatus { status } => classify_http(*status),
            SendError::NoStatus
            | SendError::NoResponse
            | SendError::OversizedResponse { .. }
            | SendError::EndedEarly
            | SendError::Transport { .. }
            | SendError::AcknowledgementTimeout { .. }
            | SendError::Stalled { .. }
            | SendError::Ended => Fault::Transient { retry_after: None },
        }
    }
}

/// A status on one line: its message comes from outside and may hold anything.
pub(super) struct Shown<'a>(pub(super) &'a Status);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.code())?;
        if !self.0.message().is_empty() {
            f.write_str(": ")?;
            for character in self.0.message().chars().take(1000) {
                if character.is_control() {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
        }
        Ok(())
    }
}

/// An error with all its causes on one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Wrappers often repeat what they wrap.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
