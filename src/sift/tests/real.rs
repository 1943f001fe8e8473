//! The embedded receiver, and a look at the bytes on their way to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;
use sift_rs::metadata::v1::metadata_value::Value;
use sift_rs::metadata::v1::{MetadataKey, MetadataValue};
use sift_rs::runs::v2::run_service_client::RunServiceClient;
use sift_rs::runs::v2::{CreateRunRequest, ListRunsRequest, Run};
use sift_rs::{Credentials, SiftChannel, SiftChannelBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::KEY;
use crate::receiver::{Receiver, ReceiverOptions, Registry, SessionKey, Store, StoreError, Unobserved};

/// Keeps the records, as they were stored.
#[derive(Default)]
pub(super) struct Records(Mutex<Vec<Vec<u8>>>);

impl Records {
    pub(super) fn all(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }
}

impl Store for Records {
    fn open(
        &self,
        _: &SessionKey,
        _: &CreateIngestionConfigRequest,
        _: Option<&CreateRunRequest>,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    fn record(&self, _: &SessionKey, request: &[u8]) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(request.to_vec());
        Ok(())
    }

    fn flush(&self, _: &[SessionKey]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A receiver that asks for the tests' key.
pub(super) struct Real {
    pub(super) receiver: Receiver,
    pub(super) records: Arc<Records>,
}

impl Real {
    pub(super) async fn start() -> Real {
        let records = Arc::<Records>::default();
        let options = ReceiverOptions { api_key: Some(KEY.into()), ..ReceiverOptions::default() };
        let store = Arc::<Records>::clone(&records);
        let receiver = Receiver::start(options, Arc::new(Registry::new()), store, Arc::new(Unobserved)).await.unwrap();
        Real { receiver, records }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.receiver.local_addr()
    }

    /// A client that is not ours.
    pub(super) fn runs(&self) -> RunServiceClient<SiftChannel> {
        RunServiceClient::new(sift_channel(self.address(), KEY))
    }

    pub(super) async fn list_runs(&self) -> Vec<Run> {
        self.runs().list_runs(ListRunsRequest::default()).await.unwrap().into_inner().runs
    }
}

/// A channel as the official crates make it.
pub(super) fn sift_channel(address: SocketAddr, key: &str) -> SiftChannel {
    let credentials = Credentials::Config { uri: format!("http://{address}"), apikey: key.to_owned() };
    SiftChannelBuilder::new(credentials).use_tls(false).build().unwrap()
}

/// Passes connections on and counts what clients send.
pub(super) async fn counting(to: SocketAddr) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(to).await.unwrap();
            let (mut client, mut to_client) = client.into_split();
            let (mut from_server, mut server) = server.into_split();
            let count = Arc::clone(&counted);
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = client.read(&mut buffer).await {
                    count.fetch_add(read as u64, Ordering::Relaxed);
                    server.write_all(&buffer[..read]).await.unwrap();
                }
            });
        }
    });
    (address, count)
}

pub(super) fn text(name: &str, value: &str) -> MetadataValue {
    let key = MetadataKey { name: name.to_owned(), ..MetadataKey::default() };
    MetadataValue { key: Some(key), value: Some(Value::StringValue(value.to_owned())), ..MetadataValue::default() }
}

pub(super) fn tags(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}
