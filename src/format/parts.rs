//! Bounding what a message takes in memory before it is decoded: a part that has two bytes in a file can have a hundred
//! there ([F-14]).

use prost::Message;

use super::limits::MAX_MESSAGE_PARTS;
use super::message::{AddedFlows, FlowConfig, IngestionConfig, MarkMessage, Run, Seal, SegmentHeader};
use super::wire::{Fields, WireValue};

/// Fields that hold parts (messages, or what is repeated), each with those in it.
type Shape = &'static [(u32, Parts)];

/// What is in a part.
#[derive(Clone, Copy)]
struct Parts(Shape);

const NO_PARTS: Parts = Parts(&[]);
const CHANNEL: Parts = Parts(&[(5, NO_PARTS), (6, NO_PARTS)]);
const FLOW: Parts = Parts(&[(2, CHANNEL)]);

/// A message whose parts are counted before it is decoded.
pub trait Bounded: Message + Default {
    /// Decodes; `None` if these bytes aren't such a message, or one of more than [`MAX_MESSAGE_PARTS`] parts.
    fn decode_bounded(bytes: &[u8]) -> Option<Self> {
        Self::is_bounded(bytes).then(|| Self::decode(bytes).ok()).flatten()
    }

    /// Whether these bytes are fields, and have no more than [`MAX_MESSAGE_PARTS`] parts. Takes no memory.
    fn is_bounded(bytes: &[u8]) -> bool;
}

macro_rules! bounded {
    ($($message:ty: $shape:expr;)*) => {
        $(impl Bounded for $message {
            fn is_bounded(bytes: &[u8]) -> bool {
                const PARTS: Parts = Parts($shape);
                count(bytes, PARTS, MAX_MESSAGE_PARTS).is_some()
            }
        })*
    };
}

bounded! {
    // What it holds of Sift's is bytes to it.
    SegmentHeader: &[];
    Seal: &[(1, NO_PARTS), (6, NO_PARTS), (7, NO_PARTS)];
    AddedFlows: &[(2, FLOW)];
    IngestionConfig: &[(2, FLOW)];
    FlowConfig: &[(2, CHANNEL)];
    Run: &[(3, NO_PARTS)];
    MarkMessage: &[(2, NO_PARTS), (3, NO_PARTS), (5, NO_PARTS), (6, NO_PARTS), (7, Parts(&[(6, NO_PARTS)]))];
}

/// How many parts are left of `most`; `None` if there are more, or if these aren't fields.
fn count(bytes: &[u8], parts: Parts, most: usize) -> Option<usize> {
    let mut left = most;
    for field in Fields::new(bytes) {
        let field = field.ok()?;
        let Some((_, within)) = parts.0.iter().find(|(number, _)| *number == field.number) else { continue };
        left = left.checked_sub(1)?;
        if let WireValue::Bytes(bytes) = field.value
            && !within.0.is_empty()
        {
            left = count(bytes, *within, left)?;
        }
    }
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{ChannelConfig, EnumType, put_bytes_field};

    fn config(channels: usize, enums: usize) -> Vec<u8> {
        let channel = ChannelConfig { enum_types: vec![EnumType::default(); enums], ..Default::default() };
        let flow = FlowConfig { name: "f".to_owned(), channels: vec![channel; channels] };
        IngestionConfig { flows: vec![flow], ..Default::default() }.encode_to_vec()
    }

    /// [F-14]
    #[test]
    fn parts_are_counted_at_every_depth() {
        let parts = |bytes: &[u8]| count(bytes, Parts(&[(2, FLOW)]), 1000).map(|left| 1000 - left);
        assert_eq!(parts(&config(0, 0)), Some(1));
        assert_eq!(parts(&config(7, 0)), Some(8));
        assert_eq!(parts(&config(7, 3)), Some(1 + 7 * 4));
        assert_eq!(parts(&config(249, 3)), Some(997));
        assert_eq!(parts(&config(250, 3)), None);
        assert_eq!(parts(&[0x12]), None, "cut off");
    }

    #[test]
    fn a_message_of_a_million_parts_is_decoded_and_one_of_more_is_not() {
        let mut seal = [0x3a, 0].repeat(MAX_MESSAGE_PARTS);
        assert_eq!(Seal::decode_bounded(&seal).unwrap().index.len(), MAX_MESSAGE_PARTS);
        put_bytes_field(&mut seal, 6, b"");
        assert_eq!(Seal::decode_bounded(&seal), None);
        // To HEADER, a config is bytes.
        let mut header = Vec::new();
        put_bytes_field(&mut header, 10, &[0x12, 0].repeat(MAX_MESSAGE_PARTS + 1));
        let header = SegmentHeader::decode_bounded(&header).unwrap();
        assert!(!IngestionConfig::is_bounded(&header.ingestion_config));
    }
}
