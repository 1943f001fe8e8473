//! What a server is to do wrong.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};

use super::{ORGANIZATION, Request};

/// What becomes of an ingest stream.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It is taken, and acknowledged at its end.
    Taken,
    /// It is refused before anything of it is read.
    Refused(Status),
    /// So many messages are taken, then it is refused.
    RefusedAfter(u64, Status),
    /// All of it is taken, then it is refused.
    RefusedAtEnd(Status),
    /// All of it is taken, and there is never an answer.
    Silent,
    /// Nothing of it is taken, and there is never an answer.
    Unread,
    /// It is acknowledged so long after its end.
    Late(Duration),
    /// It is acknowledged when held streams are released.
    Held,
    /// All of it is taken, then the stream alone is reset.
    Reset,
    /// Something of it is taken, then OK is said to all of it.
    Early,
}

/// What becomes of a call.
#[derive(Clone, Debug)]
pub(crate) enum CallFate {
    /// It is refused.
    Refused(Status),
    /// It is done, and the answer is this error.
    DoneBut(Status),
    /// It is done, and there is never an answer.
    Silent,
}

#[derive(Debug)]
pub(super) struct CallFault {
    pub(super) method: String,
    pub(super) left: u64,
    pub(super) fate: CallFate,
}

type Refuse = Arc<dyn Fn(&Request) -> Option<Status> + Send + Sync>;

pub(super) struct Faults {
    pub(super) refuse: Option<Refuse>,
    pub(super) next: VecDeque<Fate>,
    /// Which, how many streams since, and what.
    pub(super) every: Option<(u64, u64, Fate)>,
    pub(super) all: Option<Fate>,
    pub(super) calls: Vec<CallFault>,
    pub(super) organization: Option<String>,
}

impl Default for Faults {
    fn default() -> Self {
        let organization = Some(ORGANIZATION.to_owned());
        Self { refuse: None, next: VecDeque::new(), every: None, all: None, calls: Vec::new(), organization }
    }
}

impl Faults {
    /// The fate of the stream that begins.
    pub(super) fn stream(&mut self) -> Fate {
        if let Some(fate) = self.next.pop_front() {
            return fate;
        }
        if let Some((every, since, fate)) = &mut self.every {
            *since += 1;
            if since == every {
                *since = 0;
                return fate.clone();
            }
        }
        self.all.clone().unwrap_or(Fate::Taken)
    }

    /// The fate of a call, if it has one of its own.
    pub(super) fn call(&mut self, method: &str) -> Option<CallFate> {
        let fits = |fault: &&mut CallFault| fault.left > 0 && (fault.method == "*" || fault.method == method);
        let fault = self.calls.iter_mut().find(fits)?;
        fault.left = if fault.left == u64::MAX { u64::MAX } else { fault.left - 1 };
        Some(fault.fate.clone())
    }
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<pbjson_types::Duration>,
}

/// What Sift says to who is too fast: RESOURCE_EXHAUSTED, with the time to wait.
pub(crate) fn rate_limited(wait: Duration) -> Status {
    let (seconds, nanos) = (wait.as_secs() as i64, wait.subsec_nanos() as i32);
    let info = RetryInfo { retry_delay: Some(pbjson_types::Duration { seconds, nanos }) };
    let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
    let details = vec![Any { type_url, value: info.encode_to_vec() }];
    let code = Code::ResourceExhausted;
    let details = Details { code: code as i32, details }.encode_to_vec();
    Status::with_details(code, "slow down", details.into())
}
