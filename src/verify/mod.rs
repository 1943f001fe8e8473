//! Verifying: all that some recordings hold is read, each checksum, each frame and each record is checked, and what isn't
//! as it should be is told. Nothing is changed.
//!
//! Sessions are checked one by one, and know nothing of each other.

mod ahead;
mod copies;
mod finding;
mod header;
mod pbfs;
mod refused;
mod report;
mod schema;
mod seal;
mod segment;
mod session;
mod tell;

use std::path::PathBuf;
use std::time::Instant;

pub use finding::{Finding, FindingKind, Problem, Subject};
pub use report::{Line, Report, Totals};

use crate::catalog::{Catalog, DiscoverError, discover};
use ahead::Ahead;
use tell::Teller;

/// How to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Findings of one kind that are told of one file, or of one session; further ones are counted. Default: 10, which
    /// shows what is wrong, and doesn't fill a screen with a million records that are wrong in the same way.
    pub most_told: u64,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { most_told: 10 }
    }
}

/// Whoever wants to know what isn't as it should be.
pub type Observer<'a> = dyn FnMut(&Finding<'_>) + 'a;

/// Reads all that is at and below `paths`, checks it, and tells what isn't as it should be. Blocks.
///
/// # Errors
/// [`DiscoverError`] if one of `paths` isn't there.
pub fn verify(
    paths: &[PathBuf],
    options: &VerifyOptions,
    observer: &mut Observer<'_>,
) -> Result<Report, DiscoverError> {
    Ok(verify_catalog(&Catalog::build(discover(paths)?), options, observer))
}

/// Likewise, of what was found already.
pub fn verify_catalog(catalog: &Catalog, options: &VerifyOptions, observer: &mut Observer<'_>) -> Report {
    let began = Instant::now();
    let mut report = Report::of(catalog);
    for file in &catalog.ignored {
        observer(&Finding::Ignored { path: &file.path, reason: file.reason });
    }
    for file in &catalog.unreadable {
        observer(&Finding::Unreadable { path: &file.path, reason: &file.reason });
    }
    let mut teller = Teller::new(options.most_told, observer);
    std::thread::scope(|scope| {
        let mut ahead = Ahead::of(catalog, scope);
        for session in &catalog.sessions {
            let requests = session.requests.as_ref();
            report.lines.push(Line {
                origin: session.id.to_string(),
                asset: requests.map(|requests| requests.asset.clone()),
                run: requests.and_then(|requests| requests.run_name.clone()),
                totals: session::check(session, &mut ahead, &mut teller),
            });
        }
    });
    for file in &catalog.pbfs {
        let origin = file.path.to_string_lossy().into_owned();
        report.lines.push(Line { origin, asset: None, run: None, totals: pbfs::check(&file.path, &mut teller) });
    }
    report.elapsed = began.elapsed();
    report.sum();
    report
}
