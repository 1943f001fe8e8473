//! How calls are answered.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use http_body_util::BodyExt;
use prost::Message;
use sift_rs::common::r#type::v1::Organization;
use sift_rs::me::v2::GetMeResponse;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};

use super::counted::{Connection, Counted};
use super::{CallFate, Fate, RecordId, Server, lock};
use crate::support::destination::unary;
use crate::support::port::listen;

const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Serves until the runtime ends.
pub(super) async fn serve(server: Arc<Server>, life: u64) {
    let listener = listen(server.address()).await;
    let back = Endpoint::from_shared(server.back.clone()).unwrap().connect_lazy();
    let service = Front { server: server.clone(), back, life };
    let listening = Listening::new(&server, life);
    // The closure goes behind the listener.
    let incoming = TcpListenerStream::new(listener).map(move |io| {
        let _ = &listening;
        io.and_then(|io| Counted::new(io, server.clone()))
    });
    let _ = tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .serve_with_incoming(service, incoming)
        .await;
}

/// While it lives, somebody listens.
struct Listening {
    server: Arc<Server>,
    life: u64,
}

impl Listening {
    fn new(server: &Arc<Server>, life: u64) -> Self {
        server.note(|seen| seen.listening_in = Some(life));
        Self { server: server.clone(), life }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // The next life may have begun.
        self.server.note(|seen| seen.listening_in = seen.listening_in.filter(|life| *life != self.life));
    }
}

#[derive(Clone)]
struct Front {
    server: Arc<Server>,
    back: Channel,
    /// Of the server that this belongs to.
    life: u64,
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Front {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

impl Front {
    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        let path = request.uri().path().to_owned();
        let method = path.rsplit('/').next().unwrap_or_default().to_owned();
        self.server.note(|seen| *seen.calls.entry(method.clone()).or_default() += 1);
        if path == "/sift.ingest.v1.IngestService/IngestWithConfigDataStream" {
            let connection = request.extensions().get::<Connection>().copied();
            let connection = connection.expect("all connections are counted");
            return self.ingest(connection, request.into_body()).await;
        }
        let fate = lock(&self.server.faults).call(&method);
        match fate {
            Some(CallFate::Refused(status)) => status.into_http(),
            Some(CallFate::DoneBut(status)) => {
                self.known(&path, request).await;
                status.into_http()
            }
            Some(CallFate::Silent) => {
                self.known(&path, request).await;
                pending().await
            }
            None => self.known(&path, request).await,
        }
    }

    /// Does what is asked for.
    async fn known(&self, path: &str, request: http::Request<Body>) -> http::Response<Body> {
        if path == "/sift.me.v2.MeService/GetMe" {
            let organization = lock(&self.server.faults).organization.clone();
            let Some(organization_id) = organization else {
                return Status::unimplemented("nobody is told who they are").into_http();
            };
            let organization = Organization { organization_id, ..Default::default() };
            let me = GetMeResponse { organizations: vec![organization], ..Default::default() };
            return unary(&me.encode_to_vec());
        }
        let mut back = self.back.clone();
        let ready = std::future::poll_fn(|cx| back.poll_ready(cx)).await;
        match ready {
            Ok(()) => back.call(request).await.unwrap_or_else(|error| Status::unknown(error.to_string()).into_http()),
            Err(error) => Status::unknown(error.to_string()).into_http(),
        }
    }

    async fn ingest(&self, connection: Connection, mut body: Body) -> http::Response<Body> {
        let fate = lock(&self.server.faults).stream();
        let _open = OpenStream::new(&self.server);
        match &fate {
            Fate::Refused(status) => return status.clone().into_http(),
            Fate::Unread => return self.silent().await,
            _ => {}
        }
        let mut stream = Stream { front: self, connection, rest: BytesMut::new(), records: Vec::new() };
        while let Some(frame) = body.frame().await {
            // Who has gone can't be told anything.
            let Ok(frame) = frame else { return Status::cancelled("the client has gone").into_http() };
            let Some(data) = frame.data_ref() else { continue };
            match stream.take(data, &fate) {
                Ok(()) => {}
                Err(Ended::With(status)) => return status.into_http(),
                Err(Ended::Early) => return unary(&[]),
                Err(Ended::Dead) => pending().await,
            }
        }
        if !stream.rest.is_empty() {
            return Status::internal("the stream ended within a message").into_http();
        }
        self.server.note(|seen| seen.whole_streams += 1);
        match fate {
            Fate::RefusedAfter(_, status) | Fate::RefusedAtEnd(status) => return status.into_http(),
            Fate::Silent => return self.silent().await,
            Fate::Reset => return http::Response::new(Body::new(Broken)),
            Fate::Late(time) => tokio::time::sleep(time).await,
            Fate::Held => self.held().await,
            _ => {}
        }
        if !self.acknowledge(&stream.records) {
            pending::<()>().await;
        }
        unary(&[])
    }

    async fn silent(&self) -> http::Response<Body> {
        self.server.note(|seen| seen.silent_streams += 1);
        pending().await
    }

    async fn held(&self) {
        let mut released = self.server.released.subscribe();
        let before = *released.borrow_and_update();
        self.server.note(|seen| seen.held_streams += 1);
        let _ = released.wait_for(|times| *times > before).await;
        self.server.note(|seen| seen.held_streams -= 1);
    }

    /// Remembers that these are about to be acknowledged; not if the server has died.
    fn acknowledge(&self, records: &[RecordId]) -> bool {
        self.server.note(|seen| {
            if seen.life != self.life {
                return false;
            }
            seen.acknowledged_streams += 1;
            for record in records {
                seen.records.entry(record.clone()).or_default().acknowledged += 1;
            }
            true
        })
    }
}

/// Why a stream isn't read on.
enum Ended {
    With(Status),
    Early,
    Dead,
}

/// One ingest stream.
struct Stream<'a> {
    front: &'a Front,
    connection: Connection,
    /// The beginning of a message.
    rest: BytesMut,
    /// What would be acknowledged.
    records: Vec<RecordId>,
}

impl Stream<'_> {
    fn take(&mut self, data: &[u8], fate: &Fate) -> Result<(), Ended> {
        self.rest.extend_from_slice(data);
        while let Some(prefix) = self.rest.first_chunk::<5>() {
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            if prefix[0] != 0 || length > MAX_MESSAGE_BYTES {
                return Err(Ended::With(Status::unimplemented("compressed, or too long")));
            }
            if self.rest.len() < 5 + length {
                return Ok(());
            }
            self.rest.advance(5);
            let message = self.rest.split_to(length).freeze();
            let taken = self.message(&message);
            self.pull_triggers();
            taken?;
            match fate {
                Fate::RefusedAfter(messages, status) if self.records.len() as u64 == *messages => {
                    return Err(Ended::With(status.clone()));
                }
                Fate::Early => return Err(Ended::Early),
                _ => {}
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &[u8]) -> Result<(), Ended> {
        let server = &self.front.server;
        let parsed = RecordId::parse(message);
        let refuse = lock(&server.faults).refuse.clone();
        let refusal = parsed.as_ref().and_then(|(_, request)| refuse.and_then(|refuse| refuse(request)));
        server.note(|seen| {
            if seen.life != self.front.life {
                return Err(Ended::Dead);
            }
            seen.messages += 1;
            let Some((record, request)) = parsed else {
                seen.malformed += 1;
                return Err(Ended::With(Status::internal("a message is no request")));
            };
            let copies = seen.records.entry(record.clone()).or_default();
            copies.received += 1;
            copies.under.insert([request.ingestion_config_id, request.run_id, request.organization_id]);
            copies.refused += u64::from(refusal.is_some());
            seen.refused += u64::from(refusal.is_some());
            seen.undirected += u64::from(!request.end_stream_on_validation_error);
            seen.order.entry((self.connection.0, request.flow)).or_default().push(record.time);
            match refusal {
                Some(status) if request.end_stream_on_validation_error => Err(Ended::With(status)),
                // Into the error queue, unseen.
                Some(_) => Ok(()),
                None => {
                    self.records.push(record);
                    Ok(())
                }
            }
        })
    }

    fn pull_triggers(&self) {
        let server = &self.front.server;
        let _pulling = lock(&server.pulling);
        let messages = lock(&server.seen).messages;
        let due: Vec<_> = lock(&server.triggers).extract_if(.., |(at, _)| *at <= messages).collect();
        due.into_iter().for_each(|(_, work)| work());
    }
}

/// While it lives, a stream is open.
struct OpenStream<'a>(&'a Server);

impl<'a> OpenStream<'a> {
    fn new(server: &'a Server) -> Self {
        server.note(|seen| {
            seen.streams += 1;
            seen.open_streams += 1;
            seen.most_open_streams = seen.most_open_streams.max(seen.open_streams);
        });
        Self(server)
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.0.note(|seen| seen.open_streams -= 1);
    }
}

/// An answer that breaks: HTTP/2 resets the stream.
struct Broken;

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Err(std::io::Error::other("broken on purpose"))))
    }
}
