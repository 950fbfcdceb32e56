//! Defines the errors of `flowgate try`.

use std::io;

use serde_json::Value;

use crate::admin::AdminError;
use crate::cli::flow_arg::FlowArgError;
use crate::cli::flow_client::FlowClientError;
use crate::cli::meta_client::MetaClientError;
use crate::domain::ids::{CalendarName, JobId};
use crate::intake::InvalidKey;

/// Errors of `flowgate try`.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// No server runs on the data file of the config. The text is its path.
    #[error("no server runs for data file {0}: start one with `flowgate serve`")]
    NotRunning(String),
    /// The flow is unknown, or the command must name one.
    #[error(transparent)]
    FlowArg(#[from] FlowArgError),
    /// The calendar has no free slot.
    #[error("calendar {0} has no free slot: `flowgate slots --calendar {0}` shows what is taken")]
    NoSlot(CalendarName),
    /// No sample value can be generated for a field.
    #[error(
        "no sample value can be generated for the pattern of field {name}, \"{pattern}\": pass a value with --data '{example}'"
    )]
    NoSample {
        /// Field name.
        name: String,
        /// Pattern of the field.
        pattern: String,
        /// Example of `--data` for the field.
        example: Value,
    },
    /// The public key of the flow can't be used to encrypt requests.
    #[error("the server's key for the flow can't be used: {0}")]
    FlowKey(#[from] InvalidKey),
    /// The simulated client could not complete the encrypted flow.
    #[error(transparent)]
    FlowClient(#[from] FlowClientError),
    /// The HTTP listener sent no response.
    #[error(transparent)]
    Send(#[from] MetaClientError),
    /// The admin socket returned an error.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The server responded, but did not accept the form. The text is its response.
    #[error("the form was not accepted: {0}")]
    NotAccepted(String),
    /// The job did not finish within 15 s and continues. The value is the job ID.
    #[error("job {0} did not finish within 15 s: `flowgate jobs show {0}` shows its state")]
    JobNotFinished(JobId),
    /// Standard output can't be written, or the system has no threads left.
    #[error("{0}")]
    Io(#[from] io::Error),
}
