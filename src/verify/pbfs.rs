//! Checking one PBFS file.

use std::path::Path;

use super::finding::{Finding, FindingKind, Problem, Subject};
use super::refused::NonFinite;
use super::report::{Totals, add};
use super::schema::Schema;
use super::session::reason;
use super::tell::{Teller, Told};
use crate::format::PbfsChunk;
use crate::record::check_alone;
use crate::segment::{PbfsEvent, PbfsReader, SegmentError};

/// Checks the file at `path`.
pub(super) fn check(path: &Path, teller: &mut Teller<'_>) -> Totals {
    let mut check =
        PbfsCheck { path, totals: Totals::default(), told: Told::default(), refused: NonFinite::default(), teller };
    if let Err(error) = check.read() {
        add(&mut check.totals.files_unreadable, 1);
        check.teller.once(&Finding::Unreadable { path, reason: &reason(&error) });
    }
    let PbfsCheck { mut totals, mut told, refused, teller, .. } = check;
    totals.values_non_finite = refused.values;
    refused.tell(path, &Schema::OwnIds, &mut told, teller);
    teller.rest(&told, Subject::File(path));
    totals
}

struct PbfsCheck<'s, 't> {
    path: &'s Path,
    totals: Totals,
    told: Told,
    refused: NonFinite,
    teller: &'s mut Teller<'t>,
}

impl PbfsCheck<'_, '_> {
    fn read(&mut self) -> Result<(), SegmentError> {
        let path = self.path;
        let mut reader = PbfsReader::open(path)?;
        while let Some(event) = reader.next_event()? {
            match event {
                PbfsEvent::Chunk(chunk) => self.chunk(&chunk),
                PbfsEvent::Damage(damage) => {
                    add(&mut self.totals.damaged_places, 1);
                    add(&mut self.totals.damaged_bytes, damage.len);
                    let finding = Finding::Damage { path, damage: &damage };
                    self.teller.tell(&mut self.told, FindingKind::Damage, &finding);
                }
                PbfsEvent::Torn(torn) => {
                    add(&mut self.totals.torn_files, 1);
                    add(&mut self.totals.torn_bytes, torn.len);
                    self.teller.once(&Finding::Torn { path, torn: &torn });
                }
            }
            self.totals.bytes = reader.position();
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &PbfsChunk<'_>) {
        add(&mut self.totals.frames, 1);
        for message in chunk.messages() {
            let seq = self.totals.records_found;
            add(&mut self.totals.records_found, 1);
            if let Err(problem) = self.message(message) {
                add(&mut self.totals.records_invalid, 1);
                let (path, offset, seq) = (self.path, chunk.offset, Some(seq));
                let finding = Finding::Invalid { path, offset, seq, problem: &problem };
                self.teller.tell(&mut self.told, FindingKind::Invalid, &finding);
            }
        }
    }

    /// [P-1]: a message has ids of its own.
    fn message(&mut self, message: &[u8]) -> Result<(), Problem> {
        let checked = check_alone(message)?;
        if checked.non_finite > 0 {
            self.refused.add_alone(checked.info.flow, checked.non_finite);
        }
        if checked.info.has_config_id { Ok(()) } else { Err(Problem::NoConfig) }
    }
}
