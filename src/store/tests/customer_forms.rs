//! Forms and messages of numbered customers, for tests of several customers under one key.

use serde_json::Value;

use crate::domain::ids::Customer;
use crate::domain::submission::SubmissionChannel;
use crate::domain::submission::inbound::InboundSubmission;
use crate::store::AcceptOutcome;

use super::support::{StoreBench, form, webhook_form};

pub fn customer(number: u64) -> Customer {
    Customer::new(
        Some(&format!("DE.{number}")),
        Some(&format!("4915{number:08}")),
    )
}

pub fn message(token: &str, number: u64, copy: &str, data: &str) -> InboundSubmission {
    let mut form = webhook_form(token, &format!("wamid.{number}.{copy}"), data);
    form.submission.customer = customer(number);
    form
}

/// Form of a numbered customer, at the plain endpoint.
pub fn form_of(token: &str, number: u64, data: &str) -> InboundSubmission {
    let mut form = form(token, data);
    form.submission.customer = customer(number);
    form
}

/// Form that does not name its customer.
pub fn unnamed_form(token: &str, data: &str) -> InboundSubmission {
    let mut form = form(token, data);
    form.submission.customer = Customer::default();
    form
}

/// Form that ended at the endpoint of an encrypted flow, so no field names its customer.
pub fn unnamed(token: &str, data: &str) -> InboundSubmission {
    let mut form = unnamed_form(token, data);
    form.submission.channel = SubmissionChannel::Encrypted;
    form
}

/// Returns the submission that a new form made.
#[track_caller]
pub fn new_submission(accepted: &AcceptOutcome) -> u64 {
    match accepted {
        AcceptOutcome::New { submission_id, .. } => submission_id.get(),
        other => panic!("{other:?}"),
    }
}

impl StoreBench {
    /// Accepts a form that must be new. Returns its submission.
    #[track_caller]
    pub fn accept_submission(&self, form: InboundSubmission) -> u64 {
        new_submission(&self.accept(form))
    }
}

/// Returns the answers and the problems of a submission.
pub fn stored_data(bench: &StoreBench, id: u64) -> (Value, Vec<String>) {
    let submission = bench.submission(id).submission;
    let answers = serde_json::from_str(&submission.data).unwrap();
    (answers, submission.problems)
}
