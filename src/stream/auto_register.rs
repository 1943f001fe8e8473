//! Flows that nobody registered beforehand: their configs are staged, or derived from the first values.

use std::collections::{HashMap, HashSet};

use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;
use sift_rs::ingestion_configs::v2::{ChannelConfig, FlowConfig};
use sift_rs::runs::v2::Run;

use super::descriptor::FlowDescriptor;
use super::error::{FinishError, Finished, StreamError};
use super::flow::Flow;
use super::forms::RunSelector;
use super::handle::{IngestionConfigEncoder, SiftStream, Transport};
use super::metrics::SiftStreamMetricsSnapshot;
use super::send_error::SiftStreamSendError;
use super::value::words;
use crate::record::RecordError;

/// Why a flow wasn't registered or not sent.
#[derive(Debug, thiserror::Error)]
pub enum AutoRegisterSendError<T> {
    /// The flow could not be registered, and wasn't sent: Sift refuses it or can't be reached, or no config can be
    /// derived from the values ([`StreamError::Derive`]).
    #[error(transparent)]
    RegistrationFailed(StreamError),
    /// The flow is registered, and wasn't sent.
    #[error(transparent)]
    StreamError(SiftStreamSendError<T>),
    /// The values don't fit the config that was staged for the flow: names the flow and its channels. Nothing was
    /// registered or sent, and the staged config stays.
    #[error("{0}")]
    StagedConfigMismatch(String),
}

impl<T> From<SiftStreamSendError<T>> for AutoRegisterSendError<T> {
    fn from(error: SiftStreamSendError<T>) -> Self {
        Self::StreamError(error)
    }
}

/// A stream that registers flows as they come. Programs may implement it themselves, to be tested without a stream; take
/// `impl AutoRegisterStream` then (it can't be made into a `dyn`). Methods are written as plain `async fn`.
pub trait AutoRegisterStream {
    /// Why a message wasn't sent.
    type SendError: std::error::Error + Send + Sync + 'static;

    /// Sends a message, and registers its flow before, if it isn't known: from the config that is staged for it, else
    /// from the message's own channels, their names and types, in their order.
    ///
    /// Where there are files, no link is needed: the flow is recorded before its first message, and Sift is told when
    /// there is a link. A stream without files asks Sift at once, and waits for the answer.
    fn send(&mut self, flow: Flow) -> impl Future<Output = Result<(), Self::SendError>> + Send;

    /// Ends the stream, and says what became of everything that it accepted.
    fn finish(self) -> impl Future<Output = Result<Finished, FinishError>> + Send
    where
        Self: Sized;

    /// A flow, for [`FlowBuilder`](super::FlowBuilder).
    ///
    /// # Errors
    /// If nobody registered it yet.
    fn get_flow_descriptor(&self, flow_name: &str) -> Result<FlowDescriptor<String>, StreamError>;

    /// What is sent from now on goes into this run.
    fn attach_run(&mut self, run_selector: RunSelector) -> impl Future<Output = Result<(), StreamError>> + Send;

    /// What is sent from now on goes into no run.
    fn detach_run(&mut self);

    /// The run that is attached.
    fn run(&self) -> Option<&Run>;
}

/// A stream of any mode that registers flows as they come: see [`AutoRegisterStream`], which has its methods.
///
/// A config that is staged is used once, when the first message of its flow comes, and gives what can't be derived from
/// values: units, descriptions, names of enum values and bits.
#[derive(Debug)]
pub struct SiftStreamAutoRegister<T> {
    inner: SiftStream<IngestionConfigEncoder, T>,
    staged: HashMap<String, FlowConfig>,
}

impl<T: Transport> SiftStreamAutoRegister<T> {
    /// With configs for flows that may come; there needn't be any. Of several for one flow the last one counts.
    pub fn new(stream: SiftStream<IngestionConfigEncoder, T>, staged_configs: Vec<FlowConfig>) -> Self {
        let staged = staged_configs.into_iter().map(|config| (config.name.clone(), config)).collect();
        Self { inner: stream, staged }
    }

    /// The stream's numbers now.
    pub fn get_metrics_snapshot(&self) -> SiftStreamMetricsSnapshot {
        self.inner.get_metrics_snapshot()
    }

    /// The stream itself. What is still staged is forgotten.
    pub fn into_inner(self) -> SiftStream<IngestionConfigEncoder, T> {
        self.inner
    }

    async fn register(&mut self, flow: &Flow) -> Result<(), AutoRegisterSendError<Request>> {
        let config = match self.staged.get(&flow.flow_name) {
            Some(staged) => {
                check_staged(flow, staged).map_err(AutoRegisterSendError::StagedConfigMismatch)?;
                staged.clone()
            }
            None => flow_config_of(flow).map_err(|error| AutoRegisterSendError::RegistrationFailed(error.into()))?,
        };
        let added = self.inner.add_new_flows(std::slice::from_ref(&config)).await;
        added.map_err(AutoRegisterSendError::RegistrationFailed)?;
        self.staged.remove(&flow.flow_name);
        Ok(())
    }
}

impl<T: Transport> AutoRegisterStream for SiftStreamAutoRegister<T> {
    type SendError = AutoRegisterSendError<Request>;

    async fn send(&mut self, flow: Flow) -> Result<(), Self::SendError> {
        // A stream that is closed knows no flow, and says so when the message is sent.
        if matches!(self.inner.flow(&flow.flow_name), Err(RecordError::UnknownFlow { .. })) {
            self.register(&flow).await?;
        }
        self.inner.send(flow).await.map_err(AutoRegisterSendError::StreamError)
    }

    async fn finish(self) -> Result<Finished, FinishError> {
        self.inner.finish().await
    }

    fn get_flow_descriptor(&self, flow_name: &str) -> Result<FlowDescriptor<String>, StreamError> {
        self.inner.get_flow_descriptor(flow_name)
    }

    async fn attach_run(&mut self, run_selector: RunSelector) -> Result<(), StreamError> {
        self.inner.attach_run(run_selector).await
    }

    fn detach_run(&mut self) {
        self.inner.detach_run();
    }

    fn run(&self) -> Option<&Run> {
        self.inner.run()
    }
}

/// Why a flow's config can't be derived from its values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// An empty value has no type.
    #[error(
        "flow {flow:?} is not registered, and its channel {channel:?} has no value to tell its type by: send a value the \
         first time, or stage a config for the flow"
    )]
    Untyped {
        /// The flow.
        flow: String,
        /// The channel.
        channel: String,
    },
    /// A channel was given twice.
    #[error("channel {channel:?} of flow {flow:?} is given twice in one message: nothing was registered or sent")]
    RepeatedChannel {
        /// The flow.
        flow: String,
        /// The channel.
        channel: String,
    },
}

/// The config of a flow with these values' channels, in their order, without units and descriptions.
pub(super) fn flow_config_of(flow: &Flow) -> Result<FlowConfig, DeriveError> {
    let mut names = HashSet::new();
    let mut channels = Vec::with_capacity(flow.values.len());
    for given in &flow.values {
        let named = || (flow.flow_name.clone(), given.name.clone());
        if !names.insert(given.name.as_str()) {
            let (flow, channel) = named();
            return Err(DeriveError::RepeatedChannel { flow, channel });
        }
        let Some(data_type) = given.value.data_type() else {
            let (flow, channel) = named();
            return Err(DeriveError::Untyped { flow, channel });
        };
        channels.push(ChannelConfig { name: given.name.clone(), data_type: data_type.into(), ..Default::default() });
    }
    Ok(FlowConfig { name: flow.flow_name.clone(), channels })
}

/// Whether the values fit the staged config, else all that doesn't, in their order. Unlike the official crate's, this
/// takes flows that leave channels out: those are empty.
pub(super) fn check_staged(flow: &Flow, staged: &FlowConfig) -> Result<(), String> {
    let mut types: HashMap<&str, i32> = HashMap::new();
    staged.channels.iter().for_each(|channel| {
        types.insert(&channel.name, channel.data_type);
    });
    let mut names = HashSet::new();
    let mut wrong = Vec::new();
    for given in &flow.values {
        let name = &given.name;
        if !names.insert(name) {
            wrong.push(format!("channel {name:?} is given twice"));
        }
        match (types.get(name.as_str()), given.value.data_type()) {
            (None, _) => wrong.push(format!("it has no channel {name:?}")),
            (Some(expected), Some(data_type)) if *expected != i32::from(data_type) => {
                let expected = words((*expected).try_into().unwrap_or_default());
                wrong.push(format!("channel {name:?} takes {expected}, and {} was given", words(data_type)));
            }
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let (name, wrong) = (&flow.flow_name, wrong.join("; "));
    Err(format!("the values don't fit the config staged for flow {name:?}: {wrong}. Correct either; nothing was sent"))
}

#[cfg(test)]
mod tests {
    use sift_rs::common::r#type::v1::ChannelDataType;

    use super::*;
    use crate::stream::{ChannelEnum, ChannelValue, TimeValue, Value};

    fn flow(values: &[ChannelValue]) -> Flow {
        Flow::new("arm", TimeValue::from_timestamp_nanos(0), values)
    }

    fn staged(channels: &[(&str, ChannelDataType)]) -> FlowConfig {
        let channels = channels.iter().map(|(name, data_type)| ChannelConfig {
            name: (*name).to_owned(),
            data_type: (*data_type).into(),
            unit: "m".to_owned(),
            ..Default::default()
        });
        FlowConfig { name: "arm".to_owned(), channels: channels.collect() }
    }

    #[test]
    fn a_derived_config_has_the_values_channels_in_their_order() {
        let config =
            flow_config_of(&flow(&[ChannelValue::new("b", 1.5), ChannelValue::new("a", ChannelEnum(1))])).unwrap();
        let channels: Vec<_> = config.channels.iter().map(|c| (c.name.as_str(), c.data_type())).collect();
        assert_eq!(config.name, "arm");
        assert_eq!(channels, [("b", ChannelDataType::Double), ("a", ChannelDataType::Enum)]);
    }

    #[test]
    fn what_was_derived_from_a_flow_fits_it() {
        let flow = flow(&[ChannelValue::new("a", 1.5), ChannelValue::new("b", vec![1]), ChannelValue::new("c", "x")]);
        let config = flow_config_of(&flow).unwrap();
        assert_eq!(check_staged(&flow, &config), Ok(()));
        let descriptor = crate::stream::FlowDescriptor::try_from(("", config)).unwrap();
        assert_eq!(flow.into_request(&descriptor).unwrap().channel_values.len(), 3);
    }

    #[test]
    fn nothing_is_derived_from_an_empty_value_or_from_two_of_one_name() {
        let (empty, text) = (ChannelValue::new("b", ()), ChannelValue::new("a", "x"));
        let error = flow_config_of(&flow(&[text.clone(), empty])).unwrap_err();
        assert!(error.to_string().contains("channel \"b\" has no value to tell its type by"), "{error}");
        let error = flow_config_of(&flow(&[text.clone(), text])).unwrap_err();
        assert!(error.to_string().starts_with("channel \"a\" of flow \"arm\" is given twice"), "{error}");
    }

    #[test]
    fn a_flow_may_leave_staged_channels_out_and_order_them_otherwise() {
        let staged = staged(&[("a", ChannelDataType::Double), ("b", ChannelDataType::Bool)]);
        for values in [
            &[][..],
            &[ChannelValue::new("b", true)],
            &[ChannelValue::new("b", Value::Empty), ChannelValue::new("a", 1.5)],
        ] {
            assert_eq!(check_staged(&flow(values), &staged), Ok(()), "{values:?}");
        }
    }

    #[test]
    fn all_that_does_not_fit_is_named() {
        let mut staged = staged(&[("a", ChannelDataType::Double), ("b", ChannelDataType::Bool)]);
        staged.channels.push(ChannelConfig { name: "odd".to_owned(), data_type: 99, ..Default::default() });
        let values =
            [("a", Value::Float(1.5)), ("b", true.into()), ("c", ().into()), ("b", true.into()), ("odd", 1.into())];
        let values = values.map(|(name, value)| ChannelValue::new(name, value));
        assert_eq!(
            check_staged(&flow(&values), &staged).unwrap_err(),
            "the values don't fit the config staged for flow \"arm\": channel \"a\" takes a double, and a float was \
             given; it has no channel \"c\"; channel \"b\" is given twice; channel \"odd\" takes no value, for it has \
             no type, and an int32 was given. Correct either; nothing was sent"
        );
    }

    #[test]
    fn errors_of_what_is_inside_are_told_as_they_are() {
        fn told(error: AutoRegisterSendError<Request>) -> String {
            let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
            error.to_string()
        }
        let derive = || DeriveError::RepeatedChannel { flow: "arm".to_owned(), channel: "a".to_owned() };
        assert_eq!(told(AutoRegisterSendError::RegistrationFailed(derive().into())), derive().to_string());
        assert_eq!(told(AutoRegisterSendError::StagedConfigMismatch("odd".to_owned())), "odd");
        let unsent = || SiftStreamSendError::<Request>::from(RecordError::Finished);
        assert_eq!(told(unsent().into()), unsent().to_string());
    }
}
