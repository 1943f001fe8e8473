//! The shape of the code, held: who may know whom, who may print, who may write, and what the recorder drags in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers, each with those that it may know.
const LAYERS: [(&str, &[&str]); 10] = [
    ("format", &[]),
    ("segment", &["format"]),
    ("record", &["format", "segment"]),
    ("catalog", &["format", "segment"]),
    ("verify", &["format", "segment", "record", "catalog"]),
    ("sift", &["format", "segment", "record", "catalog"]),
    ("replay", &["format", "segment", "record", "catalog", "sift"]),
    ("stream", &["format", "segment", "record", "catalog", "sift", "replay"]),
    ("receiver", &["format", "segment", "record", "catalog", "sift", "replay"]),
    ("cli", &["format", "segment", "record", "catalog", "verify", "sift", "replay", "receiver"]),
];

/// Crates that the recorder alone may depend on, itself included.
const MOST_CRATES: usize = 35;

/// A source file without its comments and tests.
struct Source {
    /// Below `src/`, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn layer(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }

    /// How many modules lead from the crate's root to this one.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        if self.path.ends_with("mod.rs") || self.path == "lib.rs" { parts - 1 } else { parts }
    }

    /// Whether `name` stands somewhere, not as a part of a longer name.
    fn names(&self, name: &str) -> bool {
        let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
        self.text.match_indices(name).any(|(at, _)| {
            let before = self.text[..at].chars().next_back();
            let after = self.text[at + name.len()..].chars().next();
            !(before.is_some_and(part_of_name) || name.ends_with(part_of_name) && after.is_some_and(part_of_name))
        })
    }
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    for path in files(&src) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let in_tests = path.components().any(|part| part.as_os_str() == "tests");
        if in_tests || name == "tests" || name.ends_with("_tests") {
            continue;
        }
        let text = without_comments_and_tests(&std::fs::read_to_string(&path).unwrap());
        let path = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        sources.push(Source { path, text });
    }
    assert!(sources.len() > 50, "{} sources", sources.len());
    sources
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn without_comments_and_tests(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if !(line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")) {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        let mut item = lines.next().unwrap_or_default();
        while item.starts_with("#[") {
            item = lines.next().unwrap_or_default();
        }
        // A module within the file ends where its indentation does, as rustfmt has it.
        if item.ends_with('{') {
            lines.by_ref().find(|line| *line == "}");
        }
    }
    out
}

/// The layers that a source names, by `crate::…` or by climbing out of its own.
fn layers_named(source: &Source) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let climb = "super::".repeat(source.depth());
    for from_root in ["crate::", &climb] {
        for (at, _) in source.text.match_indices(from_root).filter(|_| !from_root.is_empty()) {
            let rest = &source.text[at + from_root.len()..];
            match rest.strip_prefix('{') {
                None => named.insert(first_name(rest)),
                Some(group) => {
                    named.extend(group_names(group));
                    continue;
                }
            };
        }
    }
    named.retain(|name| LAYERS.iter().any(|(layer, _)| layer == name));
    named
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names of `{a::…, b::{…}, c}`.
fn group_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(first_name(&group[begin..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(first_name(&group[begin..at]));
                begin = at + 1;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn each_layer_knows_only_those_below_it() {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.into();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources() {
        let layer = source.layer();
        if ["lib", "bin"].contains(&layer) {
            continue;
        }
        let below = allowed.get(layer).unwrap_or_else(|| panic!("{} belongs to no layer", source.path));
        seen.insert(layer.to_owned());
        for named in layers_named(&source) {
            if named != layer && !below.contains(&&named[..]) {
                wrong.push(format!("{} names {named}", source.path));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(seen.len(), LAYERS.len(), "{seen:?}");
}

/// Panics with all sources that name one of `names` though they aren't `allowed`; and with exceptions that are none.
#[track_caller]
fn only(allowed: impl Fn(&str) -> bool, names: &[&str], exceptions: &[&str]) {
    let sources = sources();
    let naming: Vec<_> =
        sources.iter().filter(|source| names.iter().any(|name| source.names(name))).map(|s| &s.path[..]).collect();
    assert!(naming.iter().any(|path| allowed(path)), "nobody names any of {names:?}: is this test blind?");
    let mut others: Vec<_> = naming.into_iter().filter(|path| !allowed(path)).collect();
    others.sort_unstable();
    assert_eq!(others, exceptions, "these name one of {names:?}");
}

#[test]
fn only_sift_and_receiver_know_grpc() {
    only(|path| path.starts_with("sift/") || path.starts_with("receiver/"), &["tonic::"], &[]);
}

#[test]
fn only_the_command_line_prints() {
    let printing = ["println!", "eprintln!", "print!", "eprint!", "stdout()", "stderr()", "print_help", "io::stderr"];
    only(|path| path.starts_with("cli/"), &printing, &[]);
}

#[test]
fn only_storage_writes_files() {
    let writing = [
        "OpenOptions",
        "File::create",
        "File::create_new",
        "fs::write",
        "fs::rename",
        "fs::copy",
        "fs::create_dir",
        "fs::create_dir_all",
        "fs::hard_link",
        "remove_file",
        "remove_dir",
        "remove_dir_all",
        "set_len",
        "set_permissions",
        "write_all_at",
    ];
    let exceptions = [
        // Flips a bit in its own recording, to show what damage costs; makes the directory that it was given.
        "cli/demo/mod.rs",
        // Makes the directory that it will record into, so that a wrong one is refused before it listens.
        "cli/receive.rs",
    ];
    only(|path| path == "segment/storage.rs", &writing, &exceptions);
}

#[test]
fn only_the_mapping_is_unsafe() {
    only(|path| path == "segment/map.rs", &["unsafe", "allow(unsafe_code)"], &[]);
}

#[test]
fn the_recorder_alone_needs_no_network_and_few_crates() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--no-default-features", "-e", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?))
        })
        .collect();
    assert!(crates.iter().any(|(name, _)| *name == "sift-replay"), "{tree}");
    for network in ["tokio", "tonic", "hyper", "h2", "clap", "sift_rs", "http", "rustls"] {
        assert!(!crates.iter().any(|(name, _)| *name == network), "{network} is among {crates:?}");
    }
    assert!(crates.len() <= MOST_CRATES, "{} crates: {crates:?}", crates.len());
}
