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
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::InboundSubmission;

use super::submission_history::SubmissionHistory;
use crate::store::StoreResult;
use crate::store::rows::submissions::StoredSubmission;
use crate::store::writer::dedup_index::{DedupMatch, DedupWindow};
use crate::store::writer::write_context::WriteContext;

/// Result of the duplicate check of an arriving form.
#[derive(Debug)]
pub enum DuplicateCheck {
    /// The form is new.
    New(NewSubmissionKeys),
    /// The form is a copy of this submission.
    Copy(SubmissionId),
    /// Several customers use the token of the form, and the form does not name its customer.
    Shared,
}

/// Keys of a form that is no copy.
#[derive(Debug, Default)]
pub struct NewSubmissionKeys {
    /// Keys under which the store finds the form from now on.
    pub form_keys: Vec<IdempotencyKey>,
    /// Key that several customers use from now on.
    pub shared_key: Option<IdempotencyKey>,
    /// Form of another customer under the same key.
    pub other_customer: Option<Box<OtherCustomerSubmission>>,
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
pub struct OtherCustomerSubmission {
    pub id: SubmissionId,
    pub first: StoredSubmission,
    /// `true` if the equal key is a reference, so the answers are equal, too. A reference is
    /// derived from the answers, a token is not.
    pub has_same_answers: bool,
}

/// Checks whether `form` is a copy of a stored submission. Reads only.
pub fn check_duplicate(
    ctx: &WriteContext<'_>,
    form: &InboundSubmission,
) -> StoreResult<DuplicateCheck> {
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
        if let Some(id) = find_own_copy(ctx, form, window, key)? {
            return Ok(DuplicateCheck::Copy(id));
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
            _ if is_recent && is_unnamed_press(form) && stored.has_too_many_copies() => {
                return Ok(DuplicateCheck::Shared);
            }
            _ if is_recent => return Ok(DuplicateCheck::Copy(stored.id)),
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

/// Finds the submission of the form's customer under one of the keys derived from `key`.
fn find_own_copy(
    ctx: &WriteContext<'_>,
    form: &InboundSubmission,
    window: DedupWindow,
    key: IdempotencyKey,
) -> StoreResult<Option<SubmissionId>> {
    for customer_key in key.for_customer_names(&form.submission.customer) {
        let id = match find_submission_id(ctx, window, customer_key)? {
            None => find_awaiting_by_key(ctx, form, customer_key)?,
            id => id,
        };
        if id.is_some() {
            return Ok(id);
        }
    }
    Ok(None)
}

/// Returns `true` if a customer whom nobody has named presses the button and can choose again.
fn is_unnamed_press(form: &InboundSubmission) -> bool {
    form.submission.customer.is_unknown()
        && form.allows_new_choice
        && form.submission.has_usable_token()
}

/// Finds a submission under one of `keys` that ended at its flow's endpoint and still awaits its
/// message. This message arrives by webhook, which names no flow.
pub fn find_awaiting_message(
    ctx: &WriteContext<'_>,
    window: DedupWindow,
    keys: &[IdempotencyKey],
    customer: &Customer,
) -> StoreResult<Option<SubmissionId>> {
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
pub fn find_submission_key(
    ctx: &WriteContext<'_>,
    window: DedupWindow,
    keys: &[IdempotencyKey],
    customer: &Customer,
) -> StoreResult<Option<IdempotencyKey>> {
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
pub fn is_shared_key(ctx: &WriteContext<'_>, key: IdempotencyKey) -> StoreResult<bool> {
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
        read: StoreResult<T>,
    ) -> StoreResult<Option<T>> {
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
) -> StoreResult<Option<SubmissionId>> {
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
) -> StoreResult<Option<SubmissionId>> {
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
) -> StoreResult<Option<DedupMatch>> {
    match (ctx.find_key(span, key)?, span) {
        (None, DedupWindow::Message) => ctx.find_key(DedupWindow::Form, key),
        (hit, _) => Ok(hit),
    }
}
