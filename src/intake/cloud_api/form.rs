//! Turns the completed form of a message into an inbound item: its flow, keys and submission.

use serde_json::{Map, Value};

use crate::domain::flow::{Flow, MatchInput, match_flow};
use crate::domain::ids::{Customer, FlowToken, MessageId};
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::submission::{IdempotencyKey, Submission, SubmissionChannel};
use crate::domain::time::Timestamp;
use crate::intake::Catalog;

/// Completed form of a message.
pub(super) struct ReceivedForm<'m> {
    /// Phone number ID that received the message.
    pub(super) phone_number_id: Option<&'m str>,
    pub(super) message_id: Option<&'m MessageId>,
    pub(super) customer: Customer,
    pub(super) sent_at: Option<Timestamp>,
    /// Fields of the form as received. `data` contains the parsed values.
    pub(super) text: String,
    pub(super) data: &'m Map<String, Value>,
}

/// Form that is not accepted.
pub(super) struct RefusedForm {
    pub(super) reason: &'static str,
    /// Keys under which flows would know the form.
    pub(super) known_keys: Vec<IdempotencyKey>,
    /// Content to store as a late arrival if one of the keys belongs to a stored submission.
    pub(super) late_arrival: Option<Box<Submission>>,
}

impl From<&'static str> for RefusedForm {
    fn from(reason: &'static str) -> Self {
        Self {
            reason,
            known_keys: Vec::new(),
            late_arrival: None,
        }
    }
}

impl ReceivedForm<'_> {
    /// Returns the form with everything that the store needs.
    pub(super) fn into_inbound(self, catalog: &Catalog) -> Result<InboundSubmission, RefusedForm> {
        let data = self.data;
        let text_of = |name: &str| data.get(name).and_then(Value::as_str);
        let token = text_of("flow_token").and_then(|token| FlowToken::new(token).ok());
        let usable_token = token.clone().filter(FlowToken::is_usable);
        if self.message_id.is_none() && usable_token.is_none() {
            return Err("the message has neither an ID nor a flow_token: it can't be distinguished from a duplicate".into());
        }
        let input = MatchInput {
            phone_number_id: self.phone_number_id,
            token: token.as_ref(),
            data,
        };
        let matching = match_flow(catalog.flows.values().map(AsRef::as_ref), &input);
        let cross_flow_keys = usable_token.as_ref().map_or(Vec::new(), |token| {
            keys_in_other_flows(catalog, &input, token, matching)
        });
        // A form without a usable token may have been completed at the endpoint of its flow. Its
        // fields then contain the reference from the completion.
        let message_reference =
            text_of(IdempotencyKey::REFERENCE_FIELD).and_then(IdempotencyKey::from_reference);
        let message_key = self.message_id.map(IdempotencyKey::for_message);
        let any_flow = || catalog.flows.values().next().map(AsRef::as_ref);
        let Some(named) = matching.or_else(any_flow) else {
            return Err("the config has no flow".into());
        };
        let submission = self.into_submission(named, token);
        let Some(flow) = matching else {
            let reference = message_reference.filter(|_| usable_token.is_none());
            return Err(RefusedForm {
                reason: "no flow in the config matches the message: set a matching `webhook` in one flow",
                known_keys: cross_flow_keys.into_iter().chain(reference).collect(),
                late_arrival: Some(Box::new(submission)),
            });
        };
        let draft_key = IdempotencyKey::for_draft(
            &flow.name,
            submission.flow_token.as_ref(),
            &submission.customer,
        );
        Ok(InboundSubmission {
            form_key: usable_token.map(|token| IdempotencyKey::for_token(&flow.name, &token)),
            message_key,
            message_reference,
            cross_flow_keys,
            draft_key: draft_key.filter(|_| flow.needs_drafts()),
            slot_selector: catalog.slot_selector(flow),
            ..InboundSubmission::new(Submission {
                problems: flow.problems(data),
                ..submission
            })
        })
    }

    fn into_submission(self, flow: &Flow, flow_token: Option<FlowToken>) -> Submission {
        Submission {
            flow: flow.name.clone(),
            flow_token,
            customer: self.customer,
            channel: SubmissionChannel::Webhook,
            message_id: self.message_id.cloned(),
            screen: None,
            data: self.text.into(),
            unknown_fields: "".into(),
            problems: Vec::new(),
            sent_at: self.sent_at,
        }
    }
}

/// Returns the keys under which flows other than `matching` would know the token. A flow whose
/// matcher excludes the message may still expect its own message with the same token. Its key must
/// not match the form of another flow.
fn keys_in_other_flows(
    catalog: &Catalog,
    input: &MatchInput<'_>,
    token: &FlowToken,
    matching: Option<&Flow>,
) -> Vec<IdempotencyKey> {
    let may_know = |other: &&Flow| {
        matching.is_none_or(|flow| flow.name != other.name)
            && !other.matcher.excludes(input, matching.is_some())
    };
    let flows = catalog.flows.values().map(AsRef::as_ref).filter(may_know);
    flows
        .map(|other| IdempotencyKey::for_token(&other.name, token))
        .collect()
}
