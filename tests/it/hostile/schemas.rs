//! Schemas larger than anybody's, and names that want to be something else.

use std::path::Path;

use super::make::{Made, channel, config, flow};
use super::place::{Destination, Place};
use crate::support::backup::put_chunk;
use crate::support::format::{Pb, Rec, V};

/// Channels of a flow, values of an enum.
const LARGE: u64 = 100_000;

fn deliver(config: &[u8], flow_name: &'static str, values: Vec<V>) -> super::place::Said {
    let mut made = Made::new(1, 0);
    made.header(config);
    made.frame(super::make::data_spec(0, &[Rec::new(flow_name, super::make::SECOND, 0, values)]));
    let place = Place::with(&made.open_name(), &made.bytes);
    place.run_few()
}

#[test]
fn a_flow_of_100_000_channels_is_delivered() {
    let channels: Vec<_> = (0..LARGE).map(|number| channel(&format!("channel {number}"))).collect();
    let said = deliver(&config("rover", [&flow("f", &channels)]), "f", vec![V::U64(1); LARGE as usize]);
    said.says("ls", 0, &["rover"]).says("replay", 0, &["COMPLETE"]);
}

#[test]
fn very_many_flows_are_registered() {
    let count = 3 * super::many();
    let flows: Vec<_> = (0..count).map(|number| flow(&format!("flow {number}"), [&channel("c")])).collect();
    let said = deliver(&config("rover", &flows), "flow 777", vec![V::U64(1)]);
    said.says("ls", 0, &["rover"]).says("replay", 0, &["COMPLETE"]);
}

#[test]
fn an_enum_of_100_000_values_is_registered_or_refused_by_name() {
    let values: Pb = (0..LARGE).fold(Pb::default().bytes(1, b"c").varint(4, 3), |pb, key| {
        pb.always_bytes(5, &Pb::default().bytes(1, format!("v{key}").as_bytes()).varint(2, key).0)
    });
    let said = deliver(&config("rover", [&flow("f", [&values.0])]), "f", vec![V::Enum(99_999)]);
    said.says("replay", 0, &["COMPLETE"]);
}

/// Names with all that a path, a terminal or a string in C would obey.
fn names() -> Vec<String> {
    let long = "long/".repeat(200_000);
    [
        "../../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a\0b",
        "two\nlines",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{9b}31mred",
        "txt.\u{202e}rfs",
        "\u{2028}",
        "\r",
        "CON",
        "no-run",
        "C:\\Windows",
        "~/.bashrc",
        "$(reboot) `reboot`",
        "%s%n",
        "-rf",
        &long,
    ]
    .map(str::to_owned)
    .into()
}

/// [F-28]
#[test]
fn whatever_an_asset_a_run_or_a_flow_is_called_it_stays_where_it_belongs() {
    let place = Place::new();
    for (session, name) in names().into_iter().enumerate() {
        let mut made = Made::new(session as u32, 0);
        let run = Pb::default().bytes(1, name.as_bytes()).always_bytes(8, name.as_bytes());
        let message = made.header_message(&config(&name, [&flow(&name, [&channel(&name)])]));
        let message = Pb(message).always_bytes(11, &run.0).0;
        made.frame(crate::support::format::FrameSpec::new(1, 0, message));
        // One that the schema has, and one that it hasn't: it becomes a dead letter.
        for (seq, flow) in [name.clone(), format!("{name}?")].into_iter().enumerate() {
            let value = Pb::default().always_varint(8, 7);
            let time = Pb::default().varint(1, super::make::SECOND as u64);
            let request = Pb::default().bytes(2, flow.as_bytes()).always_bytes(3, &time.0).always_bytes(4, &value.0).0;
            let payload = [&(request.len() as u32).to_le_bytes()[..], &request].concat();
            let mut spec = crate::support::format::FrameSpec::new(2, seq as u64, payload);
            (spec.count, spec.flags) = (1, 1);
            made.frame(spec);
        }
        place.put(made.open_name(), &made.bytes);
    }
    let said = place.run();
    said.says("ls", 0, &["../../../etc/passwd", r"two\nlines", r"\u{1b}[2J", r"\u{202e}"]);
    said.says("replay", 3, &["refused and kept as dead letters", r"\u{1b}[2J"]);
    said.says("dead-letters", 0, &[]);
    let dir = place.dir.to_str().unwrap();
    let destination = Destination::start();
    for args in [&["dead-letters", "--export", dir][..], &["dead-letters", "--retry", "--uri", &destination.uri, dir]] {
        let ran = place.command(args);
        assert!(matches!(ran.code, Some(0 | 3)), "{args:?}: {:?} {}", ran.code, ran.stderr);
        assert!(ran.all().chars().all(|c| !c.is_control() || c == '\n'), "{args:?}");
    }
    // Nothing was made but where the program keeps its things.
    for entry in std::fs::read_dir(place.home()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(["backups", "repaired", "state", "out", "err"].iter().any(|known| name == *known), "{name:?}");
    }
    for entry in std::fs::read_dir(&place.dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == ".sift-replay" || name.ends_with(".sfr.open"), "{name:?}");
    }
}

/// What is archived keeps its path below the backups, whatever else it says.
#[test]
fn an_archive_is_never_left() {
    let place = Place::new();
    let (state, archive) = (place.home().join("state"), place.home().join("archive"));
    let mut made = Made::new(1, 0);
    let config = config("../../../escaped", [&flow("f", [&channel("c")])]);
    made.header(&config).data(0, 1);
    let seal = Pb::default().always_bytes(1, &made.header_message(&config)).varint(2, 1).varint(3, 1).0;
    made.seal(seal);
    place.put(Path::new("..\n..").join(made.sealed_name()), &made.bytes);
    let destination = Destination::start();
    let after = format!("archive={}", archive.display());
    let dir = place.dir.to_str().unwrap();
    let args = ["--after", &after, "--uri", &destination.uri, "--state-dir", state.to_str().unwrap(), dir];
    let ran = place.command(&args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(archive.join("..\n..").join(made.sealed_name()).is_file(), "{ran:?}");
    assert!(ran.stderr.contains(r"archived: ") && ran.stderr.contains(r"..\n.."), "{ran:?}");
}

/// Requests in PBFS files say where they belong themselves.
#[test]
fn a_pbfs_backup_whose_ids_are_commands_is_refused_in_plain_text() {
    let mut file = Vec::new();
    let requests = names().into_iter().map(|name| {
        let value = Pb::default().always_varint(8, 7);
        let pb = Pb::default().bytes(1, name.as_bytes()).bytes(2, name.as_bytes());
        pb.always_bytes(4, &value.0).bytes(5, name.as_bytes()).0
    });
    put_chunk(&mut file, &requests.collect::<Vec<_>>());
    let place = Place::with("\u{1b}[31m\n-1.pbfs", &file);
    let said = place.run();
    said.says("ls", 0, &[r"\u{1b}[31m\n-1.pbfs"]);
    said.says("replay", 3, &[r"\u{1b}[31m\n-1.pbfs", "refused and kept as dead letters"]);
}
