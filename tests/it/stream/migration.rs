//! Whole programs written once, for the official crate and for this one: only the `use` lines differ. What arrives at the
//! receiver is the same: assets, configs, flows, runs, records bit for bit.
//!
//! What must differ, and how it is compared: files are PBFS there and segments here, so that what a replay of them
//! delivers is compared; that crate asks Sift for ids before it records, this one doesn't, so that it records at a server
//! that isn't there; what is misspelt is an error here and a warning in the log there; requests that name no run go into
//! the stream's here, and into none there. Records that go by
//! several gRPC streams at once may be stored in another order than they were sent in: these are sorted.

mod programs;
mod world;

use programs::{official, ours};
use world::{assert_same, world};

use crate::support::destination::{Rig, block_on};

/// Both programs, each against a receiver of its own; what they came to is the same.
macro_rules! same {
    ($program:ident, in_order: $in_order:expr) => {{
        let official = block_on(async {
            let (rig, dir) = (Rig::start().await, tempfile::tempdir().unwrap());
            official::$program(rig.uri(), dir.path().to_owned()).await.unwrap();
            world(rig, $in_order).await
        });
        let ours = block_on(async {
            let (rig, dir) = (Rig::start().await, tempfile::tempdir().unwrap());
            ours::$program(rig.uri(), dir.path().to_owned()).await.unwrap();
            world(rig, $in_order).await
        });
        assert_same(&ours, &official);
        ours
    }};
}

#[test]
fn the_quick_start_does_the_same() {
    let world = same!(quick_start, in_order: false);
    assert_eq!((world.records(), world.run_names()), (400, vec!["flight"]));
    let asset = &world.assets[0];
    assert_eq!(
        (&asset.name[..], &asset.tags[..], asset.metadata.len()),
        ("rover", &["mars".into(), "rover".into()][..], 1)
    );
    assert_eq!(world.runs[0].metadata.len(), 3);
}

#[test]
fn flows_registered_as_they_come_are_the_same() {
    let world = same!(auto_register, in_order: false);
    assert_eq!((world.records(), world.flow_names()), (300, vec!["arm", "engine", "wheels"]));
}

#[test]
fn without_files_the_same_arrives_in_the_same_runs() {
    let world = same!(live_only, in_order: false);
    assert_eq!((world.records(), world.run_names()), (500, vec!["first", "second"]));
    assert_eq!(world.sessions.iter().map(|(_, records)| records.len()).collect::<Vec<_>>(), [200, 200, 100]);
}

#[test]
fn a_full_queue_is_told_alike_and_everything_arrives() {
    let world = same!(never_waits, in_order: false);
    assert_eq!((world.records(), world.run_names()), (2000, vec!["hurry"]));
}

/// The official crate's are PBFS files with ids that it asked the server for; ours are made without a server, and brought
/// to one that has never heard of them.
#[test]
fn files_deliver_the_same_when_they_are_replayed() {
    let official = block_on(async {
        let (rig, dir) = (Rig::start().await, tempfile::tempdir().unwrap());
        official::backups_only(rig.uri(), dir.path().to_owned()).await.unwrap();
        assert_eq!(rig.replay(&[dir.path()]).await.report.totals.records_acknowledged, 400);
        world(rig, true).await
    });
    let ours = block_on(async {
        let (rig, dir) = (Rig::start().await, tempfile::tempdir().unwrap());
        ours::backups_only("http://nobody.invalid:1".to_owned(), dir.path().to_owned()).await.unwrap();
        assert_eq!(rig.replay(&[dir.path()]).await.report.totals.records_acknowledged, 400);
        world(rig, true).await
    });
    assert_same(&ours, &official);
    assert_eq!((ours.records(), ours.run_names()), (400, vec!["bench"]));
}

/// The official crate logs a warning, and sends what can't be right; it ends in an error queue of Sift's. Here it is an
/// error where it happens, and names what is wrong.
#[test]
fn what_is_misspelt_arrives_nowhere_and_is_told_here() {
    let official = block_on(async {
        let rig = Rig::start().await;
        assert_eq!(official::misspelt(rig.uri()).await.unwrap(), Vec::<String>::new());
        assert_eq!(rig.refused(), 3);
        world(rig, true).await
    });
    let ours = block_on(async {
        let rig = Rig::start().await;
        let told = ours::misspelt(rig.uri()).await.unwrap();
        assert_eq!(
            told,
            [
                "flow \"arm\" has no channel \"angel\"; it has angle, stuck",
                "channel \"angle\" of flow \"arm\" takes double, and a string was given",
                "unknown flow \"leg\": add it to the schema, or while recording with `add_flow` (a stream's: `add_new_flows`)",
            ]
        );
        assert_eq!(rig.refused(), 0);
        world(rig, true).await
    });
    assert_same(&ours, &official);
    assert_eq!(ours.records(), 1);
}

#[test]
fn requests_that_name_no_run_go_into_the_streams() {
    let run_of = |world: &world::World| {
        assert_eq!((world.records(), world.sessions.len()), (10, 1));
        world.sessions[0].0.2.clone().map(|run| run.name)
    };
    let official = block_on(async {
        let rig = Rig::start().await;
        official::ready_made(rig.uri()).await.unwrap();
        world(rig, true).await
    });
    let ours = block_on(async {
        let rig = Rig::start().await;
        ours::ready_made(rig.uri()).await.unwrap();
        world(rig, true).await
    });
    assert_eq!((run_of(&ours), run_of(&official)), (Some("flight".to_owned()), None));
}
