//! Looks into directories again and again, whenever something may have changed there.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::scope::spawn_blocking;
use super::watch::Watch;
use crate::catalog::{Catalog, CatalogCache};

/// Searches of the same paths, one after the other.
#[derive(Debug)]
pub(super) struct Searches {
    paths: Vec<PathBuf>,
    watch: Watch,
    cache: CatalogCache,
    /// A search that isn't finished.
    running: Option<JoinHandle<(Catalog, CatalogCache)>>,
}

impl Searches {
    /// From now on no change of `paths` is missed; they are searched after `rescan` in any case.
    pub(super) fn new(paths: Vec<PathBuf>, rescan: Duration) -> Self {
        Self { watch: Watch::new(&paths, rescan), paths, cache: CatalogCache::new(), running: None }
    }

    /// Waits until there may be something new, and looks. Nothing is lost if it is dropped and called again.
    pub(super) async fn next(&mut self) -> Catalog {
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                self.watch.changed().await;
                tracing::debug!("searching for recordings");
                let (paths, mut cache) = (self.paths.clone(), std::mem::take(&mut self.cache));
                // Drives may be slow.
                self.running.insert(spawn_blocking(move || (cache.scan_existing(&paths), cache)))
            }
        };
        let searched = running.await;
        self.running = None;
        match searched {
            Ok((catalog, cache)) => {
                self.cache = cache;
                catalog
            }
            // It panicked, which is a bug: let it be seen.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_nobody_waited_for_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut searches = Searches::new(vec![dir.path().to_owned()], Duration::from_secs(3600));
            std::fs::write(dir.path().join("file"), "x").unwrap();
            // Given up whenever it has to wait; there is no second event that could make up for it.
            let found = async {
                loop {
                    if let Ok(catalog) = tokio::time::timeout(Duration::ZERO, searches.next()).await {
                        break catalog;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let found = tokio::time::timeout(Duration::from_secs(60), found).await;
            assert_eq!(found.unwrap().ignored.len(), 1);
        });
    }
}
