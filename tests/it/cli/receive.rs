//! `sift-replay receive`: what it takes is a recording like any other.
#![cfg(unix)]

use std::path::Path;

use serde_json::Value;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingest::v1::ingest_service_client::IngestServiceClient;

use super::{against, text};
use crate::replay::{assert_same, counting, flight, recorded, session, small_segments};
use crate::support::cli::{Home, Running};
use crate::support::destination::{block_on, received};
use sift_replay::receiver::ReceiverOptions;
use sift_replay::sift::{Connection, Destination, DestinationOptions};

/// A receiver of its own process; the address that it listens on.
fn receive(home: &Home, into: &Path) -> (Running, String) {
    let mut running =
        Running::start(home.command(&["receive", "--listen", "127.0.0.1:0", "--json", "--into", text(into)]));
    let listening = running.json_line();
    assert_eq!(listening["event"], "listening");
    (running, format!("http://{}", listening["address"].as_str().unwrap()))
}

/// Ends it as Ctrl-C does; returns its last line.
fn end(running: Running) -> Value {
    running.interrupt();
    let (status, stdout, stderr) = running.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "summary");
    last
}

/// A request as somebody sends it who has long known the ids.
async fn send(uri: String, ids: (String, String), n: u64) {
    use sift_rs::ingest::v1::IngestWithConfigDataChannelValue;
    use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
    let request = IngestWithConfigDataStreamRequest {
        ingestion_config_id: ids.0,
        run_id: ids.1,
        flow: "n".to_owned(),
        timestamp: Some(pbjson_types::Timestamp { seconds: 1, nanos: 2 }),
        channel_values: vec![IngestWithConfigDataChannelValue { r#type: Some(Type::Uint64(n)) }],
        end_stream_on_validation_error: true,
        ..Default::default()
    };
    let mut client = IngestServiceClient::connect(uri).await.unwrap();
    client.ingest_with_config_data_stream(tokio_stream::iter([request])).await.unwrap();
}

#[test]
fn what_it_receives_is_sealed_and_can_be_replayed_again_and_clients_go_on_after_a_restart() {
    let home = Home::new();
    let (dir, into) = (home.path().join("backups"), home.path().join("into"));
    let files = session(&dir, &flight(counting("k")), small_segments(), 300);
    let expected = recorded(&files);

    let (running, uri) = receive(&home, &into);
    let replayed = home.run(&["--json", "--uri", &uri, text(&dir)]);
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let lines = replayed.json();
    let registered = lines.iter().find(|line| line["event"] == "registered").unwrap();
    let id = |name: &str| registered[name].as_str().unwrap().to_owned();
    let summary = end(running);
    assert_eq!((summary["requests_accepted"].as_u64(), summary["requests_refused"].as_u64()), (Some(300), Some(0)));
    let kept = received(&into);
    assert_same(&kept[0].records, &expected);
    let open = walk(&into).into_iter().filter(|path| text(path).ends_with(".open")).count();
    assert_eq!(open, 0, "all segments are sealed");

    // Replayed again, into another receiver.
    let (ran, records) = against(ReceiverOptions::default(), |uri| home.run(&["--uri", uri, text(&into)]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_same(&records, &expected);

    // Another life on the same directory knows what the first one gave out.
    let (running, uri) = receive(&home, &into);
    block_on(send(uri, (id("ingestion_config_id"), id("run_id")), 4711));
    assert_eq!(end(running)["requests_accepted"], 1);
    let kept = received(&into);
    assert_eq!((kept.len(), kept[1].records.len()), (2, 1));
    assert_eq!(kept[1].run, kept[0].run);
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_store_is_the_same_organization_wherever_it_listens_and_a_damaged_id_is_no_new_one() {
    let home = Home::new();
    let into = home.path().join("into");
    let path = into.join(".sift-replay").join("organization");
    let ids = [(); 2].map(|()| {
        let (running, uri) = receive(&home, &into);
        let destination = DestinationOptions { uri: Some(uri), ..Default::default() };
        let destination = Destination::resolve(&destination).unwrap();
        let id = block_on(async { Connection::open(&destination).await.unwrap().organization().await.unwrap() });
        end(running);
        id.unwrap()
    });
    assert_eq!(ids[0], ids[1]);
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), ids[0]);

    std::fs::write(&path, "mine").unwrap();
    let ran = home.run(&["receive", "--listen", "127.0.0.1:0", "--into", text(&into)]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(text(&path)), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn an_address_that_is_taken_is_said_so() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = home.run(&["receive", "--listen", &address, "--into", text(&home.path().join("into"))]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&address), "{ran:?}");
}
