//! What can go wrong on a connection to Sift, told so that an operator knows what to do next.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

use super::classify::{Fault, classify, classify_http, http_code};
use super::connect_error::ConnectError;
use super::flows::Difference;

/// Why what must precede the data could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// There was no connection in the first place.
    #[error(transparent)]
    Connect(#[from] ConnectError),
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
    /// There is nothing with the id that was asked for.
    #[error(
        "no {what} has the id {id:?}: {}. Check the id, and that the API key belongs to its organization",
        Shown(status)
    )]
    NoSuchId {
        /// Run or asset.
        what: &'static str,
        /// The id.
        id: String,
        /// What came back.
        status: Status,
    },
    /// The recorded ingestion config has an empty field that identifies it.
    #[error("the recorded ingestion config has no {field}: its flows can't be registered")]
    MissingIdentity {
        /// The empty field.
        field: &'static str,
    },
    /// A run without client key would be created anew each time.
    #[error(
        "the run {name:?} has no client key: each replay would make another run of that name. \
         Record it with one, or deliver to an existing run"
    )]
    MissingRunKey {
        /// The run's name.
        name: String,
    },
    /// A run is asked for, without a name.
    #[error("the run to deliver to has no name: give one")]
    MissingRunName,
    /// Several runs have the name that was asked for.
    #[error(
        "the destination has several runs named {name:?}: {}. Rename all but one, archive them, or name another run",
        listed(run_ids)
    )]
    RunNotUnique {
        /// The name.
        name: String,
        /// Ids of the runs, of at most ten.
        run_ids: Vec<String>,
    },
    /// The run that was once created under this name has another one.
    #[error(
        "the run that was created as {name:?} is named {now:?} by now (its id is {run_id}): deliver to the run \
         {now:?}, or choose another name"
    )]
    RunRenamed {
        /// The name that was asked for.
        name: String,
        /// The run's present name.
        now: String,
        /// The run's id.
        run_id: String,
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
            RegisterError::Connect(error) => error.fault(),
            RegisterError::Call { status, .. } => classify(status),
            RegisterError::Timeout { .. } | RegisterError::FlowNotListed { .. } => {
                Fault::Transient { retry_after: None }
            }
            // Nothing is wrong with any recording: no other one would fare better.
            RegisterError::MissingField { .. }
            | RegisterError::TooMany { .. }
            | RegisterError::MissingRunName
            | RegisterError::RunNotUnique { .. }
            | RegisterError::RunRenamed { .. } => Fault::Destination,
            RegisterError::MissingIdentity { .. }
            | RegisterError::MissingRunKey { .. }
            | RegisterError::NoSuchId { .. }
            | RegisterError::NotListed { .. }
            | RegisterError::AssetDiffers { .. }
            | RegisterError::FlowDiffers { .. } => Fault::Data,
        }
    }

    /// Whether trying again may help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self.fault(), Fault::Transient { .. })
    }
}

/// Why a stream of data was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The server ended the stream with an error status.
    #[error("the destination refused the stream: {}", Shown(.0))]
    Refused(Status),
    /// Something in between answered, not the gRPC server.
    #[error("HTTP status {status} instead of a gRPC answer: a proxy or load balancer answered for the destination")]
    HttpStatus {
        /// The HTTP status code.
        status: u16,
    },
    /// The answer ended without a gRPC status.
    #[error("the answer ended without a gRPC status: it was cut off on the way; nothing is acknowledged")]
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

    /// The number of the gRPC status (0 to 16) that stands for it: the destination's own, if it gave one; 4
    /// (`DEADLINE_EXCEEDED`) if it was silent for too long, 14 (`UNAVAILABLE`) if the connection failed, what gRPC
    /// prescribes for an HTTP status, and 2 (`UNKNOWN`) for all else.
    pub fn code_number(&self) -> u8 {
        let code = match self {
            SendError::Refused(status) => status.code(),
            SendError::HttpStatus { status } => http_code(*status),
            SendError::Transport { .. } => Code::Unavailable,
            SendError::AcknowledgementTimeout { .. } | SendError::Stalled { .. } => Code::DeadlineExceeded,
            SendError::NoStatus
            | SendError::NoResponse
            | SendError::OversizedResponse { .. }
            | SendError::EndedEarly
            | SendError::Ended => Code::Unknown,
        };
        // There are seventeen.
        code as u8
    }
}

fn listed(ids: &[String]) -> String {
    // They come from outside.
    ids.iter().map(|id| id.escape_debug().to_string()).collect::<Vec<_>>().join(", ")
}

/// What tonic's wrappers say of themselves; the cause below them says more.
const TRANSPORT_ERROR: &str = "transport error";

/// A status on one line: its message comes from outside and may hold anything.
pub(super) struct Shown<'a>(pub(super) &'a Status);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.code())?;
        // Only a status that was made on this side has a source.
        if let Some(cause) = self.0.source() {
            return write!(f, ": {}", chain(cause));
        }
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
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let link = error.to_string();
        cause = error.source();
        // Wrappers often repeat what they wrap, or say nothing.
        if text.contains(&link) || (link == TRANSPORT_ERROR && cause.is_some()) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&link);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_fail_counts_as_a_grpc_status() {
        let second = Duration::from_secs(1);
        for number in 1..17 {
            let refused = SendError::Refused(Status::new(Code::from_i32(number), ""));
            assert_eq!(i32::from(refused.code_number()), number);
        }
        for (error, number) in [
            (SendError::Transport { detail: "reset".to_owned() }, 14),
            (SendError::AcknowledgementTimeout { waited: second }, 4),
            (SendError::Stalled { waited: second }, 4),
            (SendError::HttpStatus { status: 401 }, 16),
            (SendError::HttpStatus { status: 403 }, 7),
            (SendError::HttpStatus { status: 404 }, 12),
            (SendError::HttpStatus { status: 503 }, 14),
            (SendError::HttpStatus { status: 418 }, 2),
            (SendError::NoStatus, 2),
            (SendError::NoResponse, 2),
            (SendError::OversizedResponse { limit: 1 }, 2),
            (SendError::EndedEarly, 2),
            (SendError::Ended, 2),
        ] {
            assert_eq!(error.code_number(), number, "{error}");
        }
    }

    #[test]
    fn a_failure_to_connect_keeps_its_fault_and_its_words() {
        let fault = Fault::Transient { retry_after: Some(Duration::from_secs(3)) };
        let busy = || ConnectError::PingFailed { name: "here".to_owned(), detail: "busy".to_owned(), fault };
        let error = RegisterError::from(busy());
        assert_eq!((error.fault(), error.is_transient()), (fault, true));
        assert_eq!(error.to_string(), busy().to_string());
        let ill = ConnectError::PingFailed { name: "here".to_owned(), detail: "ill".to_owned(), fault: Fault::Data };
        let denied = ConnectError::PermissionDenied { name: "here".to_owned(), detail: "no".to_owned() };
        for error in [ill, denied] {
            let error = RegisterError::from(error);
            assert_eq!((error.fault(), error.is_transient()), (Fault::Destination, false), "never the data's: {error}");
        }
        let gone = RegisterError::from(ConnectError::Refused { name: "here".to_owned() });
        assert_eq!(gone.fault(), Fault::Transient { retry_after: None });
    }
}
