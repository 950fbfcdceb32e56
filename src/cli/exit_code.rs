//! Maps each cause of a failed command to the exit code of the process.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | success |
//! | 1 | failure |
//! | 2 | usage or config error |
//! | 3 | not found |
//! | 4 | server, data file or Meta unreachable |
//! | 5 | disk not trusted |
//! | 6 | data file damaged |

use std::io;
use std::path::PathBuf;

use super::bench::BenchError;
use super::commands::flows::FlowJsonCheckError;
use super::commands::init::{InitError, InitFileError};
use super::commands::keys::{KeysError, MetaKeyError};
use super::commands::try_submission::TryError;
use super::confirmation::ConfirmationError;
use super::demo::DemoError;
use super::flow_arg::FlowArgError;
use super::flow_client::FlowClientError;
use super::graph_api::GraphApiError;
use super::meta_client::MetaClientError;
use crate::admin::{AdminError, ErrorCode};
use crate::backup::BackupError;
use crate::bootstrap::error::{ServeError, StartupErrors};
use crate::config::ConfigError;

/// Cause of a failed command. The module that causes an error also writes its message. This file
/// maps each error to an exit code.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Try(#[from] TryError),
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error("the server can't start with {}:\n{errors}", file.display())]
    UnresolvedConfig {
        file: PathBuf,
        errors: StartupErrors,
    },
    #[error(transparent)]
    Confirmation(#[from] ConfirmationError),
    #[error(transparent)]
    FlowCheck(#[from] FlowJsonCheckError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Init(#[from] InitError),
    #[error("{0} warnings need somebody: see the lines with `!`, or the field `warnings`")]
    StatusWarnings(usize),
    #[error("{0} checks are wrong: each line says what to do")]
    DoctorFindings(usize),
    #[error("the verification of the data file found discrepancies: see the report above")]
    VerificationFailed,
    #[error("this machine is not fast enough: see the report")]
    TooSlow,
    #[error("can't write the output: {0}")]
    Print(#[from] io::Error),
}

impl CliError {
    /// Returns the exit code of the process.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Admin(error)
            | Self::Try(
                TryError::Admin(error) | TryError::FlowClient(FlowClientError::Admin(error)),
            ) => admin_exit_code(error.code),
            Self::Serve(error) => serve_exit_code(error),
            Self::Backup(error) => backup_exit_code(error),
            Self::Try(
                TryError::NotRunning(_)
                | TryError::Send(MetaClientError::NotListening { .. })
                | TryError::FlowClient(FlowClientError::Send(MetaClientError::NotListening {
                    ..
                })),
            )
            | Self::FlowCheck(FlowJsonCheckError::Read { .. }) => 4,
            Self::Keys(KeysError::Meta(error)) => meta_key_exit_code(error),
            Self::Keys(KeysError::NoFlow(_))
            | Self::FlowCheck(FlowJsonCheckError::FlowArg(FlowArgError::Unknown { .. })) => 3,
            Self::FlowCheck(
                FlowJsonCheckError::Config(_)
                | FlowJsonCheckError::FlowArg(_)
                | FlowJsonCheckError::TooLarge(_)
                | FlowJsonCheckError::NotFlowJson { .. },
            )
            | Self::Keys(KeysError::Config(_) | KeysError::FlowKey(_))
            | Self::Config(_)
            | Self::Bench(BenchError::Config(_) | BenchError::NoFolder(_))
            | Self::Init(
                InitError::Answer(_)
                | InitError::Config(_)
                | InitError::File(InitFileError::Exist(_)),
            )
            | Self::UnresolvedConfig { .. }
            | Self::Confirmation(ConfirmationError::NoTerminal(_))
            | Self::Try(TryError::FlowArg(_) | TryError::NoSample { .. }) => 2,
            Self::FlowCheck(_)
            | Self::Keys(_)
            | Self::Try(_)
            | Self::Demo(_)
            | Self::Bench(_)
            | Self::TooSlow
            | Self::Init(_)
            | Self::StatusWarnings(_)
            | Self::DoctorFindings(_)
            | Self::VerificationFailed
            | Self::Confirmation(_)
            | Self::Print(_) => 1,
        }
    }

    /// Returns `true` if the command succeeded and only the reader of its output has closed the
    /// pipe (`| head`).
    ///
    /// A broken pipe of the command's own work, for example of a confirmation, does not count.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Print(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn backup_exit_code(error: &BackupError) -> u8 {
    match error {
        BackupError::Store(error) => admin_exit_code(ErrorCode::from(error)),
        BackupError::Exists(_)
        | BackupError::DataFileExists(_)
        | BackupError::OneMoment(_)
        | BackupError::NotFollowing(_)
        | BackupError::NoCredentials { .. }
        | BackupError::Secret(_) => 2,
        BackupError::NoBackup(_) | BackupError::NoBase { .. } => 3,
        BackupError::File { .. }
        | BackupError::Remote { .. }
        | BackupError::UnknownFormat(_)
        | BackupError::Net(_) => 4,
        BackupError::DamagedObject(_) | BackupError::Gap { .. } => 6,
        BackupError::Incomplete | BackupError::NoFollowedFile { .. } => 1,
    }
}

const fn admin_exit_code(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::Failed | ErrorCode::Forbidden => 1,
        ErrorCode::Invalid => 2,
        ErrorCode::NotFound => 3,
        ErrorCode::Unreachable | ErrorCode::Busy => 4,
        ErrorCode::Untrusted => 5,
        ErrorCode::Damaged => 6,
    }
}

fn meta_key_exit_code(error: &MetaKeyError) -> u8 {
    match error {
        MetaKeyError::Failed(failed) if failed.iter().any(|(_, error)| error.is_unreachable()) => 4,
        MetaKeyError::Failed(_) | MetaKeyError::FormsFail(_) | MetaKeyError::Io(_) => 1,
        MetaKeyError::Graph(error) if !matches!(error, GraphApiError::BadToken) => 1,
        _ => 2,
    }
}

fn serve_exit_code(error: &ServeError) -> u8 {
    match error {
        ServeError::Store(error) => admin_exit_code(ErrorCode::from(error)),
        ServeError::InUse(_) => admin_exit_code(ErrorCode::Busy),
        ServeError::Config(_) | ServeError::Startup(_) => 2,
        ServeError::Backup(error) => backup_exit_code(error),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_broken_output_pipe_is_success() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(CliError::Print(closed()).is_closed_pipe());
        for error in [
            CliError::Print(io::ErrorKind::StorageFull.into()),
            CliError::Confirmation(ConfirmationError::Io(closed())),
            CliError::Try(TryError::FlowClient(FlowClientError::Io(closed()))),
            CliError::Keys(KeysError::Meta(MetaKeyError::Io(closed()))),
            CliError::VerificationFailed,
        ] {
            assert!(!error.is_closed_pipe() && error.exit_code() == 1, "{error}");
        }
    }

    #[test]
    fn data_file_error_has_one_exit_code() {
        use crate::store::{RowProblem, StoreError};
        let file = || PathBuf::from("flowgate.redb");
        let row = StoreError::Row {
            table: "jobs",
            key: "1".to_owned(),
            problem: RowProblem::Truncated,
        };
        let foreign = StoreError::NotADataFile {
            path: file(),
            reason: String::new(),
        };
        for (error, code) in [
            (StoreError::Damaged(String::new()), 6),
            (StoreError::Untrusted(String::new()), 5),
            (StoreError::InUse(file()), 4),
            (foreign, 4),
            (StoreError::NotOpen, 4),
            (StoreError::SecretMissing(file()), 2),
            (StoreError::NoSpace, 1),
            (row, 1),
        ] {
            let served = CliError::Serve(error.clone().into());
            let answered = CliError::Admin(error.clone().into());
            let codes = [served.exit_code(), answered.exit_code()];
            assert_eq!(codes, [code; 2], "{error}");
        }
    }
}
