//! All interleavings with few preemptions, each once. Nearly every bug of threads shows with one or two: a thread is stopped
//! at just the wrong place, and all others go on as far as they can. Who waits, and who ends, lets any other go on, which
//! costs nothing.

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

/// One place where there was a choice.
#[derive(Debug)]
struct Branch {
    taken: usize,
    ways: usize,
}

/// Goes through them depth first.
#[derive(Debug)]
pub(crate) struct Bounded {
    most_preemptions: u32,
    preemptions: u32,
    branches: Vec<Branch>,
    /// Choices made so far in this session.
    at: usize,
    begun: bool,
}

impl Bounded {
    pub(crate) fn new(most_preemptions: u32) -> Self {
        Self { most_preemptions, preemptions: 0, branches: Vec::new(), at: 0, begun: false }
    }

    fn choose(&mut self, ways: usize) -> usize {
        if ways == 1 {
            return 0;
        }
        if self.at == self.branches.len() {
            self.branches.push(Branch { taken: 0, ways });
        }
        let branch = &self.branches[self.at];
        assert_eq!(branch.ways, ways, "a session that is repeated takes another course");
        self.at += 1;
        branch.taken
    }
}

impl Scheduler for Bounded {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.begun {
            while self.branches.last().is_some_and(|last| last.taken + 1 == last.ways) {
                self.branches.pop();
            }
            self.branches.last_mut()?.taken += 1;
        }
        (self.begun, self.at, self.preemptions) = (true, 0, 0);
        Some(Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        let mut others: Vec<_> = runnable.iter().map(|task| task.id()).filter(|id| Some(*id) != current).collect();
        let goes_on = current.filter(|_| others.len() < runnable.len());
        match goes_on {
            Some(current) if yields && others.is_empty() => return Some(current),
            Some(current) if !yields => {
                if self.preemptions == self.most_preemptions {
                    return Some(current);
                }
                others.insert(0, current);
            }
            _ => {}
        }
        let next = others[self.choose(others.len())];
        if !yields && goes_on.is_some_and(|current| current != next) {
            self.preemptions += 1;
        }
        Some(next)
    }

    fn next_u64(&mut self) -> u64 {
        self.choose(2) as u64
    }
}
