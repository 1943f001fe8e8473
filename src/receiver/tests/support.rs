//! A receiver to test, a store in memory, and clients.

use crate::receiver::{Event, Observer, Receiver, ReceiverOptions, Registry, SessionKey, Store, StoreError};
use bytes::{BufMut, Bytes};
use prost::Message;
use sift_rs::{
    common::r#type::v1::ChannelDataType,
    ingest::v1::{
        IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest,
        ingest_service_client::IngestServiceClient, ingest_with_config_data_channel_value::Type,
    },
    ingestion_configs::v2::{
        ChannelConfig, CreateIngestionConfigFlowsRequest, CreateIngestionConfigRequest, FlowConfig,
        ingestion_config_service_client::IngestionConfigServiceClient,
    },
    runs::v2::{CreateRunRequest, run_service_client::RunServiceClient},
};
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::mpsc as channel;
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

/// What a store was asked to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Open(SessionKey, Vec<String>, Option<String>),
    Record(SessionKey, Vec<u8>),
    Flush(Vec<SessionKey>),
}

/// Keeps what it is given in memory.
#[derive(Default)]
pub(super) struct Memory {
    calls: Mutex<Vec<Call>>,
    /// If set: `flush` says that it was entered, and waits for the word to go on.
    gate: Option<(channel::UnboundedSender<()>, Mutex<mpsc::Receiver<()>>)>,
    fail: Option<StoreError>,
}

impl Memory {
    pub(super) fn failing(error: StoreError) -> Self {
        Self { fail: Some(error), ..Self::default() }
    }

    /// A store whose flush blocks: told when it is entered, and released by a word.
    pub(super) fn gated() -> (Self, channel::UnboundedReceiver<()>, mpsc::Sender<()>) {
        let (entered, told) = channel::unbounded_channel();
        let (release, released) = mpsc::channel();
        let store = Self { gate: Some((entered, Mutex::new(released))), ..Self::default() };
        (store, told, release)
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The records of all sessions, in the order in which they were stored.
    pub(super) fn records(&self) -> Vec<Vec<u8>> {
        let records = self.calls().into_iter().filter_map(|call| match call {
            Call::Record(_, bytes) => Some(bytes),
            _ => None,
        });
        records.collect()
    }
}

impl Store for Memory {
    fn open(
        &self,
        key: &SessionKey,
        config: &CreateIngestionConfigRequest,
        run: Option<&CreateRunRequest>,
    ) -> Result<(), StoreError> {
        let flows = config.flows.iter().map(|flow| flow.name.clone()).collect();
        let run = run.map(|run| run.name.clone());
        self.calls.lock().unwrap().push(Call::Open(key.clone(), flows, run));
        Ok(())
    }

    fn record(&self, key: &SessionKey, request: &[u8]) -> Result<(), StoreError> {
        self.calls.lock().unwrap().push(Call::Record(key.clone(), request.to_vec()));
        Ok(())
    }

    fn flush(&self, keys: &[SessionKey]) -> Result<(), StoreError> {
        if let Some((entered, released)) = &self.gate {
            entered.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
        }
        self.calls.lock().unwrap().push(Call::Flush(keys.to_vec()));
        self.fail.clone().map_or(Ok(()), Err)
    }
}

struct Tell(channel::UnboundedSender<Event>);

impl Observer for Tell {
    fn event(&self, event: &Event) {
        let _ = self.0.send(event.clone());
    }
}

/// A receiver with all that belongs to it.
pub(super) struct Rig {
    pub(super) receiver: Receiver,
    pub(super) store: Arc<Memory>,
    pub(super) registry: Arc<Registry>,
    pub(super) channel: Channel,
    pub(super) events: channel::UnboundedReceiver<Event>,
}

pub(super) async fn rig() -> Rig {
    rig_with(Memory::default(), ReceiverOptions::default()).await
}

pub(super) async fn rig_with(store: Memory, options: ReceiverOptions) -> Rig {
    let store = Arc::new(store);
    let registry = Arc::new(Registry::new());
    let (tell, events) = channel::unbounded_channel();
    let receiver = Receiver::start(options, Arc::clone(&registry), Arc::<Memory>::clone(&store), Arc::new(Tell(tell)));
    let receiver = receiver.await.unwrap();
    let uri = format!("http://{}", receiver.local_addr());
    let channel = Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
    Rig { receiver, store, registry, channel, events }
}

impl Rig {
    pub(super) fn uri(&self) -> String {
        format!("http://{}", self.receiver.local_addr())
    }

    pub(super) fn ingest(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel.clone())
    }

    pub(super) fn configs(&self) -> IngestionConfigServiceClient<Channel> {
        IngestionConfigServiceClient::new(self.channel.clone())
    }

    pub(super) fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(self.channel.clone())
    }

    /// Creates an ingestion config; returns its id.
    pub(super) async fn config(&self, client_key: &str, flows: Vec<FlowConfig>) -> String {
        let request = CreateIngestionConfigRequest {
            asset_name: "rover".into(),
            client_key: client_key.into(),
            flows,
            ..Default::default()
        };
        let response = self.configs().create_ingestion_config(request).await.unwrap();
        response.into_inner().ingestion_config.unwrap().ingestion_config_id
    }

    pub(super) async fn add_flow(&self, config_id: &str, flow: FlowConfig) -> Result<(), Status> {
        let request = CreateIngestionConfigFlowsRequest { ingestion_config_id: config_id.into(), flows: vec![flow] };
        self.configs().create_ingestion_config_flows(request).await.map(drop)
    }

    pub(super) async fn run(&self, name: &str, client_key: &str) -> String {
        let request = CreateRunRequest { name: name.into(), client_key: Some(client_key.into()), ..Default::default() };
        let response = self.runs().create_run(request).await.unwrap();
        response.into_inner().run.unwrap().run_id
    }

    pub(super) async fn send(&self, requests: Vec<IngestWithConfigDataStreamRequest>) -> Result<(), Status> {
        let requests = tokio_stream::iter(requests);
        self.ingest().ingest_with_config_data_stream(requests).await.map(drop)
    }

    /// Sends requests that no SDK would encode.
    pub(super) async fn send_bytes(&self, requests: Vec<Vec<u8>>) -> Result<(), Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = "/sift.ingest.v1.IngestService/IngestWithConfigDataStream";
        let requests = tokio_stream::iter(requests.into_iter().map(Bytes::from));
        let path = http::uri::PathAndQuery::from_static(path);
        grpc.client_streaming(Request::new(requests), path, BytesCodec).await.map(drop)
    }

    /// Waits for an event.
    pub(super) async fn event(&mut self, is: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.events.recv().await.unwrap();
            if is(&event) {
                return event;
            }
        }
    }
}

struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}

pub(super) fn flow(name: &str, types: &[ChannelDataType]) -> FlowConfig {
    let channels = types.iter().enumerate().map(|(n, &data_type)| ChannelConfig {
        name: format!("channel-{n}"),
        data_type: data_type.into(),
        ..Default::default()
    });
    FlowConfig { name: name.into(), channels: channels.collect() }
}

pub(super) fn request(
    config_id: &str,
    flow: &str,
    seconds: i64,
    values: impl IntoIterator<Item = Type>,
) -> IngestWithConfigDataStreamRequest {
    let values = values.into_iter().map(|value| IngestWithConfigDataChannelValue { r#type: Some(value) });
    IngestWithConfigDataStreamRequest {
        ingestion_config_id: config_id.into(),
        flow: flow.into(),
        timestamp: Some(pbjson_types::Timestamp { seconds, nanos: 1 }),
        channel_values: values.collect(),
        ..Default::default()
    }
}

/// What is to be stored of a request.
pub(super) fn stored(request: &IngestWithConfigDataStreamRequest) -> Vec<u8> {
    let mut request = request.clone();
    request.ingestion_config_id.clear();
    request.run_id.clear();
    request.organization_id.clear();
    request.end_stream_on_validation_error = false;
    request.encode_to_vec()
}
