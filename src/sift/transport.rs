//! The tonic channel with what each request needs: the credentials on the way out, and on the way
//! back the removal of what tonic can't bear.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use sift_rs::SiftChannel;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A channel that sends the API key with each request.
#[derive(Clone)]
pub(super) struct Authorized(Way);

#[derive(Clone)]
enum Way {
    /// A channel of our own; without a key on loopback.
    Own { channel: Channel, authorization: Option<HeaderValue> },
    /// One that somebody else made, which adds its key itself.
    Existing(SiftChannel),
}

impl Authorized {
    pub(super) fn new(channel: Channel, authorization: Option<HeaderValue>) -> Authorized {
        Authorized(Way::Own { channel, authorization })
    }

    pub(super) fn existing(channel: SiftChannel) -> Authorized {
        Authorized(Way::Existing(channel))
    }

    pub(super) fn has_key(&self) -> bool {
        match &self.0 {
            Way::Own { authorization, .. } => authorization.is_some(),
            Way::Existing(_) => true,
        }
    }
}

impl Service<http::Request<Body>> for Authorized {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, tonic::transport::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.0 {
            Way::Own { channel, .. } => channel.poll_ready(cx),
            Way::Existing(channel) => channel.poll_ready(cx),
        }
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        match &mut self.0 {
            Way::Own { channel, authorization } => {
                if let Some(authorization) = authorization {
                    request.headers_mut().insert(http::header::AUTHORIZATION, authorization.clone());
                }
                let response = channel.call(request);
                Box::pin(async move { response.await.map(bearable) })
            }
            Way::Existing(channel) => {
                let response = channel.call(request);
                Box::pin(async move { response.await.map(|response| bearable(as_refused_key(response))) })
            }
        }
    }
}

/// The channels of the official crates answer themselves, without sending anything, if their key can't travel in a
/// header, and call it an invalid argument. That would be taken for the data's fault. What came over the network is
/// HTTP/2.
fn as_refused_key<B>(mut response: http::Response<B>) -> http::Response<B> {
    if response.version() != http::Version::HTTP_2 && response.headers().contains_key(Status::GRPC_STATUS) {
        response.headers_mut().insert(Status::GRPC_STATUS, HeaderValue::from(Code::Unauthenticated as i32));
    }
    response
}

/// tonic panics on status details that aren't base64. They come from outside, so they are taken out
/// of headers and trailers before tonic sees them; code and message remain.
fn bearable<B>(response: http::Response<B>) -> http::Response<Body>
where
    B: HttpBody<Data = Bytes, Error = Status> + Send + 'static,
{
    let (mut head, body) = response.into_parts();
    drop_malformed_details(&mut head.headers);
    let body = body.map_frame(|mut frame| {
        if let Some(trailers) = frame.trailers_mut() {
            drop_malformed_details(trailers);
        }
        frame
    });
    http::Response::from_parts(head, Body::new(body))
}

fn drop_malformed_details(headers: &mut HeaderMap) {
    let Some(details) = headers.get(Status::GRPC_STATUS_DETAILS) else {
        return;
    };
    let mut probe = HeaderMap::new();
    probe.insert(Status::GRPC_STATUS_DETAILS, details.clone());
    let sound = MetadataMap::from_headers(probe)
        .get_bin(Status::GRPC_STATUS_DETAILS.as_str())
        .is_some_and(|value| value.to_bytes().is_ok());
    if !sound {
        tracing::debug!("a status came with details that are not base64; they are ignored");
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details_after(value: &'static str) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("8"));
        headers.insert(Status::GRPC_STATUS_DETAILS, HeaderValue::from_static(value));
        drop_malformed_details(&mut headers);
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        headers.contains_key(Status::GRPC_STATUS_DETAILS).then(|| status.details().to_vec())
    }

    #[test]
    fn only_details_that_decode_reach_tonic() {
        assert_eq!(details_after("aGVsbG8"), Some(b"hello".to_vec()));
        assert_eq!(details_after("aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(details_after("!!not base64!!"), None);
        assert_eq!(details_after("a"), None);
        assert_eq!(details_after("aGVsbG9"), None, "stray bits after the last byte");
    }
}
