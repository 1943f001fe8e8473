//! Delivers what somebody else has made ready: windows that were sent as they were filled, and that failed.

use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;

use super::context::{Context, State};
use super::deliver::Delivery;
use super::lane::Lanes;
use super::observe::{Observer, Origin};
use super::options::ReplayOptions;
use super::outgoing::Outgoing;
use super::window::Window;

/// Sends windows until all of each is settled; retries and refusals are the replay's own.
pub(crate) struct Courier<'a> {
    context: Context<'a>,
    delivery: Delivery,
}

/// What became of a window.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Seqs that the destination has acknowledged.
    pub(crate) acknowledged: Vec<Range<u64>>,
    /// Seqs that it refuses, and why.
    pub(crate) refused: Vec<(u64, String)>,
    /// Why the rest isn't delivered, and no further window will be.
    pub(crate) stop: Option<String>,
}

impl<'a> Courier<'a> {
    /// Over `lanes`. Nothing is kept beyond this process. `fresh`: the ingestion config or the run was made just now.
    pub(crate) fn new(
        lanes: &'a Lanes,
        nothing_kept: &'a State,
        options: &'a ReplayOptions,
        observer: &'a dyn Observer,
        fresh: bool,
    ) -> Self {
        // Ids are in the messages already, and so is what Sift is told to do with misfits.
        let delivery = Delivery::new(Outgoing::default(), fresh, false);
        Self { context: Context::new(lanes, nothing_kept, options, observer, (1, 1)), delivery }
    }

    /// Delivers the messages of `stream` that have these seqs, or as many as can be; `buffers` hold them whole, with their
    /// gRPC prefixes.
    pub(crate) async fn deliver(&self, stream: Uuid, seqs: Range<u64>, buffers: Vec<Bytes>) -> Settled {
        let bytes = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        let records = seqs.end - seqs.start;
        let window = Window { buffers, records, bytes, seqs: vec![seqs], ..Window::default() };
        let delivered = self.delivery.deliver(&self.context, Origin::Session(stream), window).await;
        let refused = delivered.refused.into_iter().map(|refused| (refused.message.seq, refused.reason));
        Settled {
            acknowledged: delivered.acknowledged,
            refused: refused.collect(),
            stop: delivered.stop.map(|stop| stop.to_string()),
        }
    }
}
