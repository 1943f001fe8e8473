//! Where records go and as what, and whose they are: what a checkpoint is keyed by.

use std::fmt;

use uuid::Uuid;

use super::options::{Rewrite, Selection};

/// Where records are delivered to, and as what: a Sift endpoint, the organization there, and how the records are
/// rewritten on the way. Two deliveries of a record to the same target are one too many; to another target, they aren't.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(String);

impl Target {
    /// `endpoint` is the destination's [`name`](crate::sift::Destination::name); `organization` its id, where known.
    pub fn new(endpoint: &str, organization: Option<&str>, rewrite: &Rewrite) -> Self {
        let mut text = endpoint.to_owned();
        let mut add = |name: &str, value: &str| text.push_str(&format!(" {name}={value:?}"));
        if let Some(organization) = organization {
            add("organization", organization);
        }
        if let Some(asset) = &rewrite.asset {
            add("asset", asset);
        }
        if let Some(run) = &rewrite.run {
            add("run", run);
        }
        if rewrite.shift_ns != 0 {
            add("shift", &format!("{} ns", rewrite.shift_ns));
        }
        Self(text)
    }

    /// This target for what is selected of a file.
    pub(super) fn of(&self, selection: &Selection) -> Self {
        if !selection.looks_into_records() {
            return self.clone();
        }
        let Selection { from_ns, to_ns, flows, .. } = selection;
        let mut text = self.0.clone();
        let mut add = |name: &str, value: &str| text.push_str(&format!(" {name}={value:?}"));
        from_ns.iter().for_each(|ns| add("from", &ns.to_string()));
        to_ns.iter().for_each(|ns| add("to", &ns.to_string()));
        let mut flows = flows.clone();
        flows.sort();
        flows.dedup();
        flows.iter().for_each(|flow| add("flow", flow));
        Self(text)
    }

    /// What must be selected of a file to make this target of `whole`; everything if it is `whole` itself, `None` if it is
    /// another one.
    pub(super) fn part_of(&self, whole: &Self) -> Option<Selection> {
        let mut rest = self.0.strip_prefix(&whole.0)?;
        let mut selection = Selection::default();
        while !rest.is_empty() {
            let (name, value, behind) = take_field(rest)?;
            match name {
                "from" => selection.from_ns = Some(value.parse().ok()?),
                "to" => selection.to_ns = Some(value.parse().ok()?),
                "flow" => selection.flows.push(value),
                _ => return None,
            }
            rest = behind;
        }
        // Whatever else was meant, it isn't this.
        (whole.of(&selection) == *self).then_some(selection)
    }

    /// This target, whichever organization it is in.
    pub(super) fn anywhere(&self) -> Self {
        let (endpoint, rest) = self.0.split_at(self.endpoint().len());
        match take_field(rest) {
            Some(("organization", _, behind)) => Self(format!("{endpoint}{behind}")),
            _ => self.clone(),
        }
    }

    /// A target as it stands in a journal or a dead letter.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// What the text says, if it is one that [`new`](Self::new) makes, perhaps of what was selected of a file.
    pub(super) fn parts(&self) -> Option<Parts> {
        let endpoint = self.endpoint();
        let (mut parts, mut rest) = (Parts::default(), self.0.get(endpoint.len()..)?);
        while let Some((name, value, behind)) = take_field(rest) {
            match name {
                "organization" => parts.organization = Some(value),
                "asset" => parts.rewrite.asset = Some(value),
                "run" => parts.rewrite.run = Some(value),
                "shift" => parts.rewrite.shift_ns = value.strip_suffix(" ns")?.parse().ok()?,
                _ => break,
            }
            rest = behind;
        }
        // What is left must be a selection; and nobody else writes a text like this.
        let whole = Self::new(endpoint, parts.organization.as_deref(), &parts.rewrite);
        self.part_of(&whole).map(|_| parts)
    }

    /// As text: the endpoint, a space, and what else distinguishes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The endpoint alone.
    pub fn endpoint(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }
}

/// What a target's text says, besides the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parts {
    pub(super) organization: Option<String>,
    pub(super) rewrite: Rewrite,
}

/// Takes ` name="value"` from the beginning of a target's text: name, value and what is behind.
fn take_field(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.strip_prefix(' ')?.split_once("=\"")?;
    let (mut value, mut chars) = (String::new(), rest.chars());
    loop {
        match chars.next()? {
            '"' => return Some((name, value, chars.as_str())),
            '\\' => value.push(unescaped(&mut chars)?),
            c => value.push(c),
        }
    }
}

/// What Rust's `Debug` has written behind a backslash.
fn unescaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        'u' => {
            let (digits, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            *chars = rest.chars();
            char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
        }
        c => c,
    })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which PBFS file: the SHA-256 of its first sound chunk, header included ([P-4]). Files that begin alike share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PbfsId(pub [u8; 32]);

impl fmt::Display for PbfsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PbfsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PbfsId({self})")
    }
}

/// Whose records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A recorder's session.
    Session(Uuid),
    /// A backup of the official library.
    Pbfs(PbfsId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => write!(f, "session {session}"),
            Self::Pbfs(id) => write!(f, "PBFS backup {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_delivered_as_something_else_is_another_target() {
        let plain = Target::new("https://example.com:443", Some("org"), &Rewrite::default());
        assert_eq!(plain.as_str(), "https://example.com:443 organization=\"org\"");
        assert_eq!(plain.endpoint(), "https://example.com:443");
        let rewrites = [
            Rewrite { asset: Some("a".to_owned()), ..Rewrite::default() },
            Rewrite { run: Some("a".to_owned()), ..Rewrite::default() },
            Rewrite { shift_ns: -1, ..Rewrite::default() },
        ];
        let mut targets: Vec<_> =
            rewrites.iter().map(|rewrite| Target::new("https://example.com:443", Some("org"), rewrite)).collect();
        // A name can't pretend to be something else.
        let posing = Rewrite { asset: Some("a\" run=\"b".to_owned()), ..Rewrite::default() };
        let both = Rewrite { asset: Some("a".to_owned()), run: Some("b".to_owned()), shift_ns: 0 };
        targets
            .extend([posing, both].iter().map(|rewrite| Target::new("https://example.com:443", Some("org"), rewrite)));
        targets.push(plain);
        targets.push(Target::new("https://example.com:443", None, &Rewrite::default()));
        let distinct: std::collections::HashSet<_> = targets.iter().collect();
        assert_eq!(distinct.len(), 7);
    }

    #[test]
    fn what_a_target_says_is_had_back_from_its_text() {
        let names =
            [None, Some("a"), Some(""), Some("a\" run=\"b"), Some("\\\n\r\t\0'\u{7f}\u{202e} \u{e9}\u{301} {}=")];
        for organization in names {
            for (asset, run) in names.iter().flat_map(|asset| names.map(|run| (*asset, run))) {
                for shift_ns in [0, -1, i64::MAX, i64::MIN] {
                    let (asset, run) = (asset.map(str::to_owned), run.map(str::to_owned));
                    let rewrite = Rewrite { asset, run, shift_ns };
                    let target = Target::new("http://[::1]:80", organization, &rewrite);
                    let organization = organization.map(str::to_owned);
                    let parts = Some(Parts { organization, rewrite });
                    assert_eq!(target.parts(), parts, "{target}");
                    let flows = vec!["f\"".to_owned()];
                    let part = target.of(&Selection { from_ns: Some(-5), flows, ..Selection::default() });
                    assert_ne!(part, target);
                    assert_eq!(part.parts(), parts, "{part}");
                }
            }
        }
    }

    #[test]
    fn no_sense_is_made_of_a_text_that_nobody_writes() {
        for text in [
            "e asset",
            "e asset=",
            "e asset=\"",
            "e asset=\"a",
            "e asset=\"a\\",
            "e asset=\"a\" ",
            "e  asset=\"a\"",
            "e asset=\"a\"x",
            "e more=\"a\"",
            "e shift=\"0 ns\"",
            "e shift=\"1\"",
            "e run=\"a\" asset=\"b\"",
            "e asset=\"\\u{110000}\"",
            "e asset=\"\\u{",
            "e asset=\"\\q\"",
            "e asset=\"a\" asset=\"a\"",
            "e ",
        ] {
            assert_eq!(Target::from_text(text).parts(), None, "{text}");
        }
        assert_eq!(Target::from_text("e").parts(), Some(Parts::default()));
    }

    #[test]
    fn a_part_is_read_as_it_was_written() {
        let whole = Target::new("https://example.com:443", Some("an \"org\""), &Rewrite::default());
        assert_eq!(whole.part_of(&whole), Some(Selection::default()));
        let parts = [
            Selection { from_ns: Some(i64::MIN), ..Selection::default() },
            Selection { from_ns: Some(-1), to_ns: Some(7), ..Selection::default() },
            Selection {
                flows: vec!["\u{1b}\n\0µ\u{301}'".to_owned(), "a\" flow=\"b\\".to_owned()],
                ..Selection::default()
            },
        ];
        for part in &parts {
            let target = whole.of(part);
            assert_eq!(target.part_of(&whole), Some(part.clone()), "{target}");
            assert_eq!(whole.part_of(&target), None);
            assert!(!target.anywhere().as_str().contains("organization"), "{target}");
        }
        let again = Selection { flows: vec!["b".to_owned(), "a".to_owned(), "b".to_owned()], ..Selection::default() };
        let sorted = Selection { flows: vec!["a".to_owned(), "b".to_owned()], ..Selection::default() };
        assert_eq!(whole.of(&again), whole.of(&sorted));
        for text in
            ["", " x=\"1\"", " from=\"x\"", " from=\"01\"", " flow=\"a", " flow=\"a\\", " flow=\"\\u{110000}\"", "!"]
        {
            let other = Target::from_text(&format!("{whole}{text}"));
            assert_eq!(other.part_of(&whole).is_some(), text.is_empty(), "{text}");
        }
        let shifted =
            Target::new("https://example.com:443", Some("an \"org\""), &Rewrite { shift_ns: 1, ..Rewrite::default() });
        assert_eq!(shifted.part_of(&whole), None);
        assert_eq!(whole.anywhere().as_str(), "https://example.com:443");
        assert_eq!(whole.anywhere().anywhere(), whole.anywhere());
        assert_eq!(shifted.anywhere().as_str(), "https://example.com:443 shift=\"1 ns\"");
    }
}
