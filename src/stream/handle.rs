//! The stream as its user holds it.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;

use prost::Message;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingestion_configs::v2::FlowConfig;
use sift_rs::runs::v2::Run;

use super::descriptor::FlowDescriptor;
use super::encodeable::Encodeable;
use super::error::{FinishError, Finished, StreamError};
use super::forms::RunSelector;
use super::intake::Intake;
use super::metrics::SiftStreamMetricsSnapshot;
use super::send_error::{SendError, SiftStreamSendError, SiftStreamTrySendError, TrySendError};
use crate::record::{self, RecordError, Timestamp};

type Request = IngestWithConfigDataStreamRequest;

/// How a stream works: [`LiveStreamingOnly`](super::LiveStreamingOnly),
/// [`LiveStreamingWithBackups`](super::LiveStreamingWithBackups) or [`FileBackup`](super::FileBackup).
pub trait Transport: sealed::Mode {}

pub(super) mod sealed {
    use super::*;

    /// What the modes do differently.
    pub trait Mode: Send + Sync + Sized {
        fn intake(&self) -> &dyn Intake;

        /// Goes on with another run.
        fn attach(&mut self, run: RunSelector) -> impl Future<Output = Result<Run, StreamError>> + Send;

        /// Goes on without a run.
        fn detach(&mut self);

        /// Makes flows known, to the stream and to Sift.
        fn add_flows(&mut self, flows: &[FlowConfig]) -> impl Future<Output = Result<(), StreamError>> + Send;

        fn snapshot(&self) -> SiftStreamMetricsSnapshot;

        /// Why nothing is taken in any more.
        fn closed(&self) -> Option<String>;

        fn finish(self) -> impl Future<Output = Result<Finished, FinishError>> + Send;
    }
}

/// The flows that a stream knows.
#[derive(Debug, Default)]
pub struct IngestionConfigEncoder {
    flows: HashMap<String, FlowDescriptor<String>>,
}

impl IngestionConfigEncoder {
    pub(super) fn get(&self) -> &HashMap<String, FlowDescriptor<String>> {
        &self.flows
    }

    pub(super) fn add(&mut self, flows: &[FlowConfig]) -> Result<(), StreamError> {
        for flow in flows {
            let descriptor = FlowDescriptor::try_from(("", flow)).map_err(RecordError::from)?;
            self.flows.entry(flow.name.clone()).or_insert(descriptor);
        }
        Ok(())
    }
}

/// A stream of telemetry. `E` is always [`IngestionConfigEncoder`]; `T` says how it works.
///
/// May be shared between threads and tasks. Dropping it without [`finish`](Self::finish) ends it, too: what is recorded
/// is on disk, and what waits in memory is still sent if the runtime lives long enough; nobody is told how that went.
pub struct SiftStream<E, T> {
    encoder: E,
    transport: T,
    run: Option<Run>,
}

impl<T: Transport> SiftStream<IngestionConfigEncoder, T> {
    pub(super) fn new(encoder: IngestionConfigEncoder, transport: T, run: Option<Run>) -> Self {
        Self { encoder, transport, run }
    }

    /// Sends a message: [`Flow`](super::Flow), [`FlowBuilder`](super::FlowBuilder) or a ready-made request. Waits while
    /// there is no room (without blocking the thread): in the queue, for [`live_only`](super::StreamConfigBuilder::live_only);
    /// in the recorder's buffers, for streams with files. With [`SyncPolicy::EveryRecord`](record::SyncPolicy), a stream
    /// with files returns when the message is on stable storage.
    ///
    /// A future that is dropped while it waits for room hasn't sent anything; one that waits for the sync may have.
    ///
    /// # Errors
    /// [`SiftStreamSendError::EncodeError`] names what is wrong with the message: nothing of it is sent.
    /// [`SiftStreamSendError::ChannelClosed`] hands it back: [`closed`](Self::closed) says why.
    pub async fn send<M: Encodeable>(&self, message: M) -> Result<(), SiftStreamSendError<Request>> {
        match self.taken_in(|intake| message.offer(intake)).await {
            Ok(()) => Ok(()),
            Err(NotTaken { error, seq }) if ends(&error) => {
                self.returned(seq);
                Err(SiftStreamSendError::ChannelClosed(self.hand_back(message)))
            }
            Err(NotTaken { error, .. }) => Err(SiftStreamSendError::EncodeError(error)),
        }
    }

    /// Sends a message if there is room at once. Never waits, not for a sync either.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`TrySendError::Full`], which hands the message back.
    #[allow(clippy::result_large_err, reason = "it hands the message back, as the official crate does")]
    pub fn try_send<M: Encodeable>(&self, message: M) -> Result<(), SiftStreamTrySendError<Request>> {
        match message.offer(self.transport.intake()) {
            Ok(_) => Ok(()),
            Err(RecordError::Full) => Err(SiftStreamTrySendError::Channel(TrySendError::Full(self.hand_back(message)))),
            Err(error) if ends(&error) => {
                Err(SiftStreamTrySendError::Channel(TrySendError::Closed(self.hand_back(message))))
            }
            Err(error) => Err(SiftStreamTrySendError::EncodeError(error)),
        }
    }

    /// Sends ready-made requests, in order. Ids that they carry stay; what they lack is the stream's.
    ///
    /// # Errors
    /// [`SendError`] hands back those that weren't sent, the first of which is the one that couldn't be: it doesn't fit the
    /// schema ([`send`](Self::send) of it alone says why), or the stream is [`closed`](Self::closed).
    pub async fn send_requests<I>(&self, requests: I) -> Result<(), SendError<Vec<Request>>>
    where
        I: IntoIterator<Item = Request> + Send,
        I::IntoIter: Send,
    {
        let mut requests = requests.into_iter();
        while let Some(request) = requests.next() {
            if let Err(NotTaken { seq, .. }) = self.taken_in(|intake| request.offer(intake)).await {
                self.returned(seq);
                return Err(SendError(std::iter::once(request).chain(requests).collect()));
            }
        }
        Ok(())
    }

    /// Sends ready-made requests, in order, as long as there is room at once.
    ///
    /// # Errors
    /// [`TrySendError`] hands back those that weren't sent: `Full` if there was no room for the first of them, `Closed` as
    /// [`send_requests`](Self::send_requests) has it.
    pub fn try_send_requests<I>(&self, requests: I) -> Result<(), TrySendError<Vec<Request>>>
    where
        I: IntoIterator<Item = Request> + Send,
        I::IntoIter: Send,
    {
        let mut requests = requests.into_iter();
        while let Some(request) = requests.next() {
            match request.offer(self.transport.intake()) {
                Ok(_) => {}
                Err(error) => {
                    let rest = std::iter::once(request).chain(requests).collect();
                    let full = matches!(error, RecordError::Full);
                    return Err(if full { TrySendError::Full(rest) } else { TrySendError::Closed(rest) });
                }
            }
        }
        Ok(())
    }

    /// Whether a ready-made request fits the stream's flows: for those that
    /// [`send_requests`](Self::send_requests) hands back.
    ///
    /// # Errors
    /// What is wrong with it, by name.
    pub fn check(&self, request: &Request) -> Result<(), RecordError> {
        self.transport.intake().check(&request.encode_to_vec())
    }

    /// The prepared flow of this name, for [`record`](Self::record).
    ///
    /// # Errors
    /// [`RecordError::UnknownFlow`].
    pub fn flow(&self, name: &str) -> Result<record::Flow, RecordError> {
        self.transport.intake().flow(name)
    }

    /// Sends values of a prepared flow, one for each of its channels, in their order: the fastest way, straight into the
    /// buffer. Waits as [`send`](Self::send) does. After [`attach_run`](Self::attach_run) and
    /// [`detach_run`](Self::detach_run), flows must be asked for anew.
    ///
    /// # Errors
    /// As [`Recorder::record`](record::Recorder::record).
    pub async fn record(
        &self,
        flow: &record::Flow,
        time: Timestamp,
        values: &[record::Value<'_>],
    ) -> Result<(), RecordError> {
        self.taken_in(|intake| intake.offer(flow, time, values)).await.map_err(|not| not.error)
    }

    /// Like [`record`](Self::record), but never waits.
    ///
    /// # Errors
    /// Likewise, and [`RecordError::Full`].
    pub fn try_record(
        &self,
        flow: &record::Flow,
        time: Timestamp,
        values: &[record::Value<'_>],
    ) -> Result<(), RecordError> {
        self.transport.intake().offer(flow, time, values).map(drop)
    }

    async fn taken_in(&self, offer: impl Fn(&dyn Intake) -> Result<Option<u64>, RecordError>) -> Result<(), NotTaken> {
        let intake = self.transport.intake();
        loop {
            match offer(intake) {
                Ok(Some(seq)) => {
                    let safe = poll_fn(|context| intake.poll_safe(seq, context)).await;
                    return safe.map_err(|error| NotTaken { error, seq: Some(seq) });
                }
                Ok(None) => return Ok(()),
                Err(RecordError::Full) => poll_fn(|context| intake.poll_room(context)).await,
                Err(error) => return Err(NotTaken { error, seq: None }),
            }
        }
    }

    /// What is handed back now isn't handed back again at the end.
    fn returned(&self, seq: Option<u64>) {
        if let Some(seq) = seq {
            self.transport.intake().returned(seq);
        }
    }

    fn hand_back(&self, message: impl Encodeable) -> Request {
        message.into_request(&|name| self.encoder.flows.get(name).cloned())
    }

    /// Why the stream takes nothing any more; `None` while it does.
    pub fn closed(&self) -> Option<String> {
        self.transport.closed()
    }

    /// Makes flows known to the stream, and to Sift: at once if there is a link, otherwise as soon as there is one. Those
    /// that are known already are passed over.
    ///
    /// # Errors
    /// [`StreamError::Record`] if a flow makes no sense, or one of that name has other channels; [`StreamError::Register`]
    /// if Sift refuses it.
    pub async fn add_new_flows(&mut self, flows: &[FlowConfig]) -> Result<(), StreamError> {
        self.transport.add_flows(flows).await?;
        self.encoder.add(flows)
    }

    /// The flows that the stream knows, by their names.
    pub fn get_flows(&self) -> HashMap<String, FlowDescriptor<String>> {
        self.encoder.flows.clone()
    }

    /// A flow, for [`FlowBuilder`](super::FlowBuilder).
    ///
    /// # Errors
    /// [`StreamError::Record`] with [`RecordError::UnknownFlow`].
    pub fn get_flow_descriptor(&self, flow_name: &str) -> Result<FlowDescriptor<String>, StreamError> {
        let known = self.encoder.flows.get(flow_name).cloned();
        known.ok_or_else(|| RecordError::UnknownFlow { flow: flow_name.to_owned() }.into())
    }

    /// What is sent from now on goes into this run. Without a link, Sift learns of it as soon as there is one.
    ///
    /// # Errors
    /// What Sift says to it, if it can be asked; then everything is as it was. [`StreamError::Record`] if a stream with
    /// files can't begin another one.
    pub async fn attach_run(&mut self, run: RunSelector) -> Result<(), StreamError> {
        self.run = Some(self.transport.attach(run).await?);
        Ok(())
    }

    /// What is sent from now on goes into no run. A stream with files begins another one, and blocks while it is made;
    /// should that fail, the stream is [`closed`](Self::closed): nothing goes into the wrong run.
    pub fn detach_run(&mut self) {
        if self.run.take().is_some() {
            self.transport.detach();
        }
    }

    /// The run that is attached. As long as Sift couldn't be asked, it has no id.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The stream's numbers now. A stream with files looks at its directory for them, so this blocks as long as that takes.
    pub fn get_metrics_snapshot(&self) -> SiftStreamMetricsSnapshot {
        self.transport.snapshot()
    }

    /// Ends the stream, and says what became of everything that it accepted.
    ///
    /// A stream without files waits until everything is acknowledged or sending is given up. One with files waits for what is
    /// on its way, and for the replay of what wasn't confirmed, as long as its
    /// [`finish_timeout`](super::LiveWithBackupsBuilder::finish_timeout) allows; what is left is on disk.
    ///
    /// # Errors
    /// [`FinishError`] if some requests are neither acknowledged nor durable on disk; it hands them back.
    pub async fn finish(self) -> Result<Finished, FinishError> {
        self.transport.finish().await
    }
}

/// Why something wasn't taken in, or isn't as safe as was asked for; then it has a seq.
struct NotTaken {
    error: RecordError,
    seq: Option<u64>,
}

/// Whether nothing will be taken in any more.
fn ends(error: &RecordError) -> bool {
    matches!(error, RecordError::Failed { .. } | RecordError::Finished)
}

impl<E, T> fmt::Debug for SiftStream<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiftStream").field("run", &self.run.as_ref().map(|run| &run.name)).finish_non_exhaustive()
    }
}
