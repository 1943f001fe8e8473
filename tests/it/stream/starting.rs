//! Starting a stream, with a link and without one: what is wrong shows at once, and what can wait waits.

mod sharing;

use std::time::{Duration, Instant};

use sift_replay::stream::{
    ChannelValue, Credentials, Flow, FlowConfig, IngestionConfigForm, LiveWithBackupsBuilder, MetadataValue,
    RateLimitPolicy, SiftStreamBuilder, StreamConfigBuilder, StreamError,
};
use sift_rs::SiftChannelBuilder;
use tonic::Status;

use super::observed::recording;
use super::support::{assert_each_once, credentials, flow_config, form, live_only, message, send, to, with_backups};
use crate::support::destination::{Rig, block_on};
use crate::support::faulty::{CallFate, Faulty, rate_limited};
use crate::support::proxy::{BOTH, Proxy, Way};

/// The error of a build that must fail, and how long it took.
macro_rules! error_of {
    ($builder:expr) => {{
        match $builder.build().await {
            Ok(_) => panic!("it was built"),
            Err(error) => error,
        }
    }};
}

fn backups(base: StreamConfigBuilder, dir: &std::path::Path) -> LiveWithBackupsBuilder {
    let policy = sift_replay::stream::DiskBackupPolicy { backups_dir: Some(dir.to_owned()), ..Default::default() };
    base.live_with_backups().metrics_streaming_interval(None).disk_backup_policy(policy)
}

/// The errors of both modes that have a link: the same.
async fn refused(base: StreamConfigBuilder) -> StreamError {
    let dir = tempfile::tempdir().unwrap();
    let live = error_of!(base.clone().live_only().metrics_streaming_interval(None));
    let backed = error_of!(backups(base, dir.path()));
    assert_eq!(live.to_string(), backed.to_string());
    assert!(!live.is_transient() && !backed.is_transient(), "{live}");
    assert_eq!(super::support::segments(dir.path()), Vec::<std::path::PathBuf>::new(), "nothing was begun");
    live
}

#[track_caller]
fn assert_says(error: &StreamError, texts: &[&str]) {
    let text = error.to_string();
    assert!(texts.iter().all(|part| text.contains(part)), "{text:?} doesn't say all of {texts:?}");
    // Nobody who writes a program has given options of a command.
    assert!(!text.contains(" --"), "{text:?} names options of the command");
}

#[test]
fn wrong_credentials_and_wrong_endpoints_show_when_a_stream_is_built() {
    let server = Faulty::start();
    block_on(async {
        for (status, texts) in [
            (Status::unauthenticated("unknown key"), ["does not accept the API key", "unknown key"]),
            (Status::permission_denied("no rights"), ["denies it access", "no rights"]),
            (Status::unimplemented("who?"), ["not Sift's gRPC endpoint", "sift.ping.v1"]),
        ] {
            server.next_calls("Ping", 2, CallFate::Refused(status));
            assert_says(&refused(to(&server.uri())).await, &texts);
        }
        for (uri, texts) in [
            ("ftp://127.0.0.1:1", ["ftp://127.0.0.1:1", "not the URI of a gRPC endpoint"]),
            ("", ["not the URI of a gRPC endpoint", "http"]),
        ] {
            assert_says(&refused(to(uri)).await, &texts);
        }
        let no_key = Credentials::Config { uri: server.uri(), apikey: String::new() };
        let base = SiftStreamBuilder::new(no_key).disable_tls().ingestion_config(form("rover-v1"));
        assert_says(&refused(base).await, &["API key from the credentials can't be used", "empty"]);
        // The key and the data would be read by whoever listens.
        let base = SiftStreamBuilder::new(credentials("http://192.0.2.1:50051")).ingestion_config(form("rover-v1"));
        assert_says(&refused(base).await, &["plain http to another machine", "disable_tls"]);
    });
}

#[test]
fn a_schema_that_conflicts_with_sifts_is_refused_and_named() {
    let server = Faulty::start();
    block_on(async {
        live_only(&server.uri()).build().await.unwrap().finish().await.unwrap();
        let changed = |change: &dyn Fn(&mut IngestionConfigForm)| {
            let mut form = form("rover-v1");
            change(&mut form);
            SiftStreamBuilder::new(credentials(&server.uri())).disable_tls().ingestion_config(form)
        };
        let fewer = changed(&|form| drop(form.flows[0].channels.pop()));
        assert_says(&refused(fewer).await, &["\"numbers\"", "1 channel recorded, 2 there", "another client key"]);
        let renamed = changed(&|form| form.flows[0].channels[1].name = "note".to_owned());
        assert_says(&refused(renamed).await, &["\"numbers\"", "\"note\"", "another client key"]);
        let typed = changed(&|form| form.flows[0].channels[0].data_type = 1);
        assert_says(&refused(typed).await, &["\"numbers\"", "\"n\"", "type"]);
        let elsewhere = changed(&|form| form.asset_name = "buggy".to_owned());
        assert_says(&refused(elsewhere).await, &["\"rover-v1\"", "\"rover\"", "\"buggy\""]);
        let no_run = to(&server.uri()).attach_run_id("no-such-run");
        assert_says(&refused(no_run).await, &["no run has the id \"no-such-run\""]);
        // More flows are no conflict.
        let more = changed(&|form| form.flows.push(flow_config("more")));
        more.live_only().metrics_streaming_interval(None).build().await.unwrap().finish().await.unwrap();
    });
}

#[test]
fn an_invalid_schema_is_refused_before_anybody_is_asked() {
    let server = Faulty::start();
    server.kill();
    let with = |change: &dyn Fn(&mut IngestionConfigForm)| {
        let mut form = form("rover-v1");
        change(&mut form);
        SiftStreamBuilder::new(credentials(&server.uri())).disable_tls().ingestion_config(form)
    };
    let twice = |flow: &mut FlowConfig| flow.channels.push(flow.channels[0].clone());
    block_on(async {
        for (base, texts) in [
            (with(&|form| twice(&mut form.flows[0])), &["\"numbers\"", "two channels named \"n\""][..]),
            (with(&|form| form.flows.push(form.flows[0].clone())), &["two flows are named \"numbers\""]),
            (with(&|form| form.asset_name.clear()), &["asset's name", "empty"]),
            (with(&|form| form.client_key.clear()), &["client key", "empty"]),
            (with(&|form| form.flows[0].name.clear()), &["flow's name is empty"]),
            (with(&|form| form.flows[0].channels[1].name.clear()), &["channel's name in flow \"numbers\" is empty"]),
            (
                with(&|form| form.flows[0].channels[1].data_type = 77),
                &["\"text\"", "\"numbers\"", "no known data type (77)"],
            ),
        ] {
            assert_says(&refused(base.clone()).await, texts);
            let dir = tempfile::tempdir().unwrap();
            assert_says(&error_of!(recording(base, dir.path())), texts);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is made");
        }
        assert_says(&error_of!(to("").file_backup()), &["disk_backup_policy", "backups_dir"]);
    });
}

#[test]
fn without_a_link_strict_fails_and_what_is_not_strict_starts_within_the_time_for_connecting() {
    let server = Faulty::start();
    let proxy = Proxy::start(server.address());
    let (patience, dir) = (Duration::from_millis(500), tempfile::tempdir().unwrap());
    block_on(async {
        let base = || to(&proxy.uri()).connect_timeout(patience);
        // Connections are taken, and nobody ever answers.
        proxy.hold(&BOTH);
        let began = Instant::now();
        let error = error_of!(backups(base(), dir.path()).strict(true));
        assert!(error.is_transient(), "{error}");
        assert_says(&error, &["can't reach", "no answer within 0.5 s"]);
        let stream = backups(base(), dir.path()).build().await.unwrap();
        assert!(began.elapsed() >= 2 * patience && began.elapsed() < Duration::from_secs(20));
        send(&stream, 0..10).await;
        proxy.pass();
        // It registers, and sends, as soon as there is a link.
        server.wait(|seen| seen.messages == 10);
        assert_eq!(stream.finish().await.unwrap().acknowledged, 10);
        // Nobody listens.
        proxy.refuse();
        let error = error_of!(backups(base(), dir.path()).strict(true));
        assert_says(&error, &["refuses connections"]);
        let stream = backups(base(), dir.path()).build().await.unwrap();
        send(&stream, 10..20).await;
        assert_eq!(stream.finish().await.unwrap().on_disk, 10);
        proxy.pass();
        let stream = backups(base(), dir.path()).strict(true).build().await.unwrap();
        server.wait(|seen| seen.acknowledged() == 20);
        stream.finish().await.unwrap();
    });
    assert_each_once(&server.seen(), 20);
}

#[test]
fn a_server_that_answers_the_ping_and_then_nothing_holds_up_no_start() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.next_calls("ListIngestionConfigs", u64::MAX, CallFate::Silent);
    block_on(async {
        let (began, base) = (Instant::now(), to(&server.uri()).connect_timeout(Duration::from_millis(500)));
        let stream = backups(base, dir.path()).build().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        send(&stream, 0..10).await;
        server.heal();
        drop(stream);
    });
}

#[test]
fn a_channel_that_is_there_is_used_and_a_name_can_be_given_to_it() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let channel = || SiftChannelBuilder::new(credentials(&server.uri())).use_tls(false).build().unwrap();
        let live = SiftStreamBuilder::from_channel(channel()).ingestion_config(form("rover-v1"));
        let stream = live.live_only().metrics_streaming_interval(None).build().await.unwrap();
        send(&stream, 0..50).await;
        assert_eq!(stream.finish().await.unwrap().acknowledged, 50);
        let named = SiftStreamBuilder::from(channel()).endpoint_name(&server.uri()).ingestion_config(form("rover-v1"));
        let stream = backups(named, dir.path()).build().await.unwrap();
        send(&stream, 50..100).await;
        assert_eq!(stream.finish().await.unwrap().acknowledged, 50);
        server.next_calls("Ping", 1, CallFate::Refused(Status::unauthenticated("unknown key")));
        let refusing = SiftStreamBuilder::from_channel(channel()).ingestion_config(form("rover-v1"));
        assert_says(&error_of!(refusing.live_only()), &["does not accept the API key", "unknown key"]);
    });
    assert_each_once(&server.seen(), 100);
}

#[test]
fn without_tls_https_becomes_http_and_with_it_plain_text_is_not_understood() {
    let server = Faulty::start();
    block_on(async {
        for uri in [server.uri(), server.uri().replace("http", "https"), server.address().to_string()] {
            live_only(&uri).build().await.unwrap().finish().await.unwrap();
        }
        let base = SiftStreamBuilder::new(credentials(&server.uri().replace("http", "https")));
        let base = base.ingestion_config(form("rover-v1"));
        assert_says(&refused(base).await, &["https://127.0.0.1", "no TLS connection", "disable_tls"]);
    });
}

#[test]
fn a_profile_that_is_not_there_is_named() {
    block_on(async {
        let base = SiftStreamBuilder::new(Credentials::Profile(Some("no-such-profile".to_owned())));
        let text = refused(base.ingestion_config(form("rover-v1"))).await.to_string();
        assert!(text.contains("no-such-profile") || text.contains("sift.toml"), "{text}");
    });
}

#[test]
fn an_assets_tags_and_metadata_are_set_if_given_and_left_alone_if_not() {
    use sift_rs::metadata::v1::{MetadataKey, MetadataKeyType, metadata_value::Value};
    let server = Faulty::start();
    let metadata = |value: &str| MetadataValue {
        key: Some(MetadataKey {
            name: "site".to_owned(),
            r#type: MetadataKeyType::String.into(),
            ..MetadataKey::default()
        }),
        value: Some(Value::StringValue(value.to_owned())),
        ..MetadataValue::default()
    };
    block_on(async {
        let built = async |base: StreamConfigBuilder| {
            base.live_only().metrics_streaming_interval(None).build().await.unwrap().finish().await.unwrap();
            server.seen().calls("UpdateAsset")
        };
        assert_eq!(built(to(&server.uri())).await, 0);
        let tagged = to(&server.uri()).add_asset_tags(vec!["a".to_owned()]).add_asset_metadata(vec![metadata("hall")]);
        assert_eq!(built(tagged.clone()).await, 1);
        assert_eq!(built(tagged).await, 1, "it is so already");
        assert_eq!(built(to(&server.uri())).await, 1, "left alone");
        assert_eq!(built(to(&server.uri()).add_asset_tags(Vec::new())).await, 2, "taken away");
    });
}

#[test]
fn a_limited_rate_is_waited_for_unless_the_policy_says_otherwise() {
    let server = Faulty::start();
    block_on(async {
        let limited = || {
            server.next_calls("CreateIngestionConfig", 2, CallFate::Refused(rate_limited(Duration::from_millis(20))))
        };
        limited();
        let base = to(&server.uri()).rate_limit_policy(RateLimitPolicy::ReturnError);
        let error = error_of!(base.live_only());
        assert!(error.is_transient());
        assert_says(&error, &["CreateIngestionConfig", "slow down"]);
        limited();
        live_only(&server.uri()).build().await.unwrap().finish().await.unwrap();
    });
}

/// A message that is worth compressing: gRPC does it one by one.
fn long(n: u64) -> Flow {
    let mut flow = message(n);
    flow.values.push(ChannelValue::new("text", "as on every other day, ".repeat(50)));
    flow
}

#[test]
fn with_gzip_fewer_bytes_go_over_the_wire_and_say_the_same() {
    let sent = [false, true].map(|gzip| {
        block_on(async {
            let rig = Rig::start().await;
            let proxy = Proxy::start(rig.uri().trim_start_matches("http://").parse().unwrap());
            let (live, dir) = (live_only(&proxy.uri()), tempfile::tempdir().unwrap());
            let stream = live.enable_compression_for_ingestion(gzip).build().await.unwrap();
            for n in 0..200 {
                stream.send(long(n)).await.unwrap();
            }
            assert_eq!(stream.finish().await.unwrap().acknowledged, 200);
            let backed = with_backups(&proxy.uri(), dir.path()).enable_compression_for_ingestion(gzip);
            let stream = backed.build().await.unwrap();
            for n in 200..400 {
                stream.send(long(n)).await.unwrap();
            }
            assert_eq!(stream.finish().await.unwrap().acknowledged, 200);
            (proxy.counts().passed(Way::Up), rig.finish_records().await)
        })
    });
    let [(plain, records), (compressed, same)] = sent;
    assert_eq!(records.len(), 400);
    assert_eq!(records, same);
    assert!(compressed * 3 < plain, "{compressed} bytes of {plain}");
}
