//! What a failed connection or ping means.

use std::error::Error;
use std::io;

use tonic::{Code, Status};

use super::classify::classify;
use super::connect_error::ConnectError;
use super::error::{Shown, chain};
use super::uri::Address;

/// How hyper begins what it says of a name without address. If that changes, the error is only less exact.
const DNS_ERROR: &str = "dns error";

/// There is no connection. `name` is the destination's, in which its scheme stands, if it is known at all.
pub(super) fn connect_failed(name: &str, error: &(dyn Error + 'static)) -> ConnectError {
    let address = Address::parse(name).ok();
    let (name, detail) = (name.to_owned(), chain(error));
    if detail.contains(DNS_ERROR) {
        let host = address.map_or_else(|| name.clone(), |address| address.host);
        return ConnectError::Unresolved { name, host, detail };
    }
    match io_error_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => ConnectError::Refused { name },
        Some(
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied,
        ) => ConnectError::Unreachable { name, doing: "connecting", detail },
        Some(kind) if is_cut_off(kind) => ConnectError::Closed { name, detail },
        // What TLS makes of an answer that it can't accept.
        Some(io::ErrorKind::InvalidData) => ConnectError::TlsHandshake { name, detail },
        _ if address.is_some_and(|address| address.tls) => ConnectError::TlsHandshake { name, detail },
        _ => ConnectError::Unreachable { name, doing: "connecting", detail },
    }
}

/// The ping came back with an error, or there was no way to send it.
pub(super) fn ping_failed(name: &str, status: &Status) -> ConnectError {
    // Only a status that was made on this side has a source.
    let Some(cause) = status.source() else {
        return ping_refused(name, status);
    };
    if causes(cause).any(|cause| cause.is::<tonic::ConnectError>()) {
        return connect_failed(name, cause);
    }
    // HTTP/2 itself failed.
    let (name, detail) = (name.to_owned(), Shown(status).to_string());
    match io_error_kind(cause) {
        // What TLS says after the handshake, such as that it wants the client's certificate.
        Some(io::ErrorKind::InvalidData) => ConnectError::TlsHandshake { name, detail },
        Some(_) => ConnectError::Closed { name, detail },
        None if went_away(status) => ConnectError::Closed { name, detail },
        None => ConnectError::NotGrpc { name, detail },
    }
}

fn ping_refused(name: &str, status: &Status) -> ConnectError {
    let (name, detail) = (name.to_owned(), Shown(status).to_string());
    match status.code() {
        Code::Unauthenticated => ConnectError::Unauthenticated { name, detail },
        Code::PermissionDenied => ConnectError::PermissionDenied { name, detail },
        Code::Unimplemented => ConnectError::PingUnimplemented { name, detail },
        Code::Unknown | Code::Internal if not_grpc(status) => ConnectError::NotGrpc { name, detail },
        _ => ConnectError::PingFailed { name, detail, fault: classify(status) },
    }
}

/// An error with all that caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn io_error_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// Whether the other side hung up, or something between did: not what a server says that is the wrong one.
fn is_cut_off(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// Whether a peer that speaks HTTP/2 ended the connection in good order, or it was gone before the request was sent.
fn went_away(status: &Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::Unavailable)
        || Shown(status).to_string().contains("not a result of an error")
}

/// Whether tonic made this status of an answer that isn't gRPC's. It leaves no other trace than its
/// words; if they change, the error is only less exact.
fn not_grpc(status: &Status) -> bool {
    ["grpc-status", "protocol error"].iter().any(|words| status.message().contains(words))
}
