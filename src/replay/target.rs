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
        let part = format!("from {from_ns:?} to {to_ns:?} flows {flows:?}");
        Self(format!("{} part={part:?}", self.0))
    }

    /// A target as it stands in a journal or a dead letter.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// What the text says, if it is one that [`new`](Self::new) makes, perhaps of what was selected of a file.
    pub(super) fn parts(&self) -> Option<Parts> {
        let endpoint = self.endpoint();
        let (mut parts, mut of, mut rest) = (Parts::default(), None, self.0.get(endpoint.len()..)?);
        while !rest.is_empty() {
            let (name, quoted) = rest.strip_prefix(' ')?.split_once('=')?;
            let (value, behind) = unquote(quoted)?;
            match name {
                "organization" => parts.organization = Some(value),
                "asset" => parts.rewrite.asset = Some(value),
                "run" => parts.rewrite.run = Some(value),
                "shift" => parts.rewrite.shift_ns = value.strip_suffix(" ns")?.parse().ok()?,
                "part" => of = Some(value),
                _ => return None,
            }
            rest = behind;
        }
        let of = of.map(|part| format!(" part={part:?}")).unwrap_or_default();
        let again = Self::new(endpoint, parts.organization.as_deref(), &parts.rewrite);
        (again.0 + &of == self.0).then_some(parts)
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

/// Undoes what `{:?}` does to a text at the beginning of `quoted`; returns what is behind it, too.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let inner = quoted.strip_prefix('"')?;
    let (mut value, mut chars) = (String::new(), inner.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, inner.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => {
                    let (hex, _) = inner.get(at..)?.strip_prefix("\\u{")?.split_once('}')?;
                    chars.find(|(_, c)| *c == '}')?;
                    char::from_u32(u32::from_str_radix(hex, 16).ok()?)?
                }
                c => c,
            }),
            c => value.push(c),
        }
    }
    None
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
}
