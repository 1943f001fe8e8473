//! The seam to whatever keeps the records.

use sift_rs::{ingestion_configs::v2::CreateIngestionConfigRequest, runs::v2::CreateRunRequest};

/// What a record belongs to: one ingestion config and, optionally, one run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// The id of the ingestion config, as this receiver gave it out.
    pub ingestion_config_id: String,
    /// The id of the run; empty if the records belong to none.
    pub run_id: String,
}

/// Why records could not be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no room. Clients are told to come back later.
    #[error("no room to store: {0}; free space where the receiver records to")]
    Full(String),
    /// The store has been shut down. Clients are told to come back later.
    #[error("the store is closed; start the receiver again")]
    Closed,
    /// Storing failed; nothing is promised about records not flushed before.
    #[error("storing failed: {0}; look at the disk that the receiver records to")]
    Failed(String),
}

/// Keeps records. The receiver calls it from threads that may block, for several streams at once;
/// per key, `open` comes before the first `record`.
pub trait Store: Send + Sync + 'static {
    /// Called before the first record of a key, and again when flows were added.
    ///
    /// `config` holds all flows known so far (never fewer than in an earlier call); `run` is the
    /// request that made the run, with later updates of its name, description, tags, metadata and
    /// client key applied.
    ///
    /// # Errors
    /// An error fails the stream that needed the key; the next one tries again.
    fn open(
        &self,
        key: &SessionKey,
        config: &CreateIngestionConfigRequest,
        run: Option<&CreateRunRequest>,
    ) -> Result<(), StoreError>;

    /// Appends one valid request: exactly the bytes received, without fields 1, 5, 6 and 7 (the
    /// ids and directives that belong to the transport). May wait for room.
    ///
    /// # Errors
    /// An error fails the stream; none of its requests is acknowledged.
    fn record(&self, key: &SessionKey, request: &[u8]) -> Result<(), StoreError>;

    /// Returns when all that was recorded before under these keys is on stable storage.
    ///
    /// # Errors
    /// An error fails the stream; none of its requests is acknowledged.
    fn flush(&self, keys: &[SessionKey]) -> Result<(), StoreError>;
}
