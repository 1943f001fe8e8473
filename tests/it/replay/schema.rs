//! Registering: what is there already is found and compared, and used again.

use sift_replay::record::{Channel, DataType, FlowSchema, RecorderOptions, Schema};

use super::{assert_same, counting, flight, recorded, session};
use crate::support::destination::{Rig, Told, block_on};

#[test]
fn a_second_replay_finds_the_config_and_the_run_that_the_first_made() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &flight(counting("k")), RecorderOptions::default(), 100);
    block_on(async {
        let rig = Rig::start().await;
        let first = rig.replay(&[dir.path()]).await;
        let second = rig.replay(&[dir.path()]).await;
        let registered = |told: &[Told]| match &told[0] {
            Told::Registered { config, run, config_created, run_created } => {
                (config.clone(), run.clone(), *config_created, *run_created)
            }
            other => panic!("{other:?}"),
        };
        let (config, run, config_created, run_created) = registered(&first.told);
        assert!(config_created && run_created && run.is_some());
        assert_eq!(registered(&second.told), (config, run, false, false));
        assert!(second.report.is_complete());
        let expected = recorded(&files);
        assert_same(&rig.finish_records().await, &[expected.clone(), expected].concat());
    });
}

#[test]
fn a_flow_that_differs_costs_its_session_alone_and_the_text_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let other =
        Schema::new("rover", "k").flow(FlowSchema::new("n").channel(Channel::new("n", DataType::Uint64).unit("km/h")));
    session(&dir.path().join("1"), &other, RecorderOptions::default(), 0);
    let refused = session(&dir.path().join("2"), &counting("k"), RecorderOptions::default(), 70);
    let good = session(&dir.path().join("3"), &counting("fine"), RecorderOptions::default(), 30);
    assert_eq!(recorded(&refused).len(), 70);
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        let report = &replayed.report;
        assert!(!report.is_complete() && report.stopped.is_none(), "{report:?}");
        assert_eq!((report.totals.records_refused, report.totals.records_acknowledged), (70, 30));
        let refusal = report.lines[1].refusal.as_deref().unwrap();
        for part in ["flow \"n\"", "channel \"n\"", "unit \"\" recorded, \"km/h\" there"] {
            assert!(refusal.contains(part), "{refusal}");
        }
        assert_eq!(replayed.refusals(), [refusal]);
        assert_same(&rig.finish_records().await, &recorded(&good));
    });
}
