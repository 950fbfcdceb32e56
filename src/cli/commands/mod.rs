//! Defines the subcommands of the command line, one file each: the arguments, the admin request
//! that they become, and the output format of the response.

pub(crate) mod admin;
pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bookings;
pub(crate) mod calendars;
pub(crate) mod check;
pub(crate) mod compact;
pub(crate) mod customers;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod destinations;
pub(crate) mod doctor;
pub(crate) mod drafts;
pub(crate) mod export;
pub(crate) mod flows;
pub(crate) mod follow;
pub(crate) mod forget;
pub(crate) mod gateways;
pub(crate) mod healthcheck;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod leads;
pub(crate) mod list;
pub(crate) mod log_level;
pub(crate) mod reload;
pub(crate) mod restore;
pub(crate) mod slots;
pub(crate) mod status;
pub(crate) mod submissions;
pub(crate) mod trace;
pub(crate) mod try_submission;
pub(crate) mod upgrade;

use std::fmt::Display;

use serde::de::DeserializeOwned;

use super::confirmation::{Confirmation, Question};
use super::output::{FieldTables, OutputFormat, TableRow};
use crate::admin::{AdminCommand, AdminRequest, JobSelector};

/// An admin request with the output format of its response.
#[derive(Debug)]
pub(crate) struct AdminCall {
    /// Request to the admin handler.
    pub(crate) request: AdminRequest,
    /// Output format of the rows of the response.
    pub(crate) format: OutputFormat,
    /// Confirmation that the call needs before it is sent. `None`: none.
    pub(crate) confirmation: Option<Confirmation>,
}

impl AdminCall {
    fn new(request: impl Into<AdminRequest>, format: OutputFormat) -> Self {
        Self {
            request: request.into(),
            format,
            confirmation: None,
        }
    }

    /// Creates a call whose response is a list, shown as a table.
    pub(crate) fn table<R: TableRow>(request: impl Into<AdminRequest>) -> Self {
        Self::new(request, OutputFormat::table::<R>())
    }

    /// Creates a call whose response is shown as text. `empty` replaces a response without rows.
    pub(crate) fn text<R: DeserializeOwned + Display>(
        request: impl Into<AdminRequest>,
        empty: &'static str,
    ) -> Self {
        Self::new(request, OutputFormat::text::<R>(empty))
    }

    /// Creates a call whose response is a single object.
    pub(crate) fn record(request: impl Into<AdminRequest>) -> Self {
        Self::new(request, OutputFormat::Record(&[]))
    }

    /// Creates a call whose response is a single object with lists, shown as these tables.
    pub(crate) fn record_with_tables(
        request: impl Into<AdminRequest>,
        tables: FieldTables,
    ) -> Self {
        Self::new(request, OutputFormat::Record(tables))
    }

    /// Creates a call that changes the selected jobs. The command asks `question` about a dry run
    /// first.
    pub(crate) fn change_jobs(
        change: fn(JobSelector) -> AdminCommand,
        selector: JobSelector,
        question: Option<Question>,
    ) -> Self {
        let dry_run = change(selector.to_dry_run());
        let call = Self::record(change(selector));
        match question {
            Some(question) => call.with_question(dry_run, question),
            None => call,
        }
    }

    /// Adds a question about `dry_run`, which the command asks before it sends the request.
    pub(crate) fn with_question(
        self,
        dry_run: impl Into<AdminRequest>,
        question: Question,
    ) -> Self {
        let dry_run = dry_run.into();
        let confirmation = Some(Confirmation { dry_run, question });
        Self {
            confirmation,
            ..self
        }
    }
}
