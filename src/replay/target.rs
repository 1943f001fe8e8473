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

    /// As text: the endpoint, a space, and what else distinguishes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The endpoint alone.
    pub fn endpoint(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }
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
}
