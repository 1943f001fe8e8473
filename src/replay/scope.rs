//! What other threads log belongs to whoever gave them their work.

use tokio::task::JoinHandle;
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;

/// Work that logs where the caller does, whichever thread does it.
pub(crate) fn in_scope<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let scope = Scope::here();
    move || scope.within(work)
}

/// [`tokio::task::spawn_blocking`], in the caller's scope.
pub(crate) fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(in_scope(work))
}

/// To whom is logged.
#[derive(Debug, Clone)]
pub(super) struct Scope(Option<Dispatch>);

impl Scope {
    /// To whom is logged here. Nobody isn't kept: somebody may come.
    pub(super) fn here() -> Self {
        Self(Some(Dispatch::default()).filter(|dispatch| !dispatch.is::<NoSubscriber>()))
    }

    pub(super) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(dispatch) => tracing::dispatcher::with_default(dispatch, work),
            None => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// Notes what is logged, and by which thread.
    #[derive(Clone, Default)]
    struct Noting(Arc<Mutex<Vec<std::thread::ThreadId>>>);

    impl Subscriber for Noting {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            // Other tests may log in this process, but not here.
            assert_eq!(event.metadata().target(), module_path!());
            self.0.lock().unwrap().push(std::thread::current().id());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn another_thread_logs_to_whom_its_work_was_given_by() {
        let noting = Noting::default();
        let work = || {
            tracing::info!("work");
            std::thread::current().id()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let threads = tracing::subscriber::with_default(noting.clone(), || {
            let plain = std::thread::spawn(in_scope(work)).join().unwrap();
            [plain, runtime.block_on(async { spawn_blocking(work).await.unwrap() })]
        });
        let elsewhere = std::thread::spawn(in_scope(work)).join().unwrap();
        assert_eq!(*noting.0.lock().unwrap(), threads);
        assert!(!threads.contains(&std::thread::current().id()) && elsewhere != threads[0]);
    }
}
