//! Services that answer with whatever they are told, without regard to gRPC.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

type RawFuture = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

type Answers = dyn Fn(&http::HeaderMap) -> http::Response<Body> + Send + Sync;

#[derive(Clone)]
pub(super) struct Raw(Arc<Answers>);

impl Raw {
    pub(super) fn new(answer: impl Fn() -> http::Response<Body> + Send + Sync + 'static) -> Raw {
        Raw(Arc::new(move |_| answer()))
    }

    /// One that looks at the request's headers.
    pub(super) fn looking(answer: impl Fn(&http::HeaderMap) -> http::Response<Body> + Send + Sync + 'static) -> Raw {
        Raw(Arc::new(answer))
    }

    fn answer(&self, request: http::Request<Body>) -> RawFuture {
        let answer = self.0.clone();
        Box::pin(async move {
            // The whole request is read first, as by a server that acknowledges.
            let (head, body) = request.into_parts();
            body.collect().await.unwrap();
            Ok(answer(&head.headers))
        })
    }
}

/// In place of the ingest service.
#[derive(Clone)]
pub(super) struct RawIngest(pub(super) Raw);

impl NamedService for RawIngest {
    const NAME: &'static str = "sift.ingest.v1.IngestService";
}

impl Service<http::Request<Body>> for RawIngest {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = RawFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> RawFuture {
        let path = "/sift.ingest.v1.IngestService/IngestWithConfigDataStream";
        assert_eq!(request.uri().path(), path);
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.headers()["te"], "trailers");
        self.0.answer(request)
    }
}

/// In place of the ping service.
#[derive(Clone)]
pub(super) struct RawPing(pub(super) Raw);

impl NamedService for RawPing {
    const NAME: &'static str = "sift.ping.v1.PingService";
}

impl Service<http::Request<Body>> for RawPing {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = RawFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> RawFuture {
        self.0.answer(request)
    }
}

pub(super) fn answer(
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &'static [u8],
    trailers: &'static [(&'static str, &'static str)],
) -> http::Response<Body> {
    let body = Full::new(Bytes::from_static(body)).with_trailers(async move {
        let mut map = http::HeaderMap::new();
        for (name, value) in trailers {
            map.insert(*name, value.parse().unwrap());
        }
        (!map.is_empty()).then_some(Ok(map))
    });
    let mut response = http::Response::new(Body::new(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}
