//! Flows registered as they come, with a link, without one, and when one comes back.

use sift_replay::stream::{
    AutoRegisterSendError, AutoRegisterStream, ChannelConfig, ChannelDataType, ChannelValue, DiskBackupPolicy,
    FinishError, Finished, Flow, FlowConfig, FlowDescriptor, RunSelector, SiftStreamAutoRegister, SiftStreamSendError,
    StreamError, TimeValue,
};
use sift_rs::runs::v2::Run;

use super::support::{live_only, message, to, with_backups};
use crate::support::destination::{Rig, block_on};
use crate::support::faulty::Faulty;

fn wheels(values: &[ChannelValue]) -> Flow {
    Flow::new("wheels", TimeValue::from_timestamp_nanos(1_700_000_000_000_000_000), values)
}

fn staged() -> FlowConfig {
    let channel = |name: &str, data_type: ChannelDataType| {
        let (name, unit) = (name.to_owned(), "m/s".to_owned());
        ChannelConfig { name, unit, data_type: data_type.into(), ..Default::default() }
    };
    let channels = vec![channel("left", ChannelDataType::Double), channel("right", ChannelDataType::Double)];
    FlowConfig { name: "wheels".to_owned(), channels }
}

/// Another flow, without config.
fn engine(rpm: u32) -> Flow {
    let time = TimeValue::from_timestamp_nanos(1_700_000_000_000_000_000 + i64::from(rpm));
    Flow::new("engine", time, &[ChannelValue::new("rpm", rpm), ChannelValue::new("state", "on")])
}

#[test]
fn files_recorded_without_a_server_register_their_flows_when_they_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = block_on(async {
        let policy = DiskBackupPolicy { backups_dir: Some(dir.path().to_owned()), ..DiskBackupPolicy::default() };
        let stream = to("http://nobody.invalid:1").file_backup().disk_backup_policy(policy).build().await.unwrap();
        let mut stream = SiftStreamAutoRegister::new(stream, vec![staged()]);
        for rpm in 0..50 {
            stream.send(engine(rpm)).await.unwrap();
            stream.send(wheels(&[ChannelValue::new("right", f64::from(rpm))])).await.unwrap();
        }
        assert_eq!(stream.get_metrics_snapshot().messages_received, 100);
        assert_eq!(stream.finish().await.unwrap().on_disk, 100);
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        assert_eq!(replayed.report.totals.records_acknowledged, 100);
        rig.finish().await
    });
    let mut flows: Vec<_> = sessions[0].config.flows.clone();
    flows.retain(|flow| flow.name != super::support::FLOW);
    flows.sort_by(|a, b| b.name.cmp(&a.name));
    assert_eq!(flows[0], staged(), "units, and the channel that was left out");
    let derived: Vec<_> = flows[1].channels.iter().map(|channel| (&channel.name[..], channel.data_type())).collect();
    assert_eq!(derived, [("rpm", ChannelDataType::Uint32), ("state", ChannelDataType::String)]);
    assert_eq!(sessions[0].records.len(), 100);
}

#[test]
fn a_flow_that_appears_while_the_link_is_down_arrives_when_it_is_back() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.kill();
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        let mut stream = SiftStreamAutoRegister::new(stream, vec![]);
        for rpm in 0..50 {
            stream.send(engine(rpm)).await.unwrap();
        }
        assert_eq!(stream.get_flow_descriptor("engine").unwrap().mapping().len(), 2);
        server.server().revive();
        for rpm in 50..100 {
            stream.send(engine(rpm)).await.unwrap();
        }
        // The link is known to be back.
        server.wait(|seen| !seen.records.is_empty());
        let stream = stream.into_inner();
        stream.send(engine(100)).await.unwrap();
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (101, 101), "{finished}");
    });
    let seen = server.seen();
    let arrived = seen.records.iter().filter(|(id, copies)| id.flow == "engine" && copies.acknowledged > 0).count();
    assert_eq!(arrived, 101);
}

#[test]
fn what_can_not_be_registered_is_not_sent_and_the_stream_goes_on() {
    let server = Faulty::start();
    block_on(async {
        let stream = live_only(&server.uri()).build().await.unwrap();
        let mut stream = SiftStreamAutoRegister::new(stream, vec![staged()]);
        let wrong = wheels(&[ChannelValue::new("left", true), ChannelValue::new("middle", 1.5)]);
        let error = stream.send(wrong).await.unwrap_err();
        assert!(matches!(&error, AutoRegisterSendError::StagedConfigMismatch(why) if why.contains("\"middle\"")));
        let untyped = Flow { flow_name: "odd".to_owned(), ..wheels(&[ChannelValue::new("x", ())]) };
        let error = stream.send(untyped).await.unwrap_err();
        assert!(matches!(&error, AutoRegisterSendError::RegistrationFailed(StreamError::Derive(_))), "{error}");
        assert!(stream.get_flow_descriptor("wheels").is_err() && stream.get_flow_descriptor("odd").is_err());
        // What was staged is still there.
        stream.send(wheels(&[])).await.unwrap();
        let error = stream.send(wheels(&[ChannelValue::new("middle", 1.5)])).await.unwrap_err();
        assert!(matches!(error, AutoRegisterSendError::StreamError(SiftStreamSendError::EncodeError(_))));
        stream.send(message(0)).await.unwrap();
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (2, 2));
    });
}

#[test]
fn without_files_a_flow_that_nobody_can_be_told_of_is_an_error() {
    let server = Faulty::start();
    block_on(async {
        let stream = live_only(&server.uri()).build().await.unwrap();
        let mut stream = SiftStreamAutoRegister::new(stream, vec![]);
        server.kill();
        let error = stream.send(engine(1)).await.unwrap_err();
        assert!(matches!(error, AutoRegisterSendError::RegistrationFailed(StreamError::Register(_))), "{error}");
        assert!(stream.get_flow_descriptor("engine").is_err());
        server.server().revive();
        stream.send(engine(1)).await.unwrap();
        assert_eq!(stream.finish().await.unwrap().acknowledged, 1);
    });
}

/// As programs write it that are tested without a stream.
#[derive(Default)]
struct Notebook(Vec<Flow>);

impl AutoRegisterStream for Notebook {
    type SendError = std::io::Error;

    async fn send(&mut self, flow: Flow) -> Result<(), Self::SendError> {
        self.0.push(flow);
        Ok(())
    }

    async fn finish(self) -> Result<Finished, FinishError> {
        Ok(Finished { requests: self.0.len() as u64, ..Finished::default() })
    }

    fn get_flow_descriptor(&self, flow_name: &str) -> Result<FlowDescriptor<String>, StreamError> {
        Err(StreamError::Closed(flow_name.to_owned()))
    }

    async fn attach_run(&mut self, _: RunSelector) -> Result<(), StreamError> {
        Ok(())
    }

    fn detach_run(&mut self) {}

    fn run(&self) -> Option<&Run> {
        None
    }
}

async fn drive(mut stream: impl AutoRegisterStream + Send + 'static) -> Finished {
    let driven = async move {
        stream.attach_run(RunSelector::ById("run".to_owned())).await.unwrap();
        stream.detach_run();
        for n in 0..10 {
            stream.send(message(n)).await.unwrap();
        }
        stream.finish().await.unwrap()
    };
    tokio::spawn(driven).await.unwrap()
}

#[test]
fn programs_can_be_tested_with_a_stream_of_their_own_and_spawned() {
    let finished = block_on(drive(Notebook::default()));
    assert_eq!(finished.requests, 10);
    // A run that there isn't can be attached where nobody is asked; the stream itself is what the bound takes.
    let dir = tempfile::tempdir().unwrap();
    let finished = block_on(async {
        let policy = DiskBackupPolicy { backups_dir: Some(dir.path().to_owned()), ..DiskBackupPolicy::default() };
        let stream = to("http://nobody.invalid:1").file_backup().disk_backup_policy(policy).build().await.unwrap();
        drive(SiftStreamAutoRegister::new(stream, vec![])).await
    });
    assert_eq!((finished.requests, finished.on_disk), (10, 10));
}
