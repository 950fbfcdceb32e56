//! Decision whether an arriving form is a copy of a stored one.
//!
//! A key of a form (its token, its reference, its answers) names a submission only together with its customer: a sender may
//! give one token to all recipients. The map of keys stays one key → one submission: the first customer's form has the key
//! itself, every further customer's a key derived from it and from each of that customer's names. The first one under a key
//! may be unnamed (an encrypted flow does not tell who fills it in): the first message that names a customer claims it.
//!
//! How long keys are remembered: [`super::keys`]. What becomes of a copy: [`super::joins`].

use crate::domain::arrival::Form;
use crate::domain::ids::{Customer, Likeness, SubmissionId};
use crate::domain::submission::{Channel, IdempotencyKey};

use super::StoreError;
use super::accept::StoredSubmission;
use super::batch::Batch;
use super::joins::{self, JOINS_MAX, Join};
use super::keys::{Hit, Span};

/// Result of the look-up for an arriving form.
#[derive(Debug)]
pub(super) enum Known {
    /// A form of its own.
    New(New),
    /// A copy of this submission.
    Copy(SubmissionId),
    /// Several customers use its token, and it does not name its own.
    Shared,
}

/// A form that is no copy.
#[derive(Debug, Default)]
pub(super) struct New {
    /// Keys under which it is known from now on.
    pub(super) keys: Vec<IdempotencyKey>,
    /// Key that several customers use from now on.
    pub(super) shared: Option<IdempotencyKey>,
    /// Form of another customer under the same key.
    pub(super) beside: Option<Box<Beside>>,
}

impl New {
    /// Makes the form one of another customer than the one whose form has `key`. `is_shared`: several customers use its token.
    fn set_apart(&mut self, form: &Form, key: IdempotencyKey, is_shared: bool) {
        let lasting = form.form_key.unwrap_or(key);
        self.keys = lasting.of_customer_names(&form.submission.customer).collect();
        self.shared = form.form_key.filter(|_| is_shared);
    }
}

/// Form of another customer under the same key.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) id: SubmissionId,
    pub(super) first: StoredSubmission,
    /// Whether equal keys mean equal answers: a reference is made from them, a token is not.
    pub(super) same_answers: bool,
}

/// A submission with all that arrived later for it.
struct Stored {
    id: SubmissionId,
    first: StoredSubmission,
    joins: Vec<Join>,
}

impl Stored {
    /// Returns `None` if retention has taken the submission away.
    fn read(batch: &Batch<'_, '_>, id: SubmissionId) -> Result<Option<Self>, StoreError> {
        let Some(first) = joins::find(batch, id)? else { return Ok(None) };
        Ok(Some(Self { id, first, joins: joins::of(batch, id)? }))
    }

    fn customers(&self) -> impl Iterator<Item = &Customer> {
        [&self.first.submission.customer].into_iter().chain(self.joins.iter().map(|join| &join.customer))
    }

    /// Comparison with the customer of an arrival, by all names that are known of this one.
    fn compare(&self, customer: &Customer) -> Likeness {
        let found: Vec<Likeness> = self.customers().map(|known| known.compare(customer)).collect();
        let has = |likeness| found.contains(&likeness);
        match (has(Likeness::Same), has(Likeness::Different)) {
            (true, _) => Likeness::Same,
            (false, true) => Likeness::Different,
            (false, false) => Likeness::Unknown,
        }
    }

    fn is_unnamed(&self) -> bool {
        self.customers().all(Customer::is_unknown)
    }

    /// Whether something came through the same door already: a flow's own path, or messages.
    fn came_by(&self, channel: Channel) -> bool {
        let later = self.joins.iter().map(|join| join.channel);
        [self.first.submission.channel].into_iter().chain(later).any(|known| known.is_message() == channel.is_message())
    }

    /// Whether it ended at its flow's path and the message that follows has not come.
    fn waits_for_message(&self) -> bool {
        !self.first.submission.channel.is_message() && self.joins.iter().all(|join| join.message_id.is_none())
    }

    /// Returns `true` if the fields of a message contradict this form's and are those of a copy that no customer has claimed.
    fn contradicts(&self, form: &Form) -> bool {
        let (first, data) = (&self.first.submission, &form.submission.data);
        let mut copies = self.joins.iter().filter_map(Join::unclaimed);
        let may_differ = form.message_key.is_some() && !first.channel.is_message() && first.customer.is_unknown();
        may_differ && !joins::fit(&first.data, data) && copies.any(|copy| joins::fit(copy, data))
    }

    /// Whether an arrival under the same key is of this form, as far as the customer tells.
    fn is_of(&self, form: &Form) -> Likeness {
        let customer = &form.submission.customer;
        match self.compare(customer) {
            // Nothing tells them apart: each door brings a form once. A message beyond that may be another customer's.
            Likeness::Unknown if form.submission.channel.is_message() => {
                let is_copy = !self.came_by(Channel::Webhook) || (customer.is_unknown() && form.message_key.is_none());
                if is_copy && !self.contradicts(form) { Likeness::Same } else { Likeness::Different }
            }
            Likeness::Unknown if customer.is_unknown() || self.is_unnamed() => Likeness::Same,
            Likeness::Unknown if self.came_by(form.submission.channel) => Likeness::Different,
            Likeness::Unknown => Likeness::Same,
            known => known,
        }
    }

    /// Whether more unnamed copies with other answers came than one customer would send.
    fn is_crowded(&self) -> bool {
        let unnamed = self.joins.iter().filter(|join| join.customer.is_unknown() && join.message_id.is_none());
        self.first.submission.customer.is_unknown() && unnamed.count() >= JOINS_MAX
    }
}

/// Looks up whether `form` is a copy. Reads only.
pub(super) fn recognize(batch: &Batch<'_, '_>, form: &Form) -> Result<Known, StoreError> {
    let customer = &form.submission.customer;
    let span = Span::of_form(form.for_good);
    let is_shared = match form.form_key {
        Some(key) => is_shared(batch, key)?,
        None => false,
    };
    if is_shared && customer.is_unknown() && form.answerable {
        return Ok(Known::Shared);
    }
    // A token of one customer says more than the reference, which the message alone vouches for.
    let reference = form.reference.filter(|_| is_shared || form.form_key.is_none());
    let mut new = New { keys: form.form_key.into_iter().collect(), ..New::default() };
    for key in reference.into_iter().chain(form.keys()) {
        for own in key.of_customer_names(customer) {
            let id = match under(batch, span, own)? {
                None => awaited(batch, form, own)?,
                id => id,
            };
            if let Some(id) = id {
                return Ok(Known::Copy(id));
            }
        }
        let recent = under(batch, span, key)?;
        let is_recent = recent.is_some();
        let known = if is_recent { recent } else { under(batch, Span::Message, key)? };
        let Some(id) = known else { continue };
        // Many customers use this token, and the form names one of them.
        let is_one_of_many = is_shared && form.form_key == Some(key) && !customer.is_unknown();
        let stored = match Stored::read(batch, id) {
            Ok(Some(stored)) => stored,
            Ok(None) if !is_recent => continue,
            // Retention removed the submission. Without this, other customers' forms and messages would be acknowledged and lost.
            Ok(None) if is_one_of_many || form.message_key.is_some() => {
                new.set_apart(form, key, is_shared);
                continue;
            }
            // Within the span the key still means the same form.
            Ok(None) => return Ok(Known::Copy(id)),
            // The damaged row of one customer must not refuse the forms of all others.
            Err(error) if error.is_of_one_change() && is_one_of_many => {
                tracing::error!(%error, submission.id = id.get(), "a form is taken for another customer's than the damaged one");
                new.set_apart(form, key, is_shared);
                continue;
            }
            Err(error) => return Err(error),
        };
        match stored.is_of(form) {
            Likeness::Different if new.beside.is_none() => {
                let same_answers = reference == Some(key);
                new.set_apart(form, key, form.form_key == Some(key));
                new.beside = Some(Box::new(Beside { id, first: stored.first, same_answers }));
            }
            Likeness::Different => {}
            _ if is_recent => {
                let is_press = customer.is_unknown() && form.answerable && form.submission.has_usable_token();
                return Ok(if is_press && stored.is_crowded() { Known::Shared } else { Known::Copy(stored.id) });
            }
            _ if form.message_key.is_some() && stored.waits_for_message() => return Ok(Known::Copy(stored.id)),
            _ => {}
        }
    }
    match echo(batch, Span::Form, &form.elsewhere, customer)? {
        Some(id) => Ok(Known::Copy(id)),
        None => Ok(Known::New(new)),
    }
}

/// The submission under one of `keys` that ended at its flow's path and still waits for the message that follows: that one
/// comes by webhook, where nothing names the flow.
pub(super) fn echo(
    batch: &Batch<'_, '_>,
    span: Span,
    keys: &[IdempotencyKey],
    customer: &Customer,
) -> Result<Option<SubmissionId>, StoreError> {
    let mut skipped = Skipped::default();
    for key in keys {
        for key in key.of_customer_names(customer).chain([*key]) {
            let Some(id) = under(batch, span, key)? else { continue };
            let stored = skipped.unless_damaged(id, Stored::read(batch, id))?.flatten();
            if stored
                .is_some_and(|stored| stored.waits_for_message() && stored.compare(customer) != Likeness::Different)
            {
                return Ok(Some(id));
            }
        }
    }
    Ok(None)
}

/// The key among `keys`, or derived from one, under which this customer's form is known.
pub(super) fn key_of(
    batch: &Batch<'_, '_>,
    span: Span,
    keys: &[IdempotencyKey],
    customer: &Customer,
) -> Result<Option<IdempotencyKey>, StoreError> {
    let mut skipped = Skipped::default();
    for key in keys {
        for own in key.of_customer_names(customer) {
            if under(batch, span, own)?.is_some() {
                return Ok(Some(own));
            }
        }
        let Some(id) = under(batch, span, *key)? else { continue };
        let is_theirs = if customer.is_unknown() {
            !is_shared(batch, *key)?
        } else {
            let Some(stored) = skipped.unless_damaged(id, Stored::read(batch, id))? else { continue };
            stored.is_none_or(|stored| stored.compare(customer) != Likeness::Different)
        };
        if is_theirs {
            return Ok(Some(*key));
        }
    }
    Ok(None)
}

/// Whether several customers have submitted a form under `key`.
pub(super) fn is_shared(batch: &Batch<'_, '_>, key: IdempotencyKey) -> Result<bool, StoreError> {
    Ok(hit(batch, Span::Message, key.of_many())?.is_some())
}

/// Submissions that a look-up skips because their rows can't be read. Without this, the damaged submission of one flow would
/// refuse the forms of the others.
#[derive(Default)]
struct Skipped(Vec<SubmissionId>);

impl Skipped {
    /// Returns `None` if a row of the submission `id` is damaged. Logs each submission once.
    fn unless_damaged<T>(&mut self, id: SubmissionId, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match read {
            Err(error) if error.is_of_one_change() => {
                if !self.0.contains(&id) {
                    self.0.push(id);
                    tracing::error!(%error, submission.id = id.get(), "the look-up of a form skips a damaged submission");
                }
                Ok(None)
            }
            read => read.map(Some),
        }
    }
}

/// The submission under a key of one customer that still waits for its message, where `form` is a message.
fn awaited(batch: &Batch<'_, '_>, form: &Form, key: IdempotencyKey) -> Result<Option<SubmissionId>, StoreError> {
    let Some(id) = under(batch, Span::Message, key)?.filter(|_| form.message_key.is_some()) else { return Ok(None) };
    Ok(Stored::read(batch, id)?.filter(Stored::waits_for_message).map(|stored| stored.id))
}

fn under(batch: &Batch<'_, '_>, span: Span, key: IdempotencyKey) -> Result<Option<SubmissionId>, StoreError> {
    match hit(batch, span, key)? {
        Some(Hit::Submission(id)) => Ok(Some(id)),
        // A row that names no submission is no form, whoever refers to it as one.
        Some(Hit::Message) | None => Ok(None),
    }
}

/// The meaning of a form's key within `span`. [`Span::Message`] includes [`Span::Form`]: the config may set a
/// `retention.idempotency` that is longer than `retention.message_ids`.
fn hit(batch: &Batch<'_, '_>, span: Span, key: IdempotencyKey) -> Result<Option<Hit>, StoreError> {
    let find = |span| batch.memory.keys.find(batch.tables, &batch.memory.counters, span, &key, batch.expiry);
    match (find(span)?, span) {
        (None, Span::Message) => find(Span::Form),
        (hit, _) => Ok(hit),
    }
}
