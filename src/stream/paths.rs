//! The official crate's module paths, for programs that import by them.

/// What is in `sift_stream::backup`.
pub mod backup {
    pub use crate::stream::policy::DiskBackupPolicy;

    /// What is in `sift_stream::backup::disk`.
    pub mod disk {
        pub use crate::stream::policy::{DiskBackupPolicy, RollingFilePolicy};
    }
}

/// What is in `sift_stream::stream`.
pub mod stream {
    pub use crate::stream::{
        AutoRegisterSendError, AutoRegisterStream, Encodeable, RetryPolicy, SendError, SiftStream,
        SiftStreamAutoRegister, SiftStreamSendError, SiftStreamTrySendError, Transport, TrySendError,
    };

    /// What is in `sift_stream::stream::auto_register`.
    pub mod auto_register {
        pub use crate::stream::{AutoRegisterSendError, AutoRegisterStream, SiftStreamAutoRegister};
    }

    /// What is in `sift_stream::stream::builder`.
    pub mod builder {
        pub use crate::stream::{
            DEFAULT_CHECKPOINT_INTERVAL, DEFAULT_METRICS_STREAMING_INTERVAL, FileBackupBuilder, IngestionConfigForm,
            LiveOnlyBuilder, LiveWithBackupsBuilder, RunForm, SiftStreamBuilder, StreamConfigBuilder,
        };
    }

    /// What is in `sift_stream::stream::channel`.
    pub mod channel {
        pub use crate::stream::{ChannelBytes, ChannelEnum, ChannelValue, Value};
    }

    /// What is in `sift_stream::stream::mode`.
    pub mod mode {
        /// What is in `sift_stream::stream::mode::file_backup`.
        pub mod file_backup {
            pub use crate::stream::FileBackup;
        }

        /// What is in `sift_stream::stream::mode::ingestion_config`.
        pub mod ingestion_config {
            pub use crate::stream::{Flow, IngestionConfigEncoder};
        }

        /// What is in `sift_stream::stream::mode::live_only`.
        pub mod live_only {
            pub use crate::stream::LiveStreamingOnly;
        }

        /// What is in `sift_stream::stream::mode::live_with_backups`.
        pub mod live_with_backups {
            pub use crate::stream::LiveStreamingWithBackups;
        }
    }

    /// What is in `sift_stream::stream::retry`.
    pub mod retry {
        pub use crate::stream::RetryPolicy;
    }

    /// What is in `sift_stream::stream::run`.
    pub mod run {
        pub use crate::stream::RunSelector;
    }

    /// What is in `sift_stream::stream::send_error`.
    pub mod send_error {
        pub use crate::stream::{SendError, SiftStreamSendError, SiftStreamTrySendError, TrySendError};
    }

    /// What is in `sift_stream::stream::time`.
    pub mod time {
        pub use crate::stream::TimeValue;
    }
}
