//! `sift-replay receive`: the embedded destination, run by hand.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::args::{OutputArgs, ReceiveArgs};
use super::exit::{Exit, Failure};
use super::text::{count, note, number, out, shown, shown_path};
use super::{interrupted, runtime};
use crate::catalog::{Catalog, discover};
use crate::receiver::{Event, Receiver, ReceiverOptions, RecordingStore, Registry, organization_of, restore};
use crate::record::RecorderOptions;
use crate::segment::Disk;

pub(super) fn run(args: &ReceiveArgs, output: &OutputArgs) -> Result<Exit, Failure> {
    std::fs::create_dir_all(&args.into)
        .map_err(|error| Failure::fatal(format!("can't create {}: {error}", args.into.display())))?;
    let organization = organization_of(&Disk, &args.into).map_err(Failure::fatal)?;
    let registry = Arc::new(Registry::new().with_organization(organization));
    let known = restore_from(&args.into, &registry)?;
    let store = Arc::new(RecordingStore::new(&args.into, RecorderOptions::default()));
    let options = ReceiverOptions { listen: args.listen, api_key: api_key(args)?, ..ReceiverOptions::default() };
    let (json, quiet) = (output.json, output.quiet);
    let observer = move |event: &Event| {
        if json {
            out(event_json(event));
        } else if !quiet {
            out(event_text(event));
        }
    };
    runtime()?.block_on(async {
        let receiver =
            Receiver::start(options, registry, store.clone(), Arc::new(observer)).await.map_err(Failure::fatal)?;
        let address = receiver.local_addr();
        note(format!("listening on http://{address}, recording into {}; Ctrl-C ends", shown_path(&args.into)));
        if known > 0 {
            note(format!("{} known from what was recorded there before", count(known, "session is", "sessions are")));
        }
        if !address.ip().is_loopback() {
            note("warning: other computers can connect, and nothing is encrypted");
        }
        if json {
            out(json!({"event": "listening", "address": address.to_string()}));
        }
        interrupted().await;
        let counts = receiver.shutdown().await.map_err(Failure::fatal)?;
        store.finish().map_err(Failure::fatal)?;
        if json {
            out(json!({
                "event": "summary", "requests_accepted": counts.requests_accepted,
                "requests_refused": counts.requests_refused, "streams_acknowledged": counts.streams_acknowledged,
                "streams_refused": counts.streams_refused,
            }));
        } else {
            out(format!(
                "sealed: {} accepted, {} refused, {} acknowledged",
                count(counts.requests_accepted, "request", "requests"),
                number(counts.requests_refused),
                count(counts.streams_acknowledged, "stream", "streams")
            ));
        }
        Ok(Exit::Complete)
    })
}

/// Clients go on where they were: what was recorded names its configs and runs.
fn restore_from(dir: &Path, registry: &Registry) -> Result<u64, Failure> {
    let catalog = Catalog::build(discover(&[dir.to_owned()]).map_err(Failure::fatal)?);
    let restored = restore(registry, &catalog);
    for (session, error) in &restored.refused {
        note(format!("warning: session {session} is passed over, its clients must register anew: {error}"));
    }
    Ok(restored.sessions)
}

fn api_key(args: &ReceiveArgs) -> Result<Option<String>, Failure> {
    let Some(path) = &args.api_key_file else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::Usage, format!("can't read the API key from {}: {error}", path.display()))
    })?;
    match text.trim() {
        "" => Err(Failure::new(Exit::Usage, format!("{} holds no API key", path.display()))),
        key => Ok(Some(key.to_owned())),
    }
}

fn event_text(event: &Event) -> String {
    match event {
        Event::ConfigCreated { asset, client_key, flows, .. } => {
            let flows = count(*flows as u64, "flow", "flows");
            format!("ingestion config {:?} of asset {:?} created, {flows}", shown(client_key), shown(asset))
        }
        Event::FlowsAdded { flows, .. } => format!("flows added: {}", shown(flows.join(", "))),
        Event::RunCreated { name, .. } => format!("run {:?} created", shown(name)),
        Event::StreamOpened { stream, peer } => {
            format!("stream {stream} opened{}", peer.map(|peer| format!(" by {peer}")).unwrap_or_default())
        }
        Event::RequestRefused { stream, index, reason } => {
            format!("stream {stream}: request {index} refused: {}", shown(reason))
        }
        Event::StreamAcknowledged { stream, accepted, refused } => {
            let accepted = count(*accepted, "request", "requests");
            format!("stream {stream} acknowledged: {accepted}, {} refused", number(*refused))
        }
        Event::StreamRefused { stream, accepted, reason } => {
            format!("stream {stream} refused after {}: {}", count(*accepted, "request", "requests"), shown(reason))
        }
        Event::StreamBroken { stream, accepted } => {
            format!("stream {stream} broke off after {}", count(*accepted, "request", "requests"))
        }
    }
}

fn event_json(event: &Event) -> serde_json::Value {
    match event {
        Event::ConfigCreated { ingestion_config_id, asset, client_key, flows } => json!({
            "event": "config_created", "ingestion_config_id": ingestion_config_id, "asset": asset,
            "client_key": client_key, "flows": flows,
        }),
        Event::FlowsAdded { ingestion_config_id, flows } => {
            json!({"event": "flows_added", "ingestion_config_id": ingestion_config_id, "flows": flows})
        }
        Event::RunCreated { run_id, name } => json!({"event": "run_created", "run_id": run_id, "name": name}),
        Event::StreamOpened { stream, peer } => {
            json!({"event": "stream_opened", "stream": stream, "peer": peer.map(|peer| peer.to_string())})
        }
        Event::RequestRefused { stream, index, reason } => {
            json!({"event": "request_refused", "stream": stream, "index": index, "reason": reason})
        }
        Event::StreamAcknowledged { stream, accepted, refused } => {
            json!({"event": "stream_acknowledged", "stream": stream, "accepted": accepted, "refused": refused})
        }
        Event::StreamRefused { stream, accepted, reason } => {
            json!({"event": "stream_refused", "stream": stream, "accepted": accepted, "reason": reason})
        }
        Event::StreamBroken { stream, accepted } => {
            json!({"event": "stream_broken", "stream": stream, "accepted": accepted})
        }
    }
}
