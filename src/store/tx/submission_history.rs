//! Compares an arrival with a stored submission and all its late arrivals: is it the same customer,
//! and which arrivals came before?

use crate::domain::customer::{Customer, CustomerMatch};
use crate::domain::ids::SubmissionId;
use crate::domain::submission::SubmissionChannel;
use crate::domain::submission::inbound::InboundSubmission;

use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::submissions::{LateArrival, StoredSubmission, list_late_arrivals};
use crate::store::writer::write_context::WriteContext;

/// Maximum number of late arrivals stored for one customer of a submission.
///
/// Without this limit, a faulty sender could fill the disk. The first message that follows a form
/// is always stored.
pub const LATE_ARRIVALS_MAX: usize = 16;

/// Submission with all its late arrivals.
pub(super) struct SubmissionHistory {
    pub(super) id: SubmissionId,
    pub(super) first: StoredSubmission,
    pub(super) late_arrivals: Vec<LateArrival>,
}

impl SubmissionHistory {
    /// Loads a submission with its late arrivals. Returns `None` if retention has removed the
    /// submission.
    pub(super) fn load(ctx: &WriteContext<'_>, id: SubmissionId) -> StoreResult<Option<Self>> {
        let Some(first) = ctx.tables.submissions.get(id)? else {
            return Ok(None);
        };
        let late_arrivals = list_late_arrivals(&ctx.tables.late_arrivals, id)?
            .into_iter()
            .map(|(_, late_arrival)| late_arrival)
            .collect();
        Ok(Some(Self {
            id,
            first,
            late_arrivals,
        }))
    }

    pub(super) fn customers(&self) -> impl Iterator<Item = &Customer> {
        let later = self
            .late_arrivals
            .iter()
            .map(|late_arrival| &late_arrival.customer);
        [&self.first.submission.customer].into_iter().chain(later)
    }

    /// Compares the customer of an arrival with all known names of the customer of this submission.
    pub(super) fn compare_customer(&self, customer: &Customer) -> CustomerMatch {
        let has = |likeness| {
            self.customers()
                .any(|known| known.compare(customer) == likeness)
        };
        if has(CustomerMatch::Same) {
            CustomerMatch::Same
        } else if has(CustomerMatch::Different) {
            CustomerMatch::Different
        } else {
            CustomerMatch::Unknown
        }
    }

    pub(super) fn is_unnamed(&self) -> bool {
        self.customers().all(Customer::is_unknown)
    }

    /// Returns `true` if an arrival came through the same kind of channel before: the flow's
    /// endpoint, or messages.
    pub(super) fn has_arrival_through(&self, channel: SubmissionChannel) -> bool {
        let later = self
            .late_arrivals
            .iter()
            .map(|late_arrival| late_arrival.channel);
        let mut known = [self.first.submission.channel].into_iter().chain(later);
        known.any(|known| known.is_message() == channel.is_message())
    }

    /// Returns `true` if the form ended at the flow's endpoint and the message that follows has not
    /// arrived.
    pub(super) fn awaits_message(&self) -> bool {
        let mut later = self.late_arrivals.iter();
        !self.first.submission.channel.is_message()
            && later.all(|late_arrival| late_arrival.message_id.is_none())
    }

    /// Returns `true` if the fields of a message contradict this form and match a copy that no
    /// customer has claimed.
    pub(super) fn contradicts(&self, form: &InboundSubmission) -> bool {
        let (first, data) = (&self.first.submission, &form.submission.data);
        let mut copies = self
            .late_arrivals
            .iter()
            .filter_map(LateArrival::find_unclaimed_answers);
        let may_differ = form.message_key.is_some()
            && !first.channel.is_message()
            && first.customer.is_unknown();
        may_differ && !agrees_with(&first.data, data) && copies.any(|copy| agrees_with(copy, data))
    }

    /// Compares the customer of an arrival under the same key with the customer of this form.
    pub(super) fn compare_arrival(&self, form: &InboundSubmission) -> CustomerMatch {
        let customer = &form.submission.customer;
        match self.compare_customer(customer) {
            // No name distinguishes the customers. Each kind of channel delivers a form once, so a
            // further message may belong to another customer.
            CustomerMatch::Unknown if form.submission.channel.is_message() => {
                let is_copy = !self.has_arrival_through(SubmissionChannel::Webhook)
                    || (customer.is_unknown() && form.message_key.is_none());
                if is_copy && !self.contradicts(form) {
                    CustomerMatch::Same
                } else {
                    CustomerMatch::Different
                }
            }
            CustomerMatch::Unknown if customer.is_unknown() || self.is_unnamed() => {
                CustomerMatch::Same
            }
            CustomerMatch::Unknown if self.has_arrival_through(form.submission.channel) => {
                CustomerMatch::Different
            }
            CustomerMatch::Unknown => CustomerMatch::Same,
            known => known,
        }
    }

    /// Returns `true` if more unnamed copies with other answers arrived than one customer would
    /// send.
    pub(super) fn has_too_many_copies(&self) -> bool {
        let unnamed = self.late_arrivals.iter().filter(|late_arrival| {
            late_arrival.customer.is_unknown() && late_arrival.message_id.is_none()
        });
        self.first.submission.customer.is_unknown() && unnamed.count() >= LATE_ARRIVALS_MAX
    }
}

/// Returns `true` if the fields that both texts contain are equal.
pub fn agrees_with(one: &str, other: &str) -> bool {
    let object = |text| {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).unwrap_or_default()
    };
    let (one, other) = (object(one), object(other));
    one.iter()
        .all(|(name, value)| other.get(name).is_none_or(|other| other == value))
}
