//! Building a stream that only records, for programs that have no credentials at all.

use super::file_backup::FileBackupBuilder;
use super::forms::{IngestionConfigForm, RunForm, RunSelector};

/// The first step without credentials.
#[derive(Debug, Clone, Copy, Default)]
pub struct OfflineStreamBuilder(());

impl OfflineStreamBuilder {
    /// The asset, the client key and the flows.
    pub fn ingestion_config(self, form: IngestionConfigForm) -> OfflineConfigBuilder {
        OfflineConfigBuilder { form, run: None, run_id: None }
    }
}

/// The second step without credentials.
#[derive(Debug, Clone)]
pub struct OfflineConfigBuilder {
    form: IngestionConfigForm,
    run: Option<RunForm>,
    run_id: Option<String>,
}

impl OfflineConfigBuilder {
    /// What is recorded goes into the run of this form, which is found or created when it is replayed. A run's id wins
    /// over a form.
    pub fn attach_run(mut self, run: RunForm) -> Self {
        self.run = Some(run);
        self
    }

    /// What is recorded goes into the run with this id.
    pub fn attach_run_id(mut self, run_id: &str) -> Self {
        self.run_id = Some(run_id.to_owned());
        self
    }

    /// Records only.
    pub fn file_backup(self) -> FileBackupBuilder {
        let by_id = self.run_id.map(RunSelector::ById);
        FileBackupBuilder::new(self.form, by_id.or_else(|| self.run.map(RunSelector::ByForm)))
    }
}
