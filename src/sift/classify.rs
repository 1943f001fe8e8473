//! gRPC status → what to do.

use std::time::Duration;

use sift_rs::rate_limit;
use tonic::{Code, Status};

/// What kind of failure it was, and hence what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is wrong with the data or the credentials: try again later.
    Transient {
        /// The least time to wait, if the server named one. It comes from outside: cap it.
        retry_after: Option<Duration>,
    },
    /// The same data will be refused again.
    Data,
    /// The destination will refuse any data from these credentials: stop.
    Destination,
}

/// Says what to do about a failed request.
///
/// A status that nobody foresaw (`Unknown`, `Internal`) is taken for transient: proxies, resets and
/// crashed servers show so, and data given up for a proxy's sake would be lost.
pub fn classify(status: &Status) -> Fault {
    match status.code() {
        // Only a rate limit says when to come back; a message too large has the same code without it.
        Code::ResourceExhausted if rate_limit::is_rate_limited(status) => {
            Fault::Transient { retry_after: rate_limit::retry_delay(status) }
        }
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::DataLoss => Fault::Data,
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented => Fault::Destination,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable => Fault::Transient { retry_after: None },
    }
}

/// Says what to do about an HTTP status that came without a gRPC status, after the mapping that gRPC
/// prescribes: 401 is unauthenticated, 403 permission denied, 404 unimplemented, all else transient.
pub(super) fn classify_http(status: u16) -> Fault {
    match http_code(status) {
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented => Fault::Destination,
        _ => Fault::Transient { retry_after: None },
    }
}

/// The gRPC code of an HTTP status that came without one, after the mapping that gRPC prescribes.
pub(super) fn http_code(status: u16) -> Code {
    match status {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const AGAIN: Fault = Fault::Transient { retry_after: None };

    /// `google.rpc.Status` with one `RetryInfo` of that many seconds.
    fn retry_info(code: Code, seconds: u8) -> Status {
        let mut info = vec![0x0a, 2, 0x08, seconds];
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let mut any = vec![0x0a, url.len() as u8];
        any.extend_from_slice(url);
        any.extend_from_slice(&[0x12, info.len() as u8]);
        any.append(&mut info);
        let mut details = vec![0x08, code as u8, 0x1a, any.len() as u8];
        details.append(&mut any);
        Status::with_details(code, "slow down", Bytes::from(details))
    }

    #[test]
    fn each_code_has_its_fault() {
        let table = [
            (Code::Ok, AGAIN),
            (Code::Cancelled, AGAIN),
            (Code::Unknown, AGAIN),
            (Code::InvalidArgument, Fault::Data),
            (Code::DeadlineExceeded, AGAIN),
            (Code::NotFound, Fault::Data),
            (Code::AlreadyExists, Fault::Data),
            (Code::PermissionDenied, Fault::Destination),
            (Code::ResourceExhausted, Fault::Data),
            (Code::FailedPrecondition, Fault::Data),
            (Code::Aborted, AGAIN),
            (Code::OutOfRange, Fault::Data),
            (Code::Unimplemented, Fault::Destination),
            (Code::Internal, AGAIN),
            (Code::Unavailable, AGAIN),
            (Code::DataLoss, Fault::Data),
            (Code::Unauthenticated, Fault::Destination),
        ];
        assert_eq!(table.len(), 17);
        for (number, (code, fault)) in table.into_iter().enumerate() {
            assert_eq!(code as usize, number, "the table goes through all codes");
            assert_eq!(classify(&Status::new(code, "")), fault, "{code:?}");
        }
    }

    #[test]
    fn a_rate_limit_is_transient_and_its_delay_is_honoured() {
        assert_eq!(
            classify(&retry_info(Code::ResourceExhausted, 7)),
            Fault::Transient { retry_after: Some(Duration::from_secs(7)) }
        );
    }

    #[test]
    fn retry_info_does_not_excuse_other_codes() {
        assert_eq!(classify(&retry_info(Code::InvalidArgument, 7)), Fault::Data);
    }

    #[test]
    fn garbage_in_the_details_is_no_retry_info() {
        let status = Status::with_details(Code::ResourceExhausted, "message too large", Bytes::from_static(&[0xff; 9]));
        assert_eq!(classify(&status), Fault::Data);
    }

    #[test]
    fn http_statuses_map_as_grpc_prescribes() {
        for status in [401, 403, 404] {
            assert_eq!(classify_http(status), Fault::Destination);
        }
        for status in [200, 302, 400, 413, 429, 500, 502, 503, 504] {
            assert_eq!(classify_http(status), AGAIN);
        }
    }
}
