//! `sift-replay repair PATH… --to DIR`: sound copies of what is there.

mod pbfs;
mod siblings;
mod tell;

use std::path::{Component, Path, PathBuf};

use super::args::{OutputArgs, RepairArgs};
use super::exit::{Exit, Failure};
use crate::catalog::{Catalog, FileKind, Found, discover};
use crate::replay::{ArchiveError, check_archive};
use crate::segment::{Disk, Loss, MENDED_SUFFIX, Repair, RepairError, RepairTo, Repaired, repair_pbfs, repair_segment};
use pbfs::Schema;
use siblings::Siblings;
use tell::Teller;

pub(super) fn run(args: &RepairArgs, output: &OutputArgs) -> Result<Exit, Failure> {
    if args.in_place && !args.yes {
        let message = "--in-place changes what is there: whatever isn't sound is replaced by a sound copy, and stays \
                       beside it under a name that ends in .damaged, which is read no more. Say --yes if so, or --to DIR to \
                       leave everything as it is";
        return Err(Failure::new(Exit::Usage, message));
    }
    let found = discover(&args.paths).map_err(Failure::fatal)?;
    if let Some(dir) = &args.to {
        check_place(&args.paths, dir)?;
    }
    let schema = args.schema.as_deref().map(Schema::read).transpose()?;
    let siblings = Siblings::of(Catalog::build(found.clone()));
    let mut teller = Teller::new(output);
    for Found { path, kind } in &found {
        match kind {
            FileKind::Segment | FileKind::Pbfs => {}
            FileKind::Foreign(reason) => {
                teller.ignored(path, *reason);
                continue;
            }
            FileKind::Unreadable(reason) => {
                teller.failed(path, reason);
                continue;
            }
        }
        let dir = args.to.as_deref().map(|dir| dir.join(below(&args.paths, path)));
        let to = dir.as_deref().map_or(RepairTo::InPlace, RepairTo::Dir);
        let mut lost = |loss: Loss| teller.lost(path, &loss);
        let mut repair =
            Repair { sibling: &|identity| siblings.header(path, identity), ..Repair::new(&Disk, to, &mut lost) };
        match one(path, kind, schema.as_ref(), &mut repair) {
            Ok(repaired) => teller.repaired(path, &repaired),
            // Its original has made room for it meanwhile.
            Err(error) if error.is_not_found() && is_waiting(path) => {}
            Err(error) if error.is_about_the_destination() => {
                teller.end();
                let after = "What was repaired so far is sound and stays; run it again for the rest";
                return Err(Failure::fatal(format!("{error}. {after}")));
            }
            Err(error) => teller.failed(path, &error.to_string()),
        }
    }
    Ok(teller.end())
}

fn one(
    path: &Path,
    kind: &FileKind,
    schema: Option<&Schema>,
    repair: &mut Repair<'_>,
) -> Result<Repaired, RepairError> {
    match (kind, schema, repair.to) {
        (FileKind::Pbfs, Some(schema), RepairTo::Dir(dir)) => schema.segment_of(path, dir, repair),
        (FileKind::Pbfs, ..) => repair_pbfs(path, repair),
        _ => repair_segment(path, repair),
    }
}

fn is_waiting(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(MENDED_SUFFIX.as_bytes()))
}

/// What is repaired mustn't be found again beside its original.
fn check_place(paths: &[PathBuf], dir: &Path) -> Result<(), Failure> {
    check_archive(paths, dir).map_err(|error| match error {
        ArchiveError::Searched { dir, path } => Failure::fatal(format!(
            "{} lies within {}: the copies would stand among the originals. Choose a directory beside it",
            dir.display(),
            path.display()
        )),
        lost @ ArchiveError::Lost { .. } => Failure::fatal(lost),
    })
}

/// The directory of a file, below the path that was asked for. No part of it leads upwards.
fn below(paths: &[PathBuf], file: &Path) -> PathBuf {
    let roots = paths.iter().filter(|path| file.starts_with(path));
    let root = roots.max_by_key(|path| path.components().count());
    let below = root.and_then(|root| file.strip_prefix(root).ok()).and_then(Path::parent).unwrap_or(Path::new(""));
    below.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_below_where_they_were() {
        let paths = ["a", "a/b", "c/file", "."].map(PathBuf::from);
        for (file, dir) in [("a/x", ""), ("a/d/e/x", "d/e"), ("a/b/f/x", "f"), ("c/file", ""), ("./g/x", "g")] {
            assert_eq!(below(&paths, Path::new(file)), Path::new(dir), "{file}");
        }
    }
}
