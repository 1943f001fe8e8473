//! What can be sent: messages by names, by prepared indices, and ready-made requests.

use std::hash::Hash;

use prost::Message;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;

use super::descriptor::FlowDescriptor;
use super::flow::Flow;
use super::flow_builder::FlowBuilder;
use super::intake::Intake;
use super::time::TimeValue;
use crate::record::{self, RecordError};

/// What a stream sends.
pub trait Encodeable: Send + Sync {
    /// Takes it in; nothing is taken if it is wrong or there is no room. `None`: dropped, as the recorder's options ask for.
    #[doc(hidden)]
    fn offer(&self, intake: &dyn Intake) -> Result<Option<u64>, RecordError>;

    /// As a request, to be handed back; `known` are the flows of the stream.
    #[doc(hidden)]
    fn into_request(self, known: &dyn Fn(&str) -> Option<FlowDescriptor<String>>) -> IngestWithConfigDataStreamRequest;
}

impl Encodeable for Flow {
    fn offer(&self, intake: &dyn Intake) -> Result<Option<u64>, RecordError> {
        let flow = intake.flow(&self.flow_name)?;
        let mut values = Vec::with_capacity(self.values.len());
        flow.arrange(self.values.iter().map(|given| (given.name.as_str(), given.value.borrowed())), &mut values)?;
        intake.offer(&flow, self.timestamp.timestamp(), &values)
    }

    fn into_request(self, known: &dyn Fn(&str) -> Option<FlowDescriptor<String>>) -> IngestWithConfigDataStreamRequest {
        let plain = IngestWithConfigDataStreamRequest { flow: self.flow_name.clone(), ..Default::default() };
        // It was taken for right before it was found that nobody takes it.
        known(&self.flow_name).and_then(|descriptor| self.into_request(&descriptor).ok()).unwrap_or(plain)
    }
}

/// Its time is now.
impl<K: Eq + Hash + Send + Sync> Encodeable for FlowBuilder<'_, K> {
    fn offer(&self, intake: &dyn Intake) -> Result<Option<u64>, RecordError> {
        if self.ingestion_config_id().is_empty() && self.run_id().is_empty() {
            let flow = intake.flow(self.flow_name())?;
            let values: Vec<_> = self.values().collect();
            return intake.offer(&flow, record::Timestamp::now(), &values);
        }
        intake.offer_request(&self.encoded(TimeValue::now()))
    }

    fn into_request(self, _: &dyn Fn(&str) -> Option<FlowDescriptor<String>>) -> IngestWithConfigDataStreamRequest {
        self.request(TimeValue::now())
    }
}

impl Encodeable for IngestWithConfigDataStreamRequest {
    fn offer(&self, intake: &dyn Intake) -> Result<Option<u64>, RecordError> {
        intake.offer_request(&self.encode_to_vec())
    }

    fn into_request(self, _: &dyn Fn(&str) -> Option<FlowDescriptor<String>>) -> Self {
        self
    }
}
