//! Defines the subcommands of the command line, one file each: the arguments, the admin request
//! that they become, and the output format of the response.

pub mod agents;
pub mod bookings;
pub mod check;
pub(crate) mod compact;
pub mod dead_letters;
pub mod deliveries;
pub mod destinations;
pub mod drafts;
pub mod flows;
pub mod gateways;
pub mod jobs;
pub mod keys;
pub mod leads;
pub mod reload;
pub mod slots;
pub mod status;
pub mod submissions;
pub mod try_submission;

use super::output::OutputFormat;
use crate::admin::AdminRequest;

/// An admin request with the output format of its response.
#[derive(Debug)]
pub struct AdminCall {
    /// Request to the admin handler.
    pub request: AdminRequest,
    /// Output format of the rows of the response.
    pub format: OutputFormat,
}

impl AdminCall {
    /// Creates a call whose response is a single object.
    #[must_use]
    pub const fn single(request: AdminRequest) -> Self {
        Self {
            request,
            format: OutputFormat::Record,
        }
    }
}
