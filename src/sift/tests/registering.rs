//! Ingestion configs, flows and runs: found, compared, created.

use std::time::Duration;

use sift_rs::ingestion_configs::v2::{FlowConfig, IngestionConfig};
use sift_rs::runs::v2::Run;
use tonic::Status;

use super::support::{Fake, KEY, channel, config, flow, open_with, options, run};
use crate::sift::{Difference, Fault, RegisterError, add_flows, register};

fn existing(client_key: &str, asset: &str) -> IngestionConfig {
    IngestionConfig {
        ingestion_config_id: format!("id of {client_key}"),
        asset_id: format!("asset:{asset}"),
        client_key: client_key.to_owned(),
    }
}

fn count(fake: &Fake, call: &str) -> usize {
    fake.state().calls.iter().filter(|made| **made == call).count()
}

#[tokio::test]
async fn registering_twice_creates_once() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let config = config(&["a", "b"]);
    let run = run(Some("drive-1"));
    let first = register(&connection, &config, Some(&run)).await.unwrap();
    assert!(first.config_created && first.run_created);
    let second = register(&connection, &config, Some(&run)).await.unwrap();
    assert!(!second.config_created && !second.run_created);
    assert_eq!(second.ingestion_config_id, first.ingestion_config_id);
    assert_eq!(second.asset_id, "asset:rover");
    assert_eq!(second.run_id, first.run_id);
    assert_eq!(second.run_id.as_deref(), Some("run-0"));
    for created in ["CreateIngestionConfig", "CreateRun"] {
        assert_eq!(count(&fake, created), 1, "{created}");
    }
    assert_eq!(count(&fake, "CreateIngestionConfigFlows"), 0);
    let authorization = fake.state().metadata.get("authorization").cloned();
    assert_eq!(authorization.unwrap(), &format!("Bearer {KEY}"));
}

#[tokio::test]
async fn without_a_recorded_run_none_is_made() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let registration = register(&connection, &config(&["a"]), None).await.unwrap();
    assert_eq!(registration.run_id, None);
    assert_eq!(count(&fake, "ListRuns"), 0);
}

#[tokio::test]
async fn missing_flows_are_added_and_only_those_whatever_the_pages() {
    let fake = Fake::default();
    {
        let mut state = fake.state();
        state.configs.push(existing("rover-v1", "rover"));
        state.flows = (0..10).map(|number| flow(&format!("f{number}"))).collect();
        state.page = 3;
    }
    let connection = fake.connect().await;
    let config = config(&["f9", "new-1", "f0", "new-2"]);
    let registration = register(&connection, &config, None).await.unwrap();
    assert_eq!(registration.ingestion_config_id, "id of rover-v1");
    assert_eq!(count(&fake, "ListIngestionConfigFlows"), 4);
    assert_eq!(count(&fake, "CreateIngestionConfigFlows"), 1);
    let names: Vec<_> = fake.state().flows[10..].iter().map(|flow| flow.name.clone()).collect();
    assert_eq!(names, ["new-1", "new-2"]);
}

#[tokio::test]
async fn losing_a_race_to_create_is_no_error() {
    let fake = Fake::default();
    {
        let mut state = fake.state();
        state.configs.push(existing("rover-v1", "rover"));
        state.flows.push(flow("a"));
        state.hidden_configs = 3;
        state.hidden_flows = 1;
    }
    let connection = fake.connect().await;
    let config = config(&["a", "b"]);
    let registration = register(&connection, &config, None).await.unwrap();
    assert!(!registration.config_created);
    assert_eq!(registration.ingestion_config_id, "id of rover-v1");
    // Both flows were tried, one was there already, so the other alone was added.
    assert_eq!(count(&fake, "CreateIngestionConfigFlows"), 2);
    assert_eq!(fake.state().flows.len(), 2);
}

#[tokio::test]
async fn losing_the_race_for_a_run_is_no_error() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let config = config(&["a"]);
    register(&connection, &config, None).await.unwrap();
    {
        let mut state = fake.state();
        state.runs.push(Run { run_id: "theirs".into(), client_key: Some("drive-1".into()), ..Run::default() });
        state.hidden_runs = 3;
    }
    let registration = register(&connection, &config, Some(&run(Some("drive-1")))).await.unwrap();
    assert_eq!(registration.run_id.as_deref(), Some("theirs"));
    assert!(!registration.run_created);
}

#[tokio::test]
async fn what_exists_unseen_is_an_error_that_says_so() {
    let fake = Fake::default();
    fake.state().configs.push(existing("rover-v1", "rover"));
    fake.state().hidden_configs = usize::MAX;
    let connection = fake.connect().await;
    let error = register(&connection, &config(&[]), None).await.unwrap_err();
    assert!(error.to_string().contains("archived"), "{error}");
    assert_eq!(error.fault(), Fault::Data);

    let fake = Fake::default();
    fake.state().flows.push(flow("a"));
    fake.state().hidden_flows = usize::MAX;
    let connection = fake.connect().await;
    let error = add_flows(&connection, "id", &[flow("a")]).await.unwrap_err();
    assert!(matches!(&error, RegisterError::FlowNotListed { flow } if flow == "a"), "{error:?}");
}

#[tokio::test]
async fn client_keys_with_quotes_and_backslashes_are_found() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    for key in ["a\"b", "back\\slash", "\" || true || \"", "line\nbreak\t", "größe 'x'"] {
        let mut config = config(&["a"]);
        config.client_key = key.to_owned();
        let run = run(Some(key));
        let first = register(&connection, &config, Some(&run)).await.unwrap();
        assert!(first.config_created && first.run_created, "{key:?} matched another's");
        let second = register(&connection, &config, Some(&run)).await.unwrap();
        assert!(!second.config_created && !second.run_created, "{key:?} was not found");
        assert_eq!(second.ingestion_config_id, first.ingestion_config_id);
        assert_eq!(second.run_id, first.run_id);
    }
}

#[tokio::test]
async fn another_clients_config_is_not_taken_even_if_filters_are_ignored() {
    let fake = Fake::default();
    {
        let mut state = fake.state();
        state.ignores_filters = true;
        state.configs.push(existing("someone-else", "rover"));
        state.runs.push(Run { run_id: "theirs".into(), client_key: Some("other-drive".into()), ..Run::default() });
    }
    let connection = fake.connect().await;
    let run = run(Some("drive-1"));
    let registration = register(&connection, &config(&["a"]), Some(&run)).await.unwrap();
    assert_eq!(registration.ingestion_config_id, "config-1");
    assert_eq!(registration.run_id.as_deref(), Some("run-1"));
}

#[tokio::test]
async fn another_assets_config_is_refused_by_name() {
    let fake = Fake::default();
    fake.state().configs.push(existing("rover-v1", "submarine"));
    let connection = fake.connect().await;
    let error = register(&connection, &config(&["a"]), None).await.unwrap_err();
    assert!(matches!(error, RegisterError::AssetDiffers { .. }), "{error:?}");
    for name in ["rover-v1", "submarine", "\"rover\""] {
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(count(&fake, "CreateIngestionConfigFlows"), 0);
}

#[tokio::test]
async fn an_assets_name_in_other_case_is_the_same_asset() {
    let fake = Fake::default();
    fake.state().configs.push(existing("rover-v1", "ROVER"));
    let connection = fake.connect().await;
    let registration = register(&connection, &config(&["a"]), None).await.unwrap();
    assert_eq!(registration.asset_id, "asset:ROVER");
}

#[tokio::test]
async fn a_flow_that_differs_stops_with_flow_channel_and_difference() {
    let fake = Fake::default();
    {
        let mut state = fake.state();
        state.configs.push(existing("rover-v1", "rover"));
        state.flows =
            vec![flow("a"), FlowConfig { name: "b".into(), channels: vec![channel("x", 1), channel("y", 2)] }];
    }
    let connection = fake.connect().await;
    let error = register(&connection, &config(&["new", "a", "b"]), None).await.unwrap_err();
    let RegisterError::FlowDiffers { flow: name, channel: Some(channel), difference: Difference::DataType { .. } } =
        &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((name.as_str(), channel.as_str()), ("b", "y"));
    assert_eq!(error.fault(), Fault::Data);
    assert_eq!(count(&fake, "CreateIngestionConfigFlows"), 0, "nothing is half done");

    // A second flow of that name, equal to the recorded one, is enough.
    fake.state().flows.push(flow("b"));
    register(&connection, &config(&["a", "b"]), None).await.unwrap();
}

#[tokio::test]
async fn flows_added_midway_are_added_once() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let registration = register(&connection, &config(&["a"]), None).await.unwrap();
    for _ in 0..2 {
        add_flows(&connection, &registration.ingestion_config_id, &[flow("late")]).await.unwrap();
    }
    assert_eq!(count(&fake, "CreateIngestionConfigFlows"), 1);
    assert_eq!(fake.state().flows.len(), 2);
}

#[tokio::test]
async fn a_schema_larger_than_a_request_may_be_goes_in_parts() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let mut config = config(&[]);
    // The fake, like most servers, takes no more than 4 MiB at once.
    config.flows = (0..300)
        .map(|number| {
            let mut flow = flow(&format!("f{number}"));
            flow.channels[0].description = "d".repeat(40_000);
            flow
        })
        .collect();
    let registration = register(&connection, &config, None).await.unwrap();
    assert!(registration.config_created);
    assert!(count(&fake, "CreateIngestionConfigFlows") > 1);
    assert!(fake.state().flows == config.flows);
}

#[tokio::test]
async fn what_can_not_be_registered_once_is_refused_before_any_call() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    for keyless in [run(None), run(Some(""))] {
        let error = register(&connection, &config(&["a"]), Some(&keyless)).await.unwrap_err();
        assert!(matches!(error, RegisterError::MissingRunKey { .. }), "{error:?}");
        assert!(error.to_string().contains("first drive"), "{error}");
    }
    let mut nameless = config(&["a"]);
    nameless.client_key.clear();
    let error = register(&connection, &nameless, None).await.unwrap_err();
    assert!(error.to_string().contains("client key"), "{error}");
    let mut nameless = config(&["a"]);
    nameless.asset_name.clear();
    let error = register(&connection, &nameless, None).await.unwrap_err();
    assert!(error.to_string().contains("asset name"), "{error}");
    assert!(fake.state().calls.is_empty());
}

#[tokio::test]
async fn answers_without_their_content_are_errors() {
    let fake = Fake::default();
    fake.state().answers_without_content = true;
    let connection = fake.connect().await;
    let error = register(&connection, &config(&["a"]), None).await.unwrap_err();
    assert!(matches!(error, RegisterError::MissingField { call: "CreateIngestionConfig", .. }), "{error:?}");
    fake.state().configs.push(existing("rover-v1", "rover"));
    let error = register(&connection, &config(&["a"]), None).await.unwrap_err();
    assert!(matches!(error, RegisterError::MissingField { call: "GetAsset", .. }), "{error:?}");
    fake.state().answers_without_content = false;
    fake.state().configs[0].ingestion_config_id.clear();
    let error = register(&connection, &config(&["a"]), None).await.unwrap_err();
    assert!(matches!(error, RegisterError::MissingField { call: "ListIngestionConfigs", .. }), "{error:?}");
}

#[tokio::test]
async fn pages_without_end_are_given_up() {
    let fake = Fake::default();
    fake.state().endless_pages = true;
    let connection = fake.connect().await;
    let error = add_flows(&connection, "id", &[flow("a")]).await.unwrap_err();
    assert!(matches!(error, RegisterError::TooMany { .. }), "{error:?}");
    assert_eq!(error.fault(), Fault::Destination);
}

#[tokio::test]
async fn a_call_without_answer_times_out() {
    let fake = Fake::default();
    fake.state().hangs_on = Some("ListIngestionConfigs");
    let address = fake.serve(None).await;
    let mut options = options(format!("http://{address}"));
    options.timeouts.request = Duration::from_millis(50);
    let connection = open_with(&options).await;
    let error = register(&connection, &config(&["a"]), None).await.unwrap_err();
    assert!(matches!(error, RegisterError::Timeout { .. }), "{error:?}");
    assert_eq!(error.fault(), Fault::Transient { retry_after: None });
}

#[tokio::test]
async fn a_failed_call_keeps_its_status() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    for (status, fault) in [
        (Status::unavailable("down"), Fault::Transient { retry_after: None }),
        (Status::permission_denied("no"), Fault::Destination),
        (Status::invalid_argument("bad"), Fault::Data),
    ] {
        let message = status.message().to_owned();
        fake.state().failures.push_back(status);
        let error = register(&connection, &config(&["a"]), None).await.unwrap_err();
        assert_eq!(error.fault(), fault);
        assert!(error.to_string().contains("ListIngestionConfigs"), "{error}");
        assert!(error.to_string().contains(&message), "{error}");
    }
}
