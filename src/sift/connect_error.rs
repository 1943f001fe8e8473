//! What can go wrong on the way to a connection, told so that an operator knows what to do next.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::classify::Fault;

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
    #[error("can't find the address of {host:?} ({name}): {detail}; check the spelling and the network")]
    Unresolved {
        /// The destination.
        name: String,
        /// The host looked up.
        host: String,
        /// The resolver's reason.
        detail: String,
    },
    /// The host answers that nothing listens there.
    #[error("{name} refuses connections: nothing listens on that port, or a firewall is in between")]
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
    /// The host was reached and hung up, or was cut off, before it had said what it is.
    #[error(
        "{name} was reached, but the connection ended before it answered ({detail}): it may be starting, shutting \
         down or overloaded. If that goes on, check the port, and http against https"
    )]
    Closed {
        /// The destination.
        name: String,
        /// What happened.
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
    #[error("{name} does not accept the API key ({detail}): check that it is this organization's and not expired")]
    Unauthenticated {
        /// The destination.
        name: String,
        /// The server's answer.
        detail: String,
    },
    /// The server wants a key, and there is none.
    #[error(
        "{name} asks for an API key, and none was given: set SIFT_API_KEY, or name a file that holds it \
         (--api-key-file) or a profile (--profile)"
    )]
    NoApiKey {
        /// The destination.
        name: String,
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
        /// What kind of answer it is.
        fault: Fault,
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
            | ConnectError::Closed { .. }
            | ConnectError::NotGrpc { .. }
            | ConnectError::PingUnimplemented { .. }
            | ConnectError::PingFailed { .. } => ConnectErrorKind::Unreachable,
            ConnectError::Unauthenticated { .. }
            | ConnectError::NoApiKey { .. }
            | ConnectError::PermissionDenied { .. } => ConnectErrorKind::CredentialsRefused,
        }
    }

    /// What to do about it: never is anything wrong with the data.
    pub fn fault(&self) -> Fault {
        match self {
            ConnectError::PingFailed { fault: transient @ Fault::Transient { .. }, .. } => *transient,
            error if error.is_transient() => Fault::Transient { retry_after: None },
            _ => Fault::Destination,
        }
    }

    /// Whether trying again may help without anybody changing anything: the network or the destination may come back,
    /// options, certificates and credentials don't mend themselves.
    pub fn is_transient(&self) -> bool {
        match self {
            ConnectError::Unresolved { .. }
            | ConnectError::Refused { .. }
            | ConnectError::Unreachable { .. }
            | ConnectError::Closed { .. } => true,
            ConnectError::PingFailed { fault, .. } => matches!(fault, Fault::Transient { .. }),
            _ => false,
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
