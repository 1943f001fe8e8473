//! One window on its way: delivered, what is refused kept, what is acknowledged saved.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::FuturesUnordered;

use super::added::Added;
use crate::format::AddedFlows;
use crate::replay::checkpoint::{Checkpoint, StateError};
use crate::replay::context::{Context, DeadLetter};
use crate::replay::dead_letter::RefusedRecord;
use crate::replay::deliver::{Delivered, Delivery, RefusedMessage};
use crate::replay::options::OnReject;
use crate::replay::plan::Job;
use crate::replay::retry::Stop;
use crate::replay::target::{Subject, Target};
use crate::replay::window::Window;
use crate::segment::SegmentError;

/// What a window in flight comes to, step by step.
pub(super) enum Step {
    /// The destination has answered.
    Delivered(u64, Box<Delivered>),
    /// What it acknowledged is saved, or can't be.
    Saved(Vec<Delivered>, Vec<Checkpoint>, Result<(), StateError>),
}

pub(super) type Steps<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Step> + Send + 'a>>>;

/// What a window in flight needs to know.
pub(super) struct Flight<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) job: &'a Job,
    pub(super) delivery: &'a Delivery,
    pub(super) subject: Option<Subject>,
    pub(super) target: &'a Target,
    pub(super) added_flows: Arc<Mutex<Added>>,
}

impl Flight<'_> {
    /// Delivers a window; what is refused is durably kept when this returns.
    pub(super) async fn deliver(&self, number: u64, window: Window) -> Step {
        let context = self.context;
        let mut delivered = self.delivery.deliver(context, self.job.origin(), window).await;
        let keeps = self.context.options.on_reject == OnReject::DeadLetter && self.context.state.dead_letters.is_some();
        let mut kept = Vec::new();
        for (reason, refused) in by_reason(std::mem::take(&mut delivered.refused)) {
            if !keeps {
                delivered.left_out.push((reason, refused.len() as u64));
            } else if let Err(error) = self.keep(&reason, &refused).await {
                let text = format!("dead letters can't be kept: {error}. Free some space, or name another --state-dir");
                delivered.stop = Some(Stop::Here(text));
            } else {
                kept.extend(refused);
            }
        }
        // They are kept elsewhere now.
        kept.iter_mut().for_each(|refused| refused.message.bytes.clear());
        delivered.refused = kept;
        delivered.window.give_up_messages();
        Step::Delivered(number, Box::new(delivered))
    }

    async fn keep(&self, reason: &str, refused: &[RefusedMessage]) -> Result<(), SegmentError> {
        let Some(subject) = self.subject else { return Ok(()) };
        let record = |refused: &RefusedMessage| RefusedRecord {
            seq: refused.message.seq,
            bytes: refused.message.record(&self.delivery.outgoing),
        };
        let letter = DeadLetter {
            target: self.target.clone(),
            subject,
            requests: self.job.requests().map(|requests| self.added_flows().with(requests)),
            reason: reason.to_owned(),
            records: refused.iter().map(record).collect(),
        };
        let origin = match self.job {
            Job::Session(_) => None,
            Job::Pbfs(file) => Some(&*file.path),
        };
        self.context.keep(letter, origin).await
    }

    pub(super) fn add_flows(&self, added: &AddedFlows) {
        self.added_flows().add(added);
    }

    fn added_flows(&self) -> MutexGuard<'_, Added> {
        self.added_flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn save(&self, delivered: Vec<Delivered>, checkpoints: Vec<Checkpoint>) -> Step {
        let saved = self.context.state.checkpoints.save(self.target, checkpoints.clone()).await;
        Step::Saved(delivered, checkpoints, saved)
    }
}

/// Refused records, those of one reason together, in order.
fn by_reason(mut refused: Vec<RefusedMessage>) -> BTreeMap<String, Vec<RefusedMessage>> {
    refused.sort_by_key(|refused| refused.message.seq);
    let mut groups: BTreeMap<String, Vec<RefusedMessage>> = BTreeMap::new();
    for refused in refused {
        groups.entry(refused.reason.clone()).or_default().push(refused);
    }
    groups
}
