//! Runs that are attached and detached while a stream is at work: what is sent goes where it belongs.

use std::collections::BTreeMap;
use std::path::Path;

use sift_replay::record::RecordError;
use sift_replay::stream::{RunForm, RunSelector, StreamError, Transport};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;
use sift_rs::runs::v2::{CreateRunRequest, Run};

use super::observed::{Heard, Stream, recording};
use super::support::{FLOW, flow_config, live_only, send, to, with_backups};
use crate::support::destination::{block_on, received, replay_to};
use crate::support::faulty::{CallFate, Faulty};
use tonic::Status;

pub(super) fn form(name: &str) -> RunForm {
    RunForm { name: name.to_owned(), client_key: format!("{name}-key"), ..RunForm::default() }
}

/// The ids of the runs that each number arrived in; those in no run have an empty one.
fn runs(heard: &[Request]) -> BTreeMap<u64, Vec<String>> {
    let mut runs: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for request in heard {
        runs.entry(request.timestamp.unwrap().nanos as u64).or_default().push(request.run_id.clone());
    }
    runs
}

#[track_caller]
fn assert_runs(heard: &Heard, expected: &[(std::ops::Range<u64>, &str)]) {
    let came = runs(&heard.whole());
    for (numbers, run) in expected {
        for n in numbers.clone() {
            assert_eq!(came.get(&n), Some(&vec![(*run).to_owned()]), "{n}");
        }
    }
    assert_eq!(came.len() as u64, expected.iter().map(|(numbers, _)| numbers.end - numbers.start).sum::<u64>());
}

/// A run that is there, with an id of its own.
const KNOWN: &str = "0190b5f0-0000-7000-8000-00000000abcd";

fn seed(server: &Faulty) {
    let run = CreateRunRequest { name: "known".to_owned(), ..CreateRunRequest::default() };
    server.registry.seed_run_with_id(KNOWN, &run).unwrap();
}

/// Sends into no run, then into three, then into none; what the stream said of each.
async fn journey<T: Transport>(stream: &mut Stream<T>) -> Vec<Option<Run>> {
    let mut told = vec![stream.run().cloned()];
    send(stream, 0..20).await;
    stream.attach_run(RunSelector::ByForm(form("climb"))).await.unwrap();
    told.push(stream.run().cloned());
    send(stream, 20..40).await;
    stream.attach_run(RunSelector::ById(KNOWN.to_owned())).await.unwrap();
    told.push(stream.run().cloned());
    send(stream, 40..60).await;
    // A flow that comes along into the runs that follow.
    stream.add_new_flows(&[flow_config("more")]).await.unwrap();
    stream.add_new_flows(&[flow_config("more"), flow_config(FLOW)]).await.unwrap();
    stream.attach_run(RunSelector::ByForm(form("climb"))).await.unwrap();
    told.push(stream.run().cloned());
    send(stream, 60..80).await;
    stream.detach_run();
    stream.detach_run();
    told.push(stream.run().cloned());
    send(stream, 80..100).await;
    let descriptor = stream.get_flow_descriptor("more").unwrap();
    assert!(descriptor.get("text").is_some());
    let mut other = super::support::message(100);
    other.flow_name = "more".to_owned();
    stream.send(other).await.unwrap();
    told
}

/// Where all of a journey belongs.
fn expected(climb: &str) -> Vec<(std::ops::Range<u64>, &str)> {
    vec![(0..20, ""), (20..40, climb), (40..60, KNOWN), (60..80, climb), (80..101, "")]
}

fn ids(told: &[Option<Run>]) -> Vec<Option<&str>> {
    told.iter().map(|run| run.as_ref().map(|run| &run.run_id[..])).collect()
}

#[test]
fn live_only_sends_into_the_run_that_is_attached_when_it_is_sent() {
    let server = Faulty::start();
    seed(&server);
    let heard = Heard::at(&server);
    let told = block_on(async {
        let mut stream = live_only(&server.uri()).build().await.unwrap();
        let told = journey(&mut stream).await;
        assert_eq!(stream.finish().await.unwrap().acknowledged, 101);
        told
    });
    let climb = told[1].as_ref().unwrap().run_id.clone();
    assert!(!climb.is_empty());
    assert_eq!(ids(&told), [None, Some(&climb[..]), Some(KNOWN), Some(&climb), None]);
    assert_runs(&heard, &expected(&climb));
    assert_eq!(server.seen().calls("CreateRun"), 1, "the second time it is found");
}

#[test]
fn with_backups_sends_into_the_run_that_is_attached_when_it_is_sent() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    seed(&server);
    let heard = Heard::at(&server);
    let told = block_on(async {
        let mut stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        let told = journey(&mut stream).await;
        assert_eq!(stream.finish().await.unwrap().acknowledged, 101);
        told
    });
    let climb = told[1].as_ref().unwrap().run_id.clone();
    assert_eq!(ids(&told), [None, Some(&climb[..]), Some(KNOWN), Some(&climb), None]);
    assert_runs(&heard, &expected(&climb));
}

/// What the files say of their runs, session by session: the form's name, or the id.
fn headers(dir: &Path) -> Vec<(Option<String>, Option<String>, usize)> {
    use sift_replay::catalog::{Catalog, discover};
    let catalog = Catalog::build(discover(&[dir.to_owned()]).unwrap());
    let mut said = Vec::new();
    for (session, received) in catalog.sessions.iter().zip(received(dir)) {
        let requests = session.requests.as_ref().unwrap();
        said.push((received.run.map(|run| run.name), requests.run_id.clone(), received.records.len()));
    }
    said
}

fn expected_headers() -> Vec<(Option<String>, Option<String>, usize)> {
    let climb = || Some("climb".to_owned());
    vec![
        (None, None, 20),
        (climb(), None, 20),
        (None, Some(KNOWN.to_owned()), 20),
        (climb(), None, 20),
        (None, None, 21),
    ]
}

#[test]
fn without_a_link_what_is_recorded_says_its_run_and_the_next_stream_delivers_it_there() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    seed(&server);
    let heard = Heard::at(&server);
    server.kill();
    block_on(async {
        let mut stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        let told = journey(&mut stream).await;
        // Nobody could be asked.
        assert_eq!(ids(&told), [None, Some(""), Some(KNOWN), Some(""), None]);
        assert_eq!(told[1].as_ref().unwrap().name, "climb");
        assert_eq!(stream.finish().await.unwrap().on_disk, 101);
        assert_eq!(headers(dir.path()), expected_headers());
        server.server().revive();
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        server.wait(|seen| seen.acknowledged() == 101);
        assert_eq!(stream.finish().await.unwrap().requests, 0);
    });
    let climb = runs(&heard.whole())[&20][0].clone();
    assert!(!climb.is_empty());
    assert_runs(&heard, &expected(&climb));
}

#[test]
fn what_file_backup_recorded_is_replayed_into_the_runs_that_were_attached() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    seed(&server);
    let heard = Heard::at(&server);
    block_on(async {
        let mut stream = recording(to("https://nobody.invalid"), dir.path()).build().await.unwrap();
        let told = journey(&mut stream).await;
        assert_eq!(ids(&told), [None, Some(""), Some(KNOWN), Some(""), None]);
        assert_eq!(stream.finish().await.unwrap().on_disk, 101);
        assert_eq!(headers(dir.path()), expected_headers());
        let replayed = replay_to(server.uri(), &[dir.path()], &Default::default()).await;
        assert_eq!(replayed.refusals(), Vec::<&str>::new());
    });
    let climb = runs(&heard.whole())[&20][0].clone();
    assert!(!climb.is_empty());
    assert_runs(&heard, &expected(&climb));
}

#[test]
fn a_run_by_form_is_created_or_found_and_set_and_one_by_id_wins() {
    let server = Faulty::start();
    seed(&server);
    let first = RunForm { description: Some("a test".to_owned()), tags: Some(vec!["one".to_owned()]), ..form("climb") };
    block_on(async {
        let stream = to(&server.uri()).attach_run(first).live_only().metrics_streaming_interval(None).build();
        let stream = stream.await.unwrap();
        let created = stream.run().unwrap().clone();
        assert_eq!(
            (&created.name[..], &created.description[..], &created.tags[..]),
            ("climb", "a test", &["one".to_owned()][..])
        );
        stream.finish().await.unwrap();
        // What isn't given is left alone, what is given is set.
        let second = RunForm { name: "climbing".to_owned(), tags: Some(vec![]), ..form("climb") };
        let stream = to(&server.uri()).attach_run(second.clone()).live_only().metrics_streaming_interval(None).build();
        let stream = stream.await.unwrap();
        let found = stream.run().unwrap();
        assert_eq!(found.run_id, created.run_id);
        assert_eq!((&found.name[..], &found.description[..], &found.tags[..]), ("climbing", "a test", &[][..]));
        stream.finish().await.unwrap();
        let both = to(&server.uri()).attach_run(second).attach_run_id(KNOWN);
        let stream = both.live_only().metrics_streaming_interval(None).build().await.unwrap();
        assert_eq!((&stream.run().unwrap().run_id[..], &stream.run().unwrap().name[..]), (KNOWN, "known"));
        stream.finish().await.unwrap();
    });
    assert_eq!(server.seen().calls("CreateRun"), 1);
}

/// A run that can't be attached leaves everything as it was; `asked`: Sift is.
async fn refuses_runs<T: Transport>(stream: &mut Stream<T>, asked: bool) {
    stream.attach_run(RunSelector::ByForm(form("climb"))).await.unwrap();
    send(stream, 0..5).await;
    let refused = [
        (RunSelector::ById("no-such-run".to_owned()), &["no run has the id \"no-such-run\""][..]),
        (RunSelector::ByForm(RunForm { name: String::new(), ..form("x") }), &["run", "name"]),
        (RunSelector::ByForm(RunForm { client_key: String::new(), ..form("x") }), &["run", "client key"]),
    ];
    for (run, names) in refused.into_iter().skip(usize::from(!asked)) {
        let text = stream.attach_run(run).await.unwrap_err().to_string();
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
        assert_eq!(stream.run().unwrap().name, "climb");
        assert_eq!(stream.closed(), None);
    }
    send(stream, 5..10).await;
}

#[test]
fn a_run_that_can_not_be_attached_is_named_and_nothing_changes() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let heard = Heard::at(&server);
    block_on(async {
        let mut stream = live_only(&server.uri()).build().await.unwrap();
        refuses_runs(&mut stream, true).await;
        let climb = stream.run().unwrap().run_id.clone();
        stream.finish().await.unwrap();
        assert_runs(&heard, &[(0..10, &climb)]);
        let heard = Heard::at(&server);
        let mut stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        refuses_runs(&mut stream, true).await;
        stream.finish().await.unwrap();
        assert_runs(&heard, &[(0..10, &climb)]);
        let files = tempfile::tempdir().unwrap();
        let mut stream = recording(to("https://nobody.invalid"), files.path()).build().await.unwrap();
        refuses_runs(&mut stream, false).await;
        stream.finish().await.unwrap();
        let nothing_yet = (None, None, 0);
        assert_eq!(headers(files.path()), [nothing_yet, (Some("climb".to_owned()), None, 10)]);
        // Without files there is nothing but Sift: no answer, no run.
        let mut stream = live_only(&server.uri()).build().await.unwrap();
        server.next_calls("CreateRun", 1, CallFate::Refused(Status::permission_denied("runs are for others")));
        let error = stream.attach_run(RunSelector::ByForm(form("descent"))).await.unwrap_err();
        assert!(error.to_string().contains("runs are for others"), "{error}");
        assert_eq!(stream.run(), None);
        stream.finish().await.unwrap();
    });
}

#[test]
fn a_flow_that_differs_from_a_known_one_is_named_and_nobody_is_told_of_it() {
    let (server, dirs) = (Faulty::start(), [(); 2].map(|()| tempfile::tempdir().unwrap()));
    let mut other = flow_config(FLOW);
    other.channels.pop();
    let mut twice = flow_config("twice");
    twice.channels.extend(twice.channels.clone());
    let bad = [other, twice];
    block_on(async {
        let mut live = live_only(&server.uri()).build().await.unwrap();
        let mut backed = with_backups(&server.uri(), dirs[0].path()).build().await.unwrap();
        let mut files = recording(to(&server.uri()), dirs[1].path()).build().await.unwrap();
        // The replay of what may be on disk asks for other things meanwhile.
        let told = || server.seen().calls.get("CreateIngestionConfigFlows").copied();
        let before = told();
        for (flow, name) in bad.iter().zip(["\"numbers\" exists with other channels", "\"twice\" has two channels"]) {
            let flows = [flow_config("good"), flow.clone()];
            for error in [
                live.add_new_flows(&flows).await.unwrap_err(),
                backed.add_new_flows(&flows).await.unwrap_err(),
                files.add_new_flows(&flows).await.unwrap_err(),
            ] {
                assert!(matches!(&error, StreamError::Record(RecordError::Schema(_))), "{error:?}");
                assert!(error.to_string().contains(name), "{error}");
            }
        }
        // Not even of the good one beside it.
        assert_eq!(told(), before);
        assert!(live.flow("good").is_err() && backed.flow("good").is_err() && files.flow("good").is_err());
        live.finish().await.unwrap();
        backed.finish().await.unwrap();
        files.finish().await.unwrap();
    });
}
