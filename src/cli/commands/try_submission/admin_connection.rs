//! Sends the admin requests of `flowgate try` to the running server.

use std::time::Duration;

use jiff::Span;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::TryError;
use crate::admin::{
    AdminError, AdminQuery, AdminRequest, JobRow, ListFilter, PublicKeyRow, ServerCommand,
    SignatureRow, SlotFilter, SlotRow, SubmissionRow,
};
use crate::cli::connect::send_to_server;
use crate::cli::sample_form::SlotChoice;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::ids::{CalendarName, FlowName};
use crate::intake::PublicKey;

/// Maximum time to wait for the job of the submission.
const JOB_TIMEOUT: Duration = Duration::from_secs(15);

/// Number of days in which the command searches for a free slot.
const DAYS_AHEAD: i64 = 365;

/// Connection to the admin socket of the running server.
pub(super) struct AdminConnection<'a> {
    pub(super) config: &'a Config,
}

impl AdminConnection<'_> {
    pub(super) fn not_running(&self) -> TryError {
        TryError::NotRunning(self.config.data.display().to_string())
    }

    /// Returns the first row that is `wanted`.
    fn find_row<R: DeserializeOwned>(
        &self,
        request: impl Into<AdminRequest>,
        wanted: impl Fn(&R) -> bool,
    ) -> Result<Option<R>, TryError> {
        let mut found = None;
        let answered = send_to_server(&self.config.data, &request.into(), &mut |row| {
            found = serde_json::from_value(row).ok().filter(&wanted);
            found.is_none()
        })?;
        answered.map(|()| found).ok_or_else(|| self.not_running())
    }

    pub(super) fn first_row<R: DeserializeOwned>(
        &self,
        request: impl Into<AdminRequest>,
    ) -> Result<Option<R>, TryError> {
        self.find_row(request, |_| true)
    }

    /// Returns the signature of a body. The server signs, because the app secret may exist only in
    /// its environment.
    pub(super) fn signature(&self, body: &str) -> Result<String, AdminError> {
        let mut signature = None;
        let body = body.to_owned();
        let request = ServerCommand::SignBody { body }.into();
        send_to_server(&self.config.data, &request, &mut |row| {
            signature = SignatureRow::deserialize(row).ok();
            true
        })?;
        signature
            .and_then(|row| row.signature)
            .ok_or_else(AdminError::server_required)
    }

    pub(super) fn public_key(&self, flow: &FlowName) -> Result<PublicKey, TryError> {
        let flow = flow.clone();
        let row: Option<PublicKeyRow> = self.first_row(ServerCommand::FlowPublicKey { flow })?;
        let pem = row.and_then(|row| row.public_key).unwrap_or_default();
        Ok(PublicKey::parse(&pem)?)
    }

    pub(super) fn free_slot(&self, calendar: &CalendarName) -> Result<SlotChoice, TryError> {
        let now = SystemClock::new().now().to_jiff();
        let today = now.to_zoned_datetime(TimeZone::UTC).date();
        let query = AdminQuery::Slots(SlotFilter {
            days: None,
            calendar: Some(calendar.clone()),
            from: None,
            to: Some(today.saturating_add(Span::new().days(DAYS_AHEAD))),
            limit: 0,
        });
        let free = self.find_row(query, |slot: &SlotRow| slot.taken < slot.capacity)?;
        match free {
            Some(SlotRow { date, time, .. }) => Ok(SlotChoice { date, time }),
            None => Err(TryError::NoSlot(calendar.clone())),
        }
    }

    pub(super) fn submission(
        &self,
        flow: &FlowName,
        token: &str,
    ) -> Result<SubmissionRow, TryError> {
        let query = AdminQuery::Submissions(ListFilter {
            flow: Some(flow.clone()),
            ..ListFilter::default()
        });
        let is_ours = |row: &SubmissionRow| row.flow_token.as_deref() == Some(token);
        self.find_row(query, is_ours)?.ok_or_else(|| {
            TryError::NotAccepted(format!(
                "the response was a success, but flow_token {token} is not stored"
            ))
        })
    }

    /// Waits for the job of the submission to finish or to fail an attempt. Returns the job.
    pub(super) fn finished_job(&self, submission: &SubmissionRow) -> Result<JobRow, TryError> {
        let id = submission.job_id;
        let clock = SystemClock::new();
        while clock.elapsed() < JOB_TIMEOUT {
            if let Some(job) = self.first_row::<JobRow>(AdminQuery::Job { id })?
                && (job.last_error.is_some()
                    || !["scheduled", "running"].contains(&job.state.as_str()))
            {
                return Ok(job);
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Err(TryError::JobNotFinished(id))
    }
}
