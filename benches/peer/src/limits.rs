//! What bounds everybody: bare loops.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;
use sift_replay::format::{put_bytes_field, put_varint_field};
use sift_replay::sift::message_prefix;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;

use crate::contestant::Job;
use crate::measure::{Measured, bytes_below, here, paced};
use crate::ours::{CALLS_PER_SECOND, LANES, runtime};
use crate::peer::files_below;
use crate::workload::{FLOW, row, time};

const BUFFER_BYTES: usize = 64 << 10;
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
const INGEST: &str = "/sift.ingest.v1.IngestService/IngestWithConfigDataStream";

/// Encodes one record of doubles behind its length, as a recorder must at the least.
fn put_record(out: &mut Vec<u8>, name: &[u8], number: u64, row: &[f64]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(name);
    let time = time(number);
    let at = out.len();
    out.extend_from_slice(&[0x1a, 0]);
    put_varint_field(out, 1, (time / 1_000_000_000) as u64);
    put_varint_field(out, 2, (time % 1_000_000_000) as u64);
    out[at + 1] = (out.len() - at - 2) as u8;
    for value in row {
        let mut bytes = [0x22, 9, 0x11, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[3..].copy_from_slice(&value.to_le_bytes());
        out.extend_from_slice(&bytes);
    }
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Encodes all records into a buffer of 64 KiB, over and over; `full` gets each full buffer.
fn encode_all(job: &Job, rows: &[Vec<f64>], mut full: impl FnMut(&[u8])) {
    let mut name = Vec::new();
    put_bytes_field(&mut name, 2, FLOW.as_bytes());
    let mut buffer = Vec::with_capacity(BUFFER_BYTES + (8 << 10));
    for number in 0..job.records {
        put_record(&mut buffer, &name, number, &row(rows, number)[..]);
        if buffer.len() >= BUFFER_BYTES {
            full(&buffer);
            buffer.clear();
        }
    }
    full(&buffer);
}

pub(crate) fn encode(job: &Job) -> Measured {
    let rows = job.workload.rows();
    here(&job.dir, || {
        encode_all(job, &rows, |buffer| {
            black_box(crc32fast::hash(buffer));
        });
        job.records
    })
}

pub(crate) fn encode_and_write(job: &Job) -> Measured {
    let rows = job.workload.rows();
    here(&job.dir, || {
        let mut file = File::create(job.dir.join("bare")).expect("a file");
        let mut synced = Instant::now();
        encode_all(job, &rows, |buffer| {
            file.write_all(&crc32fast::hash(buffer).to_le_bytes()).expect("it is written");
            file.write_all(buffer).expect("it is written");
            if synced.elapsed() >= SYNC_INTERVAL {
                file.sync_data().expect("it is synced");
                synced = Instant::now();
            }
        });
        file.sync_data().expect("it is synced");
        job.records
    })
}

pub(crate) fn prost_encode(job: &Job) -> Measured {
    let messages = job.workload.messages();
    here(&job.dir, || {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + (8 << 10));
        for number in 0..job.records {
            row(&messages, number).encode(&mut buffer).expect("there is room");
            if buffer.len() >= BUFFER_BYTES {
                black_box(&buffer);
                buffer.clear();
            }
        }
        job.records
    })
}

pub(crate) fn prost_encode_calls(job: &Job) -> Measured {
    let messages = job.workload.messages();
    let mut calls = None;
    let measured = here(&job.dir, || {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + (8 << 10));
        calls = Some(paced(job.records, CALLS_PER_SECOND, |number| {
            row(&messages, number).encode(&mut buffer).expect("there is room");
            if buffer.len() >= BUFFER_BYTES {
                black_box(&buffer);
                buffer.clear();
            }
        }));
        job.records
    });
    Measured { calls, ..measured }
}

pub(crate) fn crc(job: &Job) -> Measured {
    let read = |path| std::fs::read(path).expect("it can be read");
    let files: Vec<Vec<u8>> = files_below(&job.dir).into_iter().map(read).collect();
    assert!(!files.is_empty());
    here(&job.dir, || {
        for chunk in files.iter().flat_map(|file| file.chunks(BUFFER_BYTES)) {
            black_box(crc32fast::hash(chunk));
        }
        bytes_below(&job.dir)
    })
}

async fn connect(job: &Job) -> Channel {
    Channel::from_shared(job.uri.clone()).expect("an address").connect().await.expect("a connection")
}

/// Takes messages that are encoded already.
#[derive(Debug, Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ();
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, tonic::Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}

pub(crate) fn pass_through(job: &Job) -> Measured {
    let runtime = runtime();
    let encode = |message: sift_rs::ingest::v1::IngestWithConfigDataStreamRequest| Bytes::from(message.encode_to_vec());
    let messages: Vec<Bytes> = job.workload.messages_with_ids().into_iter().map(encode).collect();
    here(&job.dir, || {
        runtime.block_on(async {
            let mut client = tonic::client::Grpc::new(connect(job).await);
            client.ready().await.expect("it is ready");
            let records = job.records;
            let stream = tokio_stream::iter((0..records).map(move |number| row(&messages, number).clone()));
            let path = http::uri::PathAndQuery::from_static(INGEST);
            client.client_streaming(tonic::Request::new(stream), path, Encoded).await.expect("it is acknowledged");
        });
        job.records
    })
}

/// Framed messages, at least 64 KiB of them, and how many.
fn buffers(job: &Job) -> Vec<(Bytes, u64)> {
    let (mut buffers, mut buffer, mut records) = (Vec::new(), Vec::new(), 0);
    for message in job.workload.messages_with_ids() {
        buffer.extend_from_slice(&message_prefix(message.encoded_len() as u32));
        message.encode(&mut buffer).expect("there is room");
        records += 1;
        if buffer.len() >= BUFFER_BYTES {
            buffers.push((Bytes::from(std::mem::take(&mut buffer)), std::mem::take(&mut records)));
        }
    }
    buffers.push((Bytes::from(buffer), records));
    buffers.retain(|(_, records)| *records > 0);
    buffers
}

pub(crate) fn whole_buffers(job: &Job) -> Measured {
    let runtime = runtime();
    let buffers = buffers(job);
    here(&job.dir, || {
        runtime.block_on(async {
            let share = job.records / LANES as u64;
            let mut sending = Vec::new();
            for _ in 0..LANES {
                let (mut channel, buffers) = (connect(job).await, buffers.clone());
                sending.push(tokio::spawn(async move {
                    let mut sent = 0;
                    let frames = (0..).map_while(move |n: usize| {
                        let (buffer, records) = &buffers[n % buffers.len()];
                        let more = sent < share;
                        sent += records;
                        more.then(|| Ok::<_, tonic::Status>(Frame::data(buffer.clone())))
                    });
                    let body = Body::new(StreamBody::new(tokio_stream::iter(frames)));
                    let request = http::Request::post(INGEST)
                        .version(http::Version::HTTP_2)
                        .header("te", "trailers")
                        .header("content-type", "application/grpc")
                        .body(body)
                        .expect("a request");
                    std::future::poll_fn(|context| channel.poll_ready(context)).await.expect("it is ready");
                    let answer = channel.call(request).await.expect("it is answered");
                    assert!(answer.status().is_success());
                    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("it is whole");
                    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
                    assert_eq!(status.as_ref().map(http::HeaderValue::as_bytes), Some(&b"0"[..]));
                }));
            }
            for sending in sending {
                sending.await.expect("it doesn't panic");
            }
        });
        job.records / LANES as u64 * LANES as u64
    })
}
