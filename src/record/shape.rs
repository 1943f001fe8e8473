//! Shapes: what was found out about one record holds for each other that differs from it only where any bytes would do.
//! Nearly all records of a flow do, and comparing is several times as fast as reading.

use std::ops::Range;

use super::flow_table::CheckedRequest;
use crate::format::{Field, Fields, WireError, WireValue, field, unix_ns};

/// Records of more bytes have no shape.
const MAX_BYTES: usize = 16 << 10;

/// Most shapes that are known at once. A time alone makes several, its parts being of different lengths.
const MAX_SHAPES: usize = 16;

/// Records that may have been like none before, however few were.
const LEARNING: u64 = 64;

/// Any bits will do.
const FREE: u8 = 0;

/// A varint's byte: any bits, as long as it goes on, or ends, as it did.
const VARINT: u8 = 0x80;

/// The highest bits of a double's exponent, and of a float's, in the byte with the sign.
const EXPONENT: u8 = 0x7f;

/// A sound record, and where another one may differ.
#[derive(Debug, Clone)]
struct Shape {
    flow: usize,
    bare: bool,
    /// The bits that must be as they were.
    mask: Vec<u8>,
    fixed: Vec<u8>,
    /// Where the time's parts stand; nowhere, if they are 0.
    seconds: Range<usize>,
    nanos: Range<usize>,
    /// The bits that are set in a number's first byte, counted from its sign, if it is NaN or infinite; 0 in all other
    /// bytes.
    exponents: Vec<u8>,
    /// Where numbers begin that may be NaN or infinite.
    doubles: Vec<usize>,
    floats: Vec<usize>,
}

/// The shapes of what was checked lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Shapes {
    known: Vec<Shape>,
    /// The one that was met last.
    last: usize,
    /// The one that gives way to the next.
    oldest: usize,
    met: u64,
    learnt: u64,
}

impl Shapes {
    /// What checking this record would find, if one like it was sound.
    #[inline]
    pub(super) fn find(&mut self, record: &[u8]) -> Option<CheckedRequest> {
        let mut found = self.known.get(self.last)?;
        let mut compared = found.compare(record);
        if compared.is_none() {
            let others = self.known.iter().enumerate();
            (self.last, found, compared) = others
                .map(|(at, shape)| (at, shape, shape.compare(record)))
                .find(|(.., compared)| compared.is_some())?;
        }
        self.met += 1;
        found.learn(record, compared?)
    }

    /// Takes note of a sound record. Where hardly any two are alike, it soon doesn't.
    pub(super) fn add(&mut self, record: &[u8], checked: &CheckedRequest) {
        if record.len() > MAX_BYTES || self.learnt > LEARNING + self.met {
            return;
        }
        let Ok(Some(shape)) = Shape::of(record, checked) else { return };
        self.learnt += 1;
        if self.known.len() < MAX_SHAPES {
            self.known.push(shape);
        } else if let Some(place) = self.known.get_mut(self.oldest) {
            *place = shape;
            self.oldest = (self.oldest + 1) % MAX_SHAPES;
        }
    }
}

impl Shape {
    /// That of a sound record; none if its time stands in several pieces.
    fn of(record: &[u8], checked: &CheckedRequest) -> Result<Option<Self>, WireError> {
        let mut shape = Self {
            flow: checked.flow,
            bare: checked.bare,
            mask: vec![0xff; record.len()],
            exponents: vec![0; record.len()],
            fixed: Vec::new(),
            seconds: 0..0,
            nanos: 0..0,
            doubles: Vec::new(),
            floats: Vec::new(),
        };
        let mut times = 0;
        for next in Fields::new(record) {
            let next = next?;
            let WireValue::Bytes(content) = next.value else { continue };
            let at = next.end - content.len();
            match next.number {
                field::TIMESTAMP => {
                    times += 1;
                    if times > 1 || !shape.time(content, at)? {
                        return Ok(None);
                    }
                }
                field::CHANNEL_VALUES => shape.value(content, at)?,
                _ => {}
            }
        }
        shape.fixed = record.iter().zip(&shape.mask).map(|(byte, mask)| byte & mask).collect();
        Ok(Some(shape))
    }

    /// Takes in a time whose content begins at `at`; returns whether each part stands there once at most.
    fn time(&mut self, content: &[u8], at: usize) -> Result<bool, WireError> {
        for part in Fields::new(content) {
            let part = part?;
            let place = match part.number {
                1 => &mut self.seconds,
                2 => &mut self.nanos,
                _ => continue,
            };
            if place.start < place.end {
                return Ok(false);
            }
            *place = number(&part, content, at);
            free_varint(&mut self.mask, place.clone());
        }
        Ok(true)
    }

    /// Takes in a value whose content begins at `at`. Where it has several parts, or is text, none of it is free.
    fn value(&mut self, content: &[u8], at: usize) -> Result<(), WireError> {
        let mut parts = Fields::new(content);
        let (Some(part), None) = (parts.next(), parts.next()) else { return Ok(()) };
        let part = part?;
        let range = match (part.number, part.value) {
            (2, WireValue::Fixed64(_)) => {
                self.doubles.push(at + part.end - 8);
                at + part.end - 8..at + part.end
            }
            (3, WireValue::Fixed32(_)) => {
                self.floats.push(at + part.end - 4);
                at + part.end - 4..at + part.end
            }
            (9 | 12, WireValue::Bytes(bytes)) => at + part.end - bytes.len()..at + part.end,
            (4..=8 | 10, WireValue::Varint(_)) => {
                free_varint(&mut self.mask, number(&part, content, at));
                return Ok(());
            }
            _ => return Ok(()),
        };
        if let (2 | 3, Some(exponent)) = (part.number, self.exponents.get_mut(range.end - 1)) {
            *exponent = EXPONENT;
        }
        if let Some(mask) = self.mask.get_mut(range) {
            mask.fill(FREE);
        }
        Ok(())
    }

    /// Whether the record is of this shape: `None` if not, otherwise whether some number of it may be NaN or infinite.
    #[inline]
    fn compare(&self, record: &[u8]) -> Option<bool> {
        if record.len() != self.mask.len() {
            return None;
        }
        // Without a way out in between, whole registers are compared.
        let bytes = record.iter().zip(self.mask.iter().zip(self.fixed.iter().zip(&self.exponents)));
        let (differ, large) = bytes.fold((0, 0), |(differ, large), (byte, (mask, (fixed, exponent)))| {
            let is_large = u8::from(byte & exponent == *exponent) & exponent;
            (differ | (byte & mask) ^ fixed, large | is_large)
        });
        (differ == 0).then_some(large != 0)
    }

    /// What a record of this shape says of itself.
    #[inline]
    fn learn(&self, record: &[u8], may_be_non_finite: bool) -> Option<CheckedRequest> {
        let (seconds, nanos) = (varint(record.get(self.seconds.clone())?), varint(record.get(self.nanos.clone())?));
        let non_finite = if may_be_non_finite { self.non_finite(record)? } else { 0 };
        let time = unix_ns(seconds as i64, nanos as i32);
        Some(CheckedRequest { flow: self.flow, time, bare: self.bare, non_finite })
    }

    /// Numbers of a record of this shape that are NaN or infinite.
    #[cold]
    fn non_finite(&self, record: &[u8]) -> Option<u64> {
        let mut non_finite = 0;
        for at in &self.doubles {
            let bits = u64::from_le_bytes(*record.get(*at..)?.first_chunk()?);
            non_finite += u64::from(!f64::from_bits(bits).is_finite());
        }
        for at in &self.floats {
            let bits = u32::from_le_bytes(*record.get(*at..)?.first_chunk()?);
            non_finite += u64::from(!f32::from_bits(bits).is_finite());
        }
        Some(non_finite)
    }
}

/// Where the varint of a field stands, whose message begins at `at`.
fn number(part: &Field<'_>, message: &[u8], at: usize) -> Range<usize> {
    let field = message.get(part.start..part.end).unwrap_or_default();
    // The tag is one, too.
    let tag = field.iter().take_while(|byte| **byte >= VARINT).count() + 1;
    at + part.start + tag..at + part.end
}

fn free_varint(mask: &mut [u8], range: Range<usize>) {
    for (index, byte) in mask.get_mut(range).unwrap_or_default().iter_mut().enumerate() {
        // The tenth byte holds one bit, and not any.
        if index < 9 {
            *byte = VARINT;
        }
    }
}

/// The value of a varint that is known to be one.
#[inline]
fn varint(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
    use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest as Request};
    use uuid::Uuid;

    use super::super::checker::Checker;
    use super::super::data_type::DataType;
    use super::super::flow_table::FlowTable;
    use super::super::schema::{Channel, FlowSchema};
    use super::*;

    const TYPES: [DataType; 12] = [
        DataType::Double,
        DataType::Float,
        DataType::Bool,
        DataType::Int32,
        DataType::Uint32,
        DataType::Int64,
        DataType::Uint64,
        DataType::Enum,
        DataType::BitField,
        DataType::Bytes,
        DataType::String,
        DataType::Double,
    ];

    fn flow(name: &str) -> FlowSchema {
        let element = |channel: Channel| channel.bits("bit", 0, 8);
        TYPES.iter().enumerate().fold(FlowSchema::new(name), |flow, (at, data_type)| {
            let channel = Channel::new(format!("channel {at}"), *data_type);
            let channel = match data_type {
                DataType::BitField => element(channel),
                DataType::Enum => channel.enum_value(0, "off"),
                _ => channel,
            };
            flow.channel(channel)
        })
    }

    /// A request with values of any size.
    fn request(random: &mut fastrand::Rng, flow: &str) -> Vec<u8> {
        let any = |random: &mut fastrand::Rng| random.u64(..) >> random.u32(0..64);
        let double = |random: &mut fastrand::Rng| match random.u8(0..8) {
            0 => f64::NAN,
            1 => f64::NEG_INFINITY,
            _ => f64::from_bits(random.u64(..)),
        };
        let values = [
            Type::Double(double(random)),
            Type::Float(double(random) as f32),
            Type::Bool(random.bool()),
            Type::Int32(any(random) as i32),
            Type::Uint32(any(random) as u32),
            Type::Int64(any(random) as i64),
            Type::Uint64(any(random)),
            Type::Enum(any(random) as u32),
            Type::BitField(vec![random.u8(..)]),
            Type::Bytes(random.u16(..).to_le_bytes().to_vec()),
            Type::String(["", "é", "on"][random.usize(0..3)].to_owned()),
            Type::Double(double(random)),
        ];
        let empty = || Type::Empty(pbjson_types::Empty {});
        let values = values.into_iter().map(|value| if random.u8(0..30) == 0 { empty() } else { value });
        let value = |value| IngestWithConfigDataChannelValue { r#type: Some(value) };
        let channel_values = values.collect::<Vec<_>>().into_iter().map(value).collect();
        let nanos = (any(random) % 1_000_000_000) as i32;
        let timestamp = Some(pbjson_types::Timestamp { seconds: any(random) as i64, nanos });
        let run_id = ["", "r"][usize::from(random.u8(0..9) == 0)].to_owned();
        Request { flow: flow.to_owned(), timestamp, channel_values, run_id, ..Default::default() }.encode_to_vec()
    }

    /// The same, changed a little.
    fn changed(random: &mut fastrand::Rng, mut request: Vec<u8>) -> Vec<u8> {
        match random.u8(0..8) {
            0 => request.truncate(random.usize(0..request.len())),
            1 => request.extend_from_slice(&[random.u8(..), 0]),
            _ => {
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(0..request.len());
                    request[at] ^= 1 << random.u8(0..8);
                }
            }
        }
        request
    }

    #[test]
    fn what_has_been_met_before_is_found_to_be_what_reading_it_finds() {
        let mut random = fastrand::Rng::with_seed(3);
        let flows = ["a", "b"].map(|name| flow(name).0);
        let table = FlowTable::new(Uuid::nil(), &flows);
        let mut checker = Checker::new();
        flows.iter().for_each(|flow| checker.add(flow).unwrap());
        // Few enough for all to be like one met before, sooner or later.
        let pool: Vec<_> = (0..8).map(|at| request(&mut random, ["a", "b"][at % 2])).collect();
        let (mut sound, mut unsound) = (0, 0);
        for _ in 0..20_000 {
            let mut request = pool[random.usize(0..pool.len())].clone();
            if random.bool() {
                request = changed(&mut random, request);
            }
            match (checker.check(&request), table.check_request(&request)) {
                (Ok(found), Ok(read)) => {
                    assert_eq!(found, read, "{request:x?}");
                    sound += 1;
                }
                (Err(_), Err(_)) => unsound += 1,
                (found, read) => panic!("{found:?}, {read:?}: {request:x?}"),
            }
        }
        assert!(sound > 4000 && unsound > 2000, "{sound} {unsound}");
        assert!(checker.shapes().met > 4000, "{:?}", checker.shapes());
    }

    #[test]
    fn where_no_two_are_alike_nothing_more_is_learnt_soon() {
        let mut random = fastrand::Rng::with_seed(4);
        let mut checker = Checker::new();
        checker.add(&flow("a").0).unwrap();
        for _ in 0..10_000 {
            checker.check(&request(&mut random, "a")).unwrap();
        }
        let shapes = checker.shapes();
        assert!(shapes.learnt <= LEARNING + shapes.met + 1 && shapes.known.len() == MAX_SHAPES, "{}", shapes.learnt);
    }

    #[test]
    fn a_flow_that_is_added_is_looked_for_also_in_records_like_those_before() {
        let mut checker = Checker::new();
        let one = |data_type| FlowSchema::new("a").channel(Channel::new("x", data_type)).0;
        checker.add(&one(DataType::Double)).unwrap();
        let value = IngestWithConfigDataChannelValue { r#type: Some(Type::Empty(pbjson_types::Empty {})) };
        let timestamp = Some(pbjson_types::Timestamp { seconds: 1, nanos: 0 });
        let request = Request { flow: "a".to_owned(), timestamp, channel_values: vec![value], ..Default::default() };
        let request = request.encode_to_vec();
        let flows = |checker: &mut Checker| [(); 2].map(|()| checker.check(&request).unwrap().flow);
        assert_eq!(flows(&mut checker), [0, 0]);
        checker.add(&one(DataType::Float)).unwrap();
        assert_eq!(flows(&mut checker), [1, 1], "the latest that fits");
    }
}
