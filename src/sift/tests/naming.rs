//! Which organization it is, runs by name, and other assets.

use std::time::Duration;

use sift_rs::runs::v2::Run;
use tonic::{Code, Status};

use super::support::{Fake, config, open_with, options, run};
use crate::sift::{Fault, RegisterError, as_asset, find_or_create_run_named, register};

async fn organization(
    me: Result<Vec<&'static str>, Status>,
    assets: Result<Vec<&'static str>, Status>,
) -> Result<Option<String>, RegisterError> {
    let fake = Fake::default();
    (fake.state().me, fake.state().assets) = (me, assets);
    fake.connect().await.organization().await
}

#[tokio::test]
async fn the_organization_is_what_the_credentials_belong_to() {
    let no_assets = || Err(Status::unavailable("not to be asked"));
    assert_eq!(organization(Ok(vec!["mine"]), no_assets()).await.unwrap().as_deref(), Some("mine"));
    let untold = [
        Ok(vec![]),
        Ok(vec!["a", "b"]),
        Ok(vec![""]),
        Err(Status::unimplemented("no")),
        Err(Status::permission_denied("no")),
        Err(Status::not_found("no")),
    ];
    for me in untold {
        assert_eq!(organization(me.clone(), Ok(vec!["theirs", "x"])).await.unwrap().as_deref(), Some("theirs"));
        for assets in [Ok(vec![]), Ok(vec![""]), Err(Status::unimplemented("no")), Err(Status::permission_denied("no"))]
        {
            assert_eq!(organization(me.clone(), assets).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn a_hiccup_is_never_taken_for_no_organization() {
    for code in
        [Code::Unavailable, Code::Unknown, Code::Internal, Code::DeadlineExceeded, Code::Aborted, Code::Cancelled]
    {
        let hiccup = || Err(Status::new(code, "hiccup"));
        for answer in [organization(hiccup(), Ok(vec!["x"])).await, organization(Ok(vec![]), hiccup()).await] {
            let error = answer.unwrap_err();
            assert_eq!(error.fault(), Fault::Transient { retry_after: None }, "{code:?}: {error}");
        }
    }
    let error = organization(Err(Status::unauthenticated("who?")), Ok(vec!["x"])).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Destination);

    for hangs_on in ["GetMe", "ListAssets"] {
        let fake = Fake::default();
        fake.state().hangs_on = Some(hangs_on);
        let mut options = options(format!("http://{}", fake.serve(None).await));
        options.timeouts.request = Duration::from_millis(50);
        let error = open_with(&options).await.organization().await.unwrap_err();
        assert!(matches!(error, RegisterError::Timeout { call, .. } if call == hangs_on), "{error:?}");
    }
}

fn named(run_id: &str, name: &str) -> Run {
    Run { run_id: run_id.into(), name: name.into(), ..Run::default() }
}

#[tokio::test]
async fn a_run_is_found_by_its_exact_name_or_created_once() {
    let fake = Fake::default();
    fake.state().runs = vec![named("other", "flight 1"), named("theirs", "flight 12")];
    let connection = fake.connect().await;
    let theirs = ("theirs".to_owned(), false);
    assert_eq!(find_or_create_run_named(&connection, "flight 12").await.unwrap(), theirs);
    for name in ["new", "a\"b\\", "\" || true || \"", "line\nbreak", "größe 'x'"] {
        let (id, created) = find_or_create_run_named(&connection, name).await.unwrap();
        assert!(created, "{name:?} matched another's");
        assert_eq!(find_or_create_run_named(&connection, name).await.unwrap(), (id, false), "{name:?} was not found");
        let made = fake.state().runs.last().cloned().unwrap();
        assert_eq!((made.name.as_str(), made.client_key.as_deref()), (name, Some(name)));
    }
    // A server that ignores filters doesn't get data into another's run.
    fake.state().ignores_filters = true;
    assert_eq!(find_or_create_run_named(&connection, "flight 12").await.unwrap(), theirs);
    assert!(find_or_create_run_named(&connection, "flight").await.unwrap().1);
}

#[tokio::test]
async fn losing_the_race_for_a_named_run_is_no_error() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let (id, _) = find_or_create_run_named(&connection, "flight").await.unwrap();
    fake.state().hidden_runs = 3;
    assert_eq!(find_or_create_run_named(&connection, "flight").await.unwrap(), (id, false));
    assert_eq!(fake.state().runs.len(), 1);
}

#[tokio::test]
async fn several_runs_of_a_name_are_told_with_their_ids() {
    let fake = Fake::default();
    fake.state().runs = vec![named("id-1", "flight"), named("id-2", "flight"), named("id-2", "flight")];
    let connection = fake.connect().await;
    let error = find_or_create_run_named(&connection, "flight").await.unwrap_err();
    assert_eq!(error.fault(), Fault::Destination);
    for part in ["\"flight\"", "id-1, id-2.", "Rename"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    // An archived one doesn't stand in the way, and the same run shown twice is one run.
    fake.state().runs[0].is_archived = true;
    assert_eq!(find_or_create_run_named(&connection, "flight").await.unwrap().0, "id-2");
    // Where there is no other, it is the one.
    fake.state().runs.truncate(1);
    assert_eq!(find_or_create_run_named(&connection, "flight").await.unwrap(), ("id-1".to_owned(), false));
}

#[tokio::test]
async fn a_run_that_was_renamed_is_neither_taken_nor_made_twice() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    find_or_create_run_named(&connection, "flight").await.unwrap();
    fake.state().runs[0].name = "flight, good one".to_owned();
    let error = find_or_create_run_named(&connection, "flight").await.unwrap_err();
    assert!(matches!(error, RegisterError::RunRenamed { .. }), "{error:?}");
    assert!(error.to_string().contains("\"flight, good one\""), "{error}");
    assert_eq!(fake.state().runs.len(), 1);
    let error = find_or_create_run_named(&connection, "").await.unwrap_err();
    assert!(matches!(error, RegisterError::MissingRunName), "{error:?}");
}

#[tokio::test]
async fn another_asset_gets_a_config_of_its_own_with_the_same_flows() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let recorded = config(&["a", "b"]);
    let other = as_asset(&recorded, "rover-2");
    assert_eq!((other.asset_name.as_str(), other.client_key.as_str()), ("rover-2", "rover-v1@rover-2"));
    assert_eq!(other.flows, recorded.flows);
    let first = register(&connection, &recorded, None).await.unwrap();
    let second = register(&connection, &other, Some(&run(Some("k")))).await.unwrap();
    assert_ne!(first.ingestion_config_id, second.ingestion_config_id);
    assert_eq!(second.asset_id, "asset:rover-2");

    // What has no key doesn't get one by this: two recordings would share it.
    let mut keyless = recorded;
    keyless.client_key.clear();
    let error = register(&connection, &as_asset(&keyless, "rover-2"), None).await.unwrap_err();
    assert!(matches!(error, RegisterError::MissingIdentity { .. }), "{error:?}");
}
