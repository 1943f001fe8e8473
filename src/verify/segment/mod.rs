//! Checking one segment.

mod records;

use std::ops::Range;
use std::path::Path;

use prost::Message;
use sha2::{Digest, Sha256};

use super::finding::{Finding, FindingKind, Problem, Subject};
use super::header;
use super::refused::NonFinite;
use super::report::add;
use super::schema::Schema;
use super::seal::{Expected, HeaderCopy};
use super::session::State;
use super::tell::{Teller, Told};
use crate::catalog::SeqSet;
use crate::format::{Damage, DamageCause, FrameHeader, Kind, MAGIC, Mark, MarkMessage, Seal, SegmentHeader, Torn};
use crate::segment::{Event, SegmentError, SegmentName, SegmentReader, Skipped};

/// Which seqs a segment holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// From the first to the last.
    pub(super) span: Range<u64>,
    /// Those that stood in an earlier file, too.
    pub(super) again: SeqSet,
}

/// Checks the segment at `path`, and adds what it holds to what is known of its session.
pub(super) fn check(path: &Path, state: &mut State<'_>, teller: &mut Teller<'_>) -> Held {
    let mut check = SegmentCheck::new(path, state, teller);
    if let Err(error) = check.read() {
        check.state.unreadable(path, &error, check.teller);
    }
    let SegmentCheck { mut told, held, refused, schema, state, teller, .. } = check;
    add(&mut state.totals.values_non_finite, refused.values);
    refused.tell(path, &schema, &mut told, teller);
    teller.rest(&told, Subject::File(path));
    held
}

struct SegmentCheck<'s, 'r, 't> {
    path: &'s Path,
    name: Option<SegmentName>,
    state: &'s mut State<'r>,
    teller: &'s mut Teller<'t>,
    told: Told,
    schema: Schema,
    /// Whether it was told that there is none.
    lacks_schema: bool,
    /// HEADER's; 0 as long as it isn't known.
    first_seq: u64,
    /// Whether anything was met behind the magic.
    begun: bool,
    /// Whether something is lost or of a later version, so that SEAL needn't agree with the rest.
    partial: bool,
    /// Whether some record's figures aren't known, since it isn't what it should be.
    vague: bool,
    expected: Expected,
    copy: HeaderCopy,
    refused: NonFinite,
    held: Held,
}

impl<'s, 'r, 't> SegmentCheck<'s, 'r, 't> {
    fn new(path: &'s Path, state: &'s mut State<'r>, teller: &'s mut Teller<'t>) -> Self {
        Self {
            path,
            name: SegmentName::of_path(path),
            state,
            teller,
            told: Told::default(),
            schema: Schema::Unknown,
            lacks_schema: false,
            first_seq: 0,
            begun: false,
            partial: false,
            vague: false,
            expected: Expected::new(None),
            copy: HeaderCopy::default(),
            refused: NonFinite::default(),
            held: Held::default(),
        }
    }

    fn read(&mut self) -> Result<(), SegmentError> {
        let mut reader = SegmentReader::open(self.path)?;
        add(&mut self.state.totals.bytes, reader.bytes());
        self.expected = Expected::new(reader.seal());
        let mut sealed = false;
        while let Some((event, frame)) = reader.next_frame()? {
            let frame = frame.map(|frame| frame.header);
            if let Some(frame) = &frame {
                self.frame(frame);
            }
            sealed |= self.event(event, frame);
        }
        // [F-30]: it had SEAL and trailer when it was given this name.
        let whole = sealed && reader.seal().is_some();
        if !whole && !self.partial && self.is_named_sealed() {
            let (offset, cause) = (reader.position(), DamageCause::Trailer);
            self.damage(&Damage { offset, len: 0, cause, seqs: None }, None);
        }
        Ok(())
    }

    fn is_named_sealed(&self) -> bool {
        self.name.is_some_and(|name| !name.open)
    }

    /// A frame whose checksums hold, whatever it is.
    fn frame(&mut self, frame: &FrameHeader) {
        add(&mut self.state.totals.frames, 1);
        // [F-2]
        if !std::mem::replace(&mut self.begun, true) && frame.offset == MAGIC.len() as u64 && frame.kind != Kind::Header
        {
            self.contradicts(frame.offset, None, &Problem::NoHeader);
            self.schema_may_be_lost();
        }
    }

    /// Handles one event; returns whether it was SEAL.
    fn event(&mut self, event: Event<'_>, frame: Option<FrameHeader>) -> bool {
        match (event, frame) {
            (Event::Records(batch), _) => self.records(&batch),
            (Event::Header(message), Some(frame)) => self.header(message, &frame),
            (Event::Schema(added), Some(frame)) => {
                self.plain(&frame, None);
                let problems = self.schema.add(&added);
                problems.iter().for_each(|problem| self.contradicts(frame.offset, None, problem));
                self.copy.added(added);
            }
            (Event::Mark(mark), Some(frame)) => {
                self.plain(&frame, Some(mark.wall_clock_ns));
                self.mark(&mark);
            }
            (Event::Seal(seal), Some(frame)) => {
                self.plain(&frame, None);
                self.seal(&seal, frame.offset);
                return true;
            }
            (Event::Skipped(skipped), frame) => self.skipped(&skipped, frame),
            (Event::Damage(damage), frame) => self.damage(&damage, frame),
            (Event::Torn(torn), _) => self.torn(torn),
            // They are made of frames.
            (Event::Header(_) | Event::Schema(_) | Event::Mark(_) | Event::Seal(_), None) => {}
        }
        false
    }

    fn plain(&mut self, frame: &FrameHeader, wall_clock_ns: Option<i64>) {
        if let Some(problem) = header::check_frame(frame, wall_clock_ns) {
            self.contradicts(frame.offset, None, &problem);
        }
    }

    fn header(&mut self, message: SegmentHeader, frame: &FrameHeader) {
        self.plain(frame, None);
        for problem in header::check(&message, frame, self.name) {
            self.contradicts(frame.offset, None, &problem);
        }
        if frame.offset != MAGIC.len() as u64 {
            return;
        }
        self.first_seq = message.first_seq;
        self.state.end = self.state.end.max(message.first_seq);
        self.expected.begin(message.first_seq);
        let (schema, problems) = self.state.schemas.of_header(&message.ingestion_config);
        self.lacks_schema = matches!(schema, Schema::Lost);
        self.schema = schema;
        problems.iter().for_each(|problem| self.contradicts(frame.offset, None, problem));
        self.copy.header(message);
    }

    /// A HEADER or SCHEMA frame is lost, or may be: what it told is taken from elsewhere ([F-22], [F-33]).
    fn schema_may_be_lost(&mut self) {
        self.state.schemas.of_session(&mut self.schema);
    }

    fn mark(&mut self, message: &MarkMessage) {
        let Some(mark @ Mark::Dropped(dropped)) = &message.mark else { return };
        // It stands in each copy of the segment.
        if !self.state.dropped.insert(Sha256::digest(message.encode_to_vec()).into()) {
            return;
        }
        if let Some(first) = dropped.first_seq {
            self.state.explain(first..first.saturating_add(dropped.records));
        }
        add(&mut self.state.totals.records_dropped_on_board, dropped.records);
        let (session, wall_clock_ns) = (self.state.session, message.wall_clock_ns);
        let finding = Finding::Mark { session, wall_clock_ns, mark };
        self.teller.tell(&mut self.state.told, FindingKind::Mark, &finding);
    }

    fn skipped(&mut self, skipped: &Skipped, frame: Option<FrameHeader>) {
        self.partial |= frame.is_none_or(|frame| !matches!(frame.kind, Kind::Unknown(_)) || frame.count > 0);
        if frame.is_none_or(|frame| matches!(frame.kind, Kind::Header | Kind::Schema)) {
            self.schema_may_be_lost();
        }
        let new = skipped.seqs.clone().map_or(0, |seqs| self.state.explain(seqs));
        add(&mut self.state.totals.records_unreadable, new);
        self.teller.tell(&mut self.told, FindingKind::Skipped, &Finding::Skipped { path: self.path, skipped });
    }

    /// `frame`: the one that is damaged, if its header and checksum are sound.
    fn damage(&mut self, damage: &Damage, frame: Option<FrameHeader>) {
        use DamageCause::{AfterSeal, Magic, PayloadChecksum, Trailer};
        self.partial = true;
        if damage.cause != Magic {
            self.begun = true;
            // Only frames of records state seqs.
            let may_hold_schema =
                frame.map_or(damage.seqs.is_none(), |frame| matches!(frame.kind, Kind::Header | Kind::Schema));
            if may_hold_schema && !matches!(damage.cause, Trailer | AfterSeal) {
                self.schema_may_be_lost();
            }
        }
        // What a malformed or repeated frame claims to hold is not what the session had.
        if let (PayloadChecksum | Trailer, Some(seqs)) = (damage.cause, &damage.seqs) {
            self.state.end = self.state.end.max(seqs.end);
        }
        let totals = &mut self.state.totals;
        add(&mut totals.damaged_places, 1);
        add(&mut totals.damaged_bytes, damage.len);
        self.teller.tell(&mut self.told, FindingKind::Damage, &Finding::Damage { path: self.path, damage });
    }

    fn torn(&mut self, torn: Torn) {
        if self.is_named_sealed() {
            // [F-30]
            let Torn { offset, len, seqs } = torn;
            return self.damage(&Damage { offset, len, cause: DamageCause::Trailer, seqs }, None);
        }
        self.partial = true;
        let totals = &mut self.state.totals;
        add(&mut totals.torn_files, 1);
        add(&mut totals.torn_bytes, torn.len);
        self.teller.once(&Finding::Torn { path: self.path, torn: &torn });
    }

    fn seal(&mut self, seal: &Seal, offset: u64) {
        self.state.end = self.state.end.max(seal.end_seq);
        if self.partial {
            return;
        }
        let mut problems = self.expected.check(seal);
        if !self.vague {
            problems.extend(self.expected.check_records(seal, &self.schema, self.refused.values));
        }
        problems.extend(std::mem::take(&mut self.copy).check(seal));
        problems.iter().for_each(|problem| self.contradicts(offset, None, problem));
    }

    /// What a frame says, or a file's name, isn't so.
    fn contradicts(&mut self, offset: u64, seq: Option<u64>, problem: &Problem) {
        add(&mut self.state.totals.contradictions, 1);
        self.invalid(offset, seq, problem);
    }

    fn invalid(&mut self, offset: u64, seq: Option<u64>, problem: &Problem) {
        let finding = Finding::Invalid { path: self.path, offset, seq, problem };
        self.teller.tell(&mut self.told, FindingKind::Invalid, &finding);
    }
}
