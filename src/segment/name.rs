//! Names of segment files and their directories ([F-27], [F-28]).

use std::fmt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Ending of a sealed segment's name.
pub const SEALED_SUFFIX: &str = ".sfr";

/// Ending of a segment's name while it is appended to, or if it was never sealed.
pub const OPEN_SUFFIX: &str = ".sfr.open";

/// Directory for sessions without a run.
const NO_RUN: &str = "no-run";

/// Most bytes of a directory's name; all common file systems take 255.
const MAX_COMPONENT_BYTES: usize = 120;

/// What a segment file's name says ([F-27]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentName {
    /// The session.
    pub session: Uuid,
    /// The segment's number in it.
    pub index: u32,
    /// Whether it hasn't been sealed.
    pub open: bool,
}

impl SegmentName {
    /// Reads a file's name (without directories); `None` if it isn't a segment's.
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, open) = match name.strip_suffix(OPEN_SUFFIX) {
            Some(stem) => (stem, true),
            None => (name.strip_suffix(SEALED_SUFFIX)?, false),
        };
        let (session, index) = stem.rsplit_once('-')?;
        let index = index.bytes().all(|b| b.is_ascii_digit()).then(|| index.parse().ok())??;
        Some(Self { session: Uuid::try_parse(session).ok()?, index, open })
    }

    /// Reads the name of the file at `path`.
    pub fn of_path(path: &Path) -> Option<Self> {
        Self::parse(path.file_name()?.to_str()?)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.open { OPEN_SUFFIX } else { SEALED_SUFFIX };
        write!(f, "{}-{:06}{suffix}", self.session, self.index)
    }
}

/// The directory of a session's segments: `<root>/<asset>/<run or "no-run">`, on any file system and never outside of
/// `root` ([F-28]).
pub fn session_dir(root: &Path, asset: &str, run: Option<&str>) -> PathBuf {
    root.join(component(asset)).join(run.map_or_else(|| NO_RUN.to_owned(), component))
}

/// A directory's name made of any text: letters, digits, `_`, `-` and inner dots stand for themselves, other bytes
/// as `%XX`. Long ones are cut and told apart by a checksum.
pub fn component(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, byte) in text.bytes().enumerate() {
        let inner_dot = byte == b'.' && i > 0 && i + 1 < text.len();
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || inner_dot {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if out.len() > MAX_COMPONENT_BYTES {
        out.truncate(MAX_COMPONENT_BYTES - 9);
        out.push_str(&format!("~{:08x}", crc32fast::hash(text.as_bytes())));
    }
    if out.is_empty() {
        // No text encodes to this.
        return "%".to_owned();
    }
    // Devices of Windows, which no directory may be named after, and the name kept for sessions without a run.
    let stem = out.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    if device || out == NO_RUN {
        let first = out.remove(0);
        out = format!("%{:02X}{out}", first as u32);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let session = Uuid::from_u128(0x0193_5f6e_0000_7000_8000_0000_0000_0001);
        for (open, text) in [
            (false, "01935f6e-0000-7000-8000-000000000001-000007.sfr"),
            (true, "01935f6e-0000-7000-8000-000000000001-000007.sfr.open"),
        ] {
            let name = SegmentName { session, index: 7, open };
            assert_eq!(name.to_string(), text);
            assert_eq!(SegmentName::parse(text), Some(name));
        }
        let many = SegmentName { session, index: u32::MAX, open: false };
        assert_eq!(SegmentName::parse(&many.to_string()), Some(many));
    }

    #[test]
    fn other_names_are_not_segments() {
        for name in [
            "",
            "a.sfr",
            "x-000000.sfr",
            ".DS_Store",
            "01935f6e-0000-7000-8000-000000000001-+1.sfr",
            "01935f6e-0000-7000-8000-000000000001-000007.sfr.tmp",
            "01935f6e-0000-7000-8000-000000000001-99999999999.sfr",
        ] {
            assert_eq!(SegmentName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn no_asset_or_run_climbs_out_of_the_root() {
        let root = Path::new("root");
        for text in [
            "..",
            ".",
            "../../etc",
            "/etc/passwd",
            "a\\b",
            "C:",
            "",
            "a\0b",
            "nul",
            "com1.txt",
            "trailing.",
            "no-run",
            "\u{1f680}",
        ] {
            let dir = session_dir(root, text, Some(text));
            assert_eq!(dir.components().count(), 3, "{text:?}: {dir:?}");
            assert!(dir.starts_with(root));
            let name = dir.file_name().unwrap().to_str().unwrap();
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-%~".contains(&b)), "{name}");
            assert!(!name.starts_with('.') && !name.ends_with('.'), "{name}");
        }
        assert_eq!(session_dir(root, "rover 7", None), Path::new("root/rover%207/no-run"));
        assert_ne!(session_dir(root, "a", Some("no-run")), session_dir(root, "a", None));
    }

    #[test]
    fn what_is_no_device_stands_for_itself() {
        // [F-28]
        let plain = ["rig7", "com", "comet", "comx", "lpt10", "arm1", "con-1", "a.con", "v1.2", "x_-9", "no-runs"];
        for text in plain {
            assert_eq!(component(text), text);
        }
        let escaped = [
            ("com1", "%63om1"),
            ("LPT9.x", "%4CPT9.x"),
            ("Con", "%43on"),
            ("no-run", "%6Eo-run"),
            ("", "%"),
            (".a", "%2Ea"),
            ("a.", "a%2E"),
            ("a b", "a%20b"),
            ("\u{e9}", "%C3%A9"),
        ];
        for (text, name) in escaped {
            assert_eq!(component(text), name);
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let (a, b) = (format!("{}a", "x".repeat(5000)), format!("{}b", "x".repeat(5000)));
        assert_ne!(component(&a), component(&b));
        assert_eq!(component(&a), format!("{}~{:08x}", "x".repeat(111), crc32fast::hash(a.as_bytes())));
        let longest = "x".repeat(MAX_COMPONENT_BYTES);
        assert_eq!(component(&longest), longest);
    }
}
