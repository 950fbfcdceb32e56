//! Decides whether an arriving form is a copy of a stored submission.
//!
//! A key of a form is made from its token, its reference or its answers. A sender may give one
//! token to all recipients, so a key identifies a submission only together with its customer.
//!
//! The dedup index maps one key to one submission. The form of the first customer has the key
//! itself. The form of each further customer has keys derived from this key and each name of that
//! customer. The first form under a key may name no customer, because an encrypted flow does not
//! identify the customer. The first message that names a customer claims this form.
//!
//! See [`crate::store::writer::dedup`] for the lifetime of keys, and
//! [`super::late_arrivals`] for the handling of a copy.

use crate::domain::ids::{Customer, CustomerMatch, SubmissionId};
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::submission::{IdempotencyKey, SubmissionChannel};

use crate::store::StoreError;
use crate::store::engine::Rows;
use crate::store::rows::submissions::{LateArrival, StoredSubmission, list_late_arrivals};
use crate::store::writer::dedup::{DedupMatch, DedupWindow};
use crate::store::writer::write_context::WriteContext;

/// Maximum number of late arrivals stored for one customer of a submission.
///
/// Without this limit, a faulty sender could fill the disk. The first message that follows a form
/// is always stored.
pub(in crate::store) const LATE_ARRIVALS_MAX: usize = 16;

/// Result of the duplicate check of an arriving form.
#[derive(Debug)]
pub(in crate::store) enum DuplicateCheck {
    /// The form is new.
    New(NewSubmissionKeys),
    /// The form is a copy of this submission.
    Copy(SubmissionId),
    /// Several customers use the token of the form, and the form does not name its customer.
    Shared,
}

/// Keys of a form that is no copy.
#[derive(Debug, Default)]
pub(in crate::store) struct NewSubmissionKeys {
    /// Keys under which the store finds the form from now on.
    pub(in crate::store) form_keys: Vec<IdempotencyKey>,
    /// Key that several customers use from now on.
    pub(in crate::store) shared_key: Option<IdempotencyKey>,
    /// Form of another customer under the same key.
    pub(in crate::store) other_customer: Option<Box<OtherCustomerSubmission>>,
}

impl NewSubmissionKeys {
    /// Makes the keys specific to this customer, because another customer's form has `key`.
    ///
    /// `is_shared` is `true` if several customers use the token.
    fn use_customer_keys(
        &mut self,
        form: &InboundSubmission,
        key: IdempotencyKey,
        is_shared: bool,
    ) {
        let lasting = form.form_key.unwrap_or(key);
        self.form_keys = lasting
            .for_customer_names(&form.submission.customer)
            .collect();
        self.shared_key = form.form_key.filter(|_| is_shared);
    }
}

/// Form of another customer under the same key.
#[derive(Debug)]
pub(in crate::store) struct OtherCustomerSubmission {
    pub(in crate::store) id: SubmissionId,
    pub(in crate::store) first: StoredSubmission,
    /// `true` if the equal key is a reference, so the answers are equal, too. A reference is
    /// derived from the answers, a token is not.
    pub(in crate::store) has_same_answers: bool,
}

/// Submission with all its late arrivals.
struct SubmissionHistory {
    id: SubmissionId,
    first: StoredSubmission,
    late_arrivals: Vec<LateArrival>,
}

impl SubmissionHistory {
    /// Loads a submission with its late arrivals. Returns `None` if retention has removed the
    /// submission.
    fn load(ctx: &WriteContext<'_>, id: SubmissionId) -> Result<Option<Self>, StoreError> {
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

    fn customers(&self) -> impl Iterator<Item = &Customer> {
        [&self.first.submission.customer].into_iter().chain(
            self.late_arrivals
                .iter()
                .map(|late_arrival| &late_arrival.customer),
        )
    }

    /// Compares the customer of an arrival with all known names of the customer of this submission.
    fn compare_customer(&self, customer: &Customer) -> CustomerMatch {
        let found: Vec<CustomerMatch> = self
            .customers()
            .map(|known| known.compare(customer))
            .collect();
        let has = |likeness| found.contains(&likeness);
        match (has(CustomerMatch::Same), has(CustomerMatch::Different)) {
            (true, _) => CustomerMatch::Same,
            (false, true) => CustomerMatch::Different,
            (false, false) => CustomerMatch::Unknown,
        }
    }

    fn is_unnamed(&self) -> bool {
        self.customers().all(Customer::is_unknown)
    }

    /// Returns `true` if an arrival came through the same kind of channel before: the flow's
    /// endpoint, or messages.
    fn has_arrival_through(&self, channel: SubmissionChannel) -> bool {
        let later = self
            .late_arrivals
            .iter()
            .map(|late_arrival| late_arrival.channel);
        [self.first.submission.channel]
            .into_iter()
            .chain(later)
            .any(|known| known.is_message() == channel.is_message())
    }

    /// Returns `true` if the form ended at the flow's endpoint and the message that follows has not
    /// arrived.
    fn awaits_message(&self) -> bool {
        !self.first.submission.channel.is_message()
            && self
                .late_arrivals
                .iter()
                .all(|late_arrival| late_arrival.message_id.is_none())
    }

    /// Returns `true` if the fields of a message contradict this form and match a copy that no
    /// customer has claimed.
    fn contradicts(&self, form: &InboundSubmission) -> bool {
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
    fn compare_arrival(&self, form: &InboundSubmission) -> CustomerMatch {
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
    fn has_too_many_copies(&self) -> bool {
        let unnamed = self.late_arrivals.iter().filter(|late_arrival| {
            late_arrival.customer.is_unknown() && late_arrival.message_id.is_none()
        });
        self.first.submission.customer.is_unknown() && unnamed.count() >= LATE_ARRIVALS_MAX
    }
}

/// Checks whether `form` is a copy of a stored submission. Reads only.
pub(in crate::store) fn check_duplicate(
    ctx: &WriteContext<'_>,
    form: &InboundSubmission,
) -> Result<DuplicateCheck, StoreError> {
    let customer = &form.submission.customer;
    let window = DedupWindow::for_submission(form.reject_resubmission);
    let is_shared = match form.form_key {
        Some(key) => is_shared_key(ctx, key)?,
        None => false,
    };
    if is_shared && customer.is_unknown() && form.allows_new_choice {
        return Ok(DuplicateCheck::Shared);
    }
    // The token of one customer identifies a form better than the reference, because only the
    // sender of the message confirms the reference.
    let reference = form
        .message_reference
        .filter(|_| is_shared || form.form_key.is_none());
    let mut new_keys = NewSubmissionKeys {
        form_keys: form.form_key.into_iter().collect(),
        ..NewSubmissionKeys::default()
    };
    for key in reference.into_iter().chain(form.own_keys()) {
        for customer_key in key.for_customer_names(customer) {
            let id = match find_submission_id(ctx, window, customer_key)? {
                None => find_awaiting_by_key(ctx, form, customer_key)?,
                id => id,
            };
            if let Some(id) = id {
                return Ok(DuplicateCheck::Copy(id));
            }
        }
        let recent = find_submission_id(ctx, window, key)?;
        let is_recent = recent.is_some();
        let known = if is_recent {
            recent
        } else {
            find_submission_id(ctx, DedupWindow::Message, key)?
        };
        let Some(id) = known else { continue };
        // Many customers use this token, and the form names one of them.
        let is_one_of_many = is_shared && form.form_key == Some(key) && !customer.is_unknown();
        let stored = match SubmissionHistory::load(ctx, id) {
            Ok(Some(stored)) => stored,
            Ok(None) if !is_recent => continue,
            // Retention removed the submission. Without this, forms and messages of other customers
            // would be acknowledged and lost.
            Ok(None) if is_one_of_many || form.message_key.is_some() => {
                new_keys.use_customer_keys(form, key, is_shared);
                continue;
            }
            // The key is within the dedup window and still identifies the removed submission.
            Ok(None) => return Ok(DuplicateCheck::Copy(id)),
            // The damaged row of one customer must not cause the refusal of all other customers'
            // forms.
            Err(error) if error.affects_one_row() && is_one_of_many => {
                tracing::error!(%error, submission.id = id.get(), "stored submission is unreadable: the new one is accepted as another customer's");
                new_keys.use_customer_keys(form, key, is_shared);
                continue;
            }
            Err(error) => return Err(error),
        };
        match stored.compare_arrival(form) {
            CustomerMatch::Different if new_keys.other_customer.is_none() => {
                let has_same_answers = reference == Some(key);
                new_keys.use_customer_keys(form, key, form.form_key == Some(key));
                new_keys.other_customer = Some(Box::new(OtherCustomerSubmission {
                    id,
                    first: stored.first,
                    has_same_answers,
                }));
            }
            CustomerMatch::Different => {}
            _ if is_recent => {
                let is_press = customer.is_unknown()
                    && form.allows_new_choice
                    && form.submission.has_usable_token();
                return Ok(if is_press && stored.has_too_many_copies() {
                    DuplicateCheck::Shared
                } else {
                    DuplicateCheck::Copy(stored.id)
                });
            }
            _ if form.message_key.is_some() && stored.awaits_message() => {
                return Ok(DuplicateCheck::Copy(stored.id));
            }
            _ => {}
        }
    }
    match find_awaiting_message(ctx, DedupWindow::Form, &form.cross_flow_keys, customer)? {
        Some(id) => Ok(DuplicateCheck::Copy(id)),
        None => Ok(DuplicateCheck::New(new_keys)),
    }
}

/// Finds a submission under one of `keys` that ended at its flow's endpoint and still awaits its
/// message. This message arrives by webhook, which names no flow.
pub(in crate::store) fn find_awaiting_message(
    ctx: &WriteContext<'_>,
    window: DedupWindow,
    keys: &[IdempotencyKey],
    customer: &Customer,
) -> Result<Option<SubmissionId>, StoreError> {
    let mut skipped = Skipped::default();
    for key in keys {
        for key in key.for_customer_names(customer).chain([*key]) {
            let Some(id) = find_submission_id(ctx, window, key)? else {
                continue;
            };
            let stored = skipped
                .unless_damaged(id, SubmissionHistory::load(ctx, id))?
                .flatten();
            if stored.is_some_and(|stored| {
                stored.awaits_message()
                    && stored.compare_customer(customer) != CustomerMatch::Different
            }) {
                return Ok(Some(id));
            }
        }
    }
    Ok(None)
}

/// Finds the key of this customer's form, among `keys` or the keys derived from them.
pub(in crate::store) fn find_submission_key(
    ctx: &WriteContext<'_>,
    window: DedupWindow,
    keys: &[IdempotencyKey],
    customer: &Customer,
) -> Result<Option<IdempotencyKey>, StoreError> {
    let mut skipped = Skipped::default();
    for key in keys {
        for customer_key in key.for_customer_names(customer) {
            if find_submission_id(ctx, window, customer_key)?.is_some() {
                return Ok(Some(customer_key));
            }
        }
        let Some(id) = find_submission_id(ctx, window, *key)? else {
            continue;
        };
        let is_theirs = if customer.is_unknown() {
            !is_shared_key(ctx, *key)?
        } else {
            let Some(stored) = skipped.unless_damaged(id, SubmissionHistory::load(ctx, id))? else {
                continue;
            };
            stored
                .is_none_or(|stored| stored.compare_customer(customer) != CustomerMatch::Different)
        };
        if is_theirs {
            return Ok(Some(*key));
        }
    }
    Ok(None)
}

/// Returns `true` if several customers have submitted a form under `key`.
pub(in crate::store) fn is_shared_key(
    ctx: &WriteContext<'_>,
    key: IdempotencyKey,
) -> Result<bool, StoreError> {
    Ok(find_form_match(ctx, DedupWindow::Message, key.for_shared_token())?.is_some())
}

/// Submissions that a look-up skips because their rows are unreadable.
///
/// Without this, the damaged submission of one flow would cause the refusal of other flows' forms.
#[derive(Default)]
struct Skipped(Vec<SubmissionId>);

impl Skipped {
    /// Returns `None` if a row of submission `id` is damaged. Logs each submission once.
    fn unless_damaged<T>(
        &mut self,
        id: SubmissionId,
        read: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match read {
            Err(error) if error.affects_one_row() => {
                if !self.0.contains(&id) {
                    self.0.push(id);
                    tracing::error!(%error, submission.id = id.get(), "submission is unreadable and skipped in the lookup of a form");
                }
                Ok(None)
            }
            read => read.map(Some),
        }
    }
}

/// Finds a submission under the key of one customer that still awaits its message. Returns `None`
/// if `form` is not a message.
fn find_awaiting_by_key(
    ctx: &WriteContext<'_>,
    form: &InboundSubmission,
    key: IdempotencyKey,
) -> Result<Option<SubmissionId>, StoreError> {
    let Some(id) =
        find_submission_id(ctx, DedupWindow::Message, key)?.filter(|_| form.message_key.is_some())
    else {
        return Ok(None);
    };
    Ok(SubmissionHistory::load(ctx, id)?
        .filter(SubmissionHistory::awaits_message)
        .map(|stored| stored.id))
}

fn find_submission_id(
    ctx: &WriteContext<'_>,
    window: DedupWindow,
    key: IdempotencyKey,
) -> Result<Option<SubmissionId>, StoreError> {
    match find_form_match(ctx, window, key)? {
        Some(DedupMatch::Submission(id)) => Ok(Some(id)),
        // A row without a submission does not identify a form, even if a look-up of forms finds it.
        Some(DedupMatch::NoSubmission) | None => Ok(None),
    }
}

/// Returns the match of a form's key within the dedup window `span`.
///
/// [`DedupWindow::Message`] includes [`DedupWindow::Form`]: the config may set
/// `retention.idempotency_ttl` to a longer time than `retention.message_id_ttl`.
fn find_form_match(
    ctx: &WriteContext<'_>,
    span: DedupWindow,
    key: IdempotencyKey,
) -> Result<Option<DedupMatch>, StoreError> {
    match (ctx.find_key(span, key)?, span) {
        (None, DedupWindow::Message) => ctx.find_key(DedupWindow::Form, key),
        (hit, _) => Ok(hit),
    }
}

/// Returns `true` if the fields that both texts contain are equal.
pub(in crate::store) fn agrees_with(one: &str, other: &str) -> bool {
    let object = |text| {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).unwrap_or_default()
    };
    let (one, other) = (object(one), object(other));
    one.iter()
        .all(|(name, value)| other.get(name).is_none_or(|other| other == value))
}
