//! Runs as a live stream wants them: found or created, and brought up to date.

use sift_rs::metadata::v1::metadata_value::Value;
use sift_rs::metadata::v1::{MetadataKeyType, MetadataValue};
use sift_rs::runs::v2::{Run, UpdateRunRequest};
use tonic::Status;

use super::real::{Real, tags, text};
use super::support::{Fake, open};
use crate::sift::{Fault, RegisterError, RunRequest, find_or_create_run_named, get_run, load_run};

fn wanted() -> RunRequest {
    RunRequest {
        name: "flight 7".to_owned(),
        client_key: "flight-7".to_owned(),
        description: Some("over the sea".to_owned()),
        tags: Some(tags(&["red", "sea"])),
        metadata: Some(vec![text("pilot", "none")]),
    }
}

/// Only what can't be left out.
fn bare() -> RunRequest {
    RunRequest { name: "flight 7".to_owned(), client_key: "flight-7".to_owned(), ..RunRequest::default() }
}

#[tokio::test]
async fn a_run_is_created_as_asked_for_and_found_again_untouched() {
    let real = Real::start().await;
    let connection = open(real.address()).await;
    let (run, created) = load_run(&connection, &wanted()).await.unwrap();
    assert!(created);
    assert_eq!((run.name.as_str(), run.client_key.as_deref()), ("flight 7", Some("flight-7")));
    assert_eq!((run.description.as_str(), &run.tags), ("over the sea", &tags(&["red", "sea"])));
    assert_eq!(run.metadata, [text("pilot", "none")]);
    let reordered = RunRequest { tags: Some(tags(&["sea", "red"])), ..wanted() };
    for same in [wanted(), reordered, bare()] {
        let (again, created) = load_run(&connection, &same).await.unwrap();
        assert!(!created);
        // Also its time of modification: nothing was updated.
        assert_eq!(again, run);
    }
    assert_eq!(get_run(&connection, &run.run_id).await.unwrap(), run);
}

#[tokio::test]
async fn what_is_given_and_differs_is_set_and_the_rest_left_alone() {
    let real = Real::start().await;
    let connection = open(real.address()).await;
    let (mut expected, _) = load_run(&connection, &wanted()).await.unwrap();
    // Something that no request speaks of.
    let pinned = Run { is_pinned: true, ..expected.clone() };
    let mut request = UpdateRunRequest { run: Some(pinned), ..UpdateRunRequest::default() };
    request.update_mask.get_or_insert_default().paths = vec!["is_pinned".to_owned()];
    real.runs().update_run(request).await.unwrap();
    expected.is_pinned = true;

    type Change = fn(&mut Run);
    let updates: [(RunRequest, Change); 7] = [
        (RunRequest { name: "flight 7b".to_owned(), ..bare() }, |run| run.name = "flight 7b".to_owned()),
        (RunRequest { description: Some("over land".to_owned()), ..bare() }, |run| {
            (run.name, run.description) = ("flight 7".to_owned(), "over land".to_owned());
        }),
        (RunRequest { tags: Some(tags(&["red"])), ..bare() }, |run| run.tags = tags(&["red"])),
        (RunRequest { metadata: Some(vec![text("pilot", "Ada"), text("seat", "1")]), ..bare() }, |run| {
            run.metadata = vec![text("pilot", "Ada"), text("seat", "1")];
        }),
        (RunRequest { tags: Some(vec![]), ..bare() }, |run| run.tags.clear()),
        (RunRequest { metadata: Some(vec![]), description: Some(String::new()), ..bare() }, |run| {
            run.metadata.clear();
            run.description.clear();
        }),
        (wanted(), |run| {
            run.description = "over the sea".to_owned();
            (run.tags, run.metadata) = (tags(&["red", "sea"]), vec![text("pilot", "none")]);
        }),
    ];
    for (request, change) in updates {
        let (updated, created) = load_run(&connection, &request).await.unwrap();
        assert!(!created);
        change(&mut expected);
        expected.modified_date = updated.modified_date;
        assert_eq!(updated, expected);
        assert_eq!(get_run(&connection, &updated.run_id).await.unwrap(), expected);
    }
    assert_eq!(real.list_runs().await.len(), 1);
}

#[tokio::test]
async fn an_update_names_what_differs_and_nothing_else() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    load_run(&connection, &wanted()).await.unwrap();
    // What the destination adds to metadata is no difference.
    fake.state().runs[0].metadata[0].key.as_mut().unwrap().r#type = MetadataKeyType::String.into();
    load_run(&connection, &wanted()).await.unwrap();
    assert!(fake.state().masks.is_empty());
    let number = MetadataValue { value: Some(Value::NumberValue(1.0)), ..text("pilot", "") };
    for (request, mask) in [
        (RunRequest { name: "x".to_owned(), ..wanted() }, &["name"][..]),
        (RunRequest { description: Some("x".to_owned()), ..wanted() }, &["description"]),
        (RunRequest { tags: Some(tags(&["red"])), ..wanted() }, &["tags"]),
        (RunRequest { metadata: Some(vec![number]), ..wanted() }, &["metadata"]),
        (
            RunRequest {
                name: "x".to_owned(),
                description: Some(String::new()),
                tags: Some(vec![]),
                metadata: Some(vec![]),
                ..wanted()
            },
            &["name", "description", "tags", "metadata"],
        ),
    ] {
        load_run(&connection, &request).await.unwrap();
        assert_eq!(fake.state().masks.pop().unwrap(), mask);
    }
}

#[tokio::test]
async fn losing_the_race_to_create_a_run_brings_the_others_up_to_date() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    load_run(&connection, &bare()).await.unwrap();
    fake.state().hidden_runs = 3;
    let (run, created) = load_run(&connection, &wanted()).await.unwrap();
    assert!(!created);
    assert_eq!((run.run_id.as_str(), run.description.as_str()), ("run-0", "over the sea"));
    assert_eq!(fake.state().runs.len(), 1);
    assert_eq!(fake.state().masks, [["description", "tags", "metadata"]]);

    fake.state().hidden_runs = usize::MAX;
    let error = load_run(&connection, &wanted()).await.unwrap_err();
    assert!(matches!(error, RegisterError::NotListed { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_want_a_run_at_once_get_the_same_one() {
    let real = Real::start().await;
    let mut loads = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let connection = open(real.address()).await;
        loads.spawn(async move { load_run(&connection, &wanted()).await.unwrap() });
    }
    let runs = loads.join_all().await;
    assert_eq!(runs.iter().filter(|(_, created)| *created).count(), 1);
    assert!(runs.iter().all(|(run, _)| *run == runs[0].0));
    assert_eq!(real.list_runs().await.len(), 1);
}

#[tokio::test]
async fn a_request_without_name_or_key_is_refused_before_anything_is_sent() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let error = load_run(&connection, &RunRequest { name: String::new(), ..wanted() }).await.unwrap_err();
    assert!(matches!(error, RegisterError::MissingRunName), "{error:?}");
    let error = load_run(&connection, &RunRequest { client_key: String::new(), ..wanted() }).await.unwrap_err();
    assert!(matches!(&error, RegisterError::MissingRunKey { name } if name == "flight 7"), "{error:?}");
    assert!(fake.state().calls.is_empty());
}

#[tokio::test]
async fn an_id_that_no_run_has_is_told() {
    let real = Real::start().await;
    let connection = open(real.address()).await;
    for id in ["no-such-run", "00000000-0000-0000-0000-000000000000", "", "a\"b\n"] {
        let error = get_run(&connection, id).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("no run has the id {id:?}: ")), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        assert_eq!(error.fault(), Fault::Data);
    }

    let fake = Fake::default();
    let connection = fake.connect().await;
    // Another's run is not taken for it, nor a hiccup for its absence.
    find_or_create_run_named(&connection, "another").await.unwrap();
    assert_eq!(get_run(&connection, "run-0").await.unwrap().name, "another");
    let error = get_run(&connection, "run-1").await.unwrap_err();
    assert!(matches!(error, RegisterError::MissingField { call: "GetRun", .. }), "{error:?}");
    for (status, fault) in [
        (Status::invalid_argument("not a UUID"), Fault::Data),
        (Status::unavailable("down"), Fault::Transient { retry_after: None }),
        (Status::unauthenticated("who?"), Fault::Destination),
    ] {
        fake.state().failures.push_back(status);
        assert_eq!(get_run(&connection, "run-0").await.unwrap_err().fault(), fault);
    }
}

#[tokio::test]
async fn an_update_that_fails_or_says_nothing_is_no_success() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    load_run(&connection, &bare()).await.unwrap();
    fake.state().answers_without_content = true;
    let error = load_run(&connection, &wanted()).await.unwrap_err();
    assert!(matches!(error, RegisterError::MissingField { call: "UpdateRun", .. }), "{error:?}");
    fake.state().hangs_on = Some("UpdateRun");
    let mut options = super::support::options(format!("http://{}", fake.serve(None).await));
    options.timeouts.request = std::time::Duration::from_millis(50);
    let error = load_run(&super::support::open_with(&options).await, &wanted()).await.unwrap_err();
    assert!(matches!(error, RegisterError::Timeout { call: "UpdateRun", .. }) && error.is_transient(), "{error:?}");
}
