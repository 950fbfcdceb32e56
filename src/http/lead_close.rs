//! Handles `POST /leads/ID/close`: a CRM closes a lead.
//!
//! The request is signed as a Standard Webhook. The signature covers the body and not the path, so
//! the body must name the lead of the path: a copied request can't close another lead.

use hyper::Request;
use hyper::body::Incoming;
use serde::Deserialize;

use super::request::RequestContext;
use super::response::{self, HttpError, HttpResponse};
use crate::domain::ids::LeadId;
use crate::domain::lead::CloseReason;
use crate::store::{CloseLead, LeadOutcome};

/// Maximum size of the body, in bytes. A CRM may send its own record of the lead.
pub(super) const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Path prefix of requests about leads. No flow has such a path.
const PREFIX: &str = "/leads/";
const SUFFIX: &str = "/close";

/// Part of the body that is read.
#[derive(Deserialize)]
struct CloseBody {
    lead_id: LeadId,
}

/// Returns the text between `/leads/` and `/close`. Returns `None` for any other path.
pub(super) fn parse_path(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)
}

/// Handles a request for the lead with the ID `id`. A lead that is closed already is a success: a
/// CRM may send its request again.
pub(super) async fn handle_post(
    context: &mut RequestContext<'_>,
    id: &str,
    request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    if context.app.config.credentials.lead_close_keys.is_empty() {
        return Err(HttpError::LeadRequestsDisabled);
    }
    let lead_id = id.parse().map_err(|_| HttpError::InvalidLeadId)?;
    let lead_id = LeadId::new(lead_id);
    let body = context.read_webhook_body(request, BODY_BYTES_MAX).await?;
    let named = serde_json::from_slice(&body).map(|CloseBody { lead_id: named }| named);
    match named {
        Ok(named) if named == lead_id => {}
        Ok(named) => return Err(HttpError::OtherLead { lead_id, named }),
        Err(_) => return Err(HttpError::NoLeadInBody(lead_id)),
    }
    let close = CloseLead {
        lead_id,
        reason: CloseReason::Request,
    };
    let (lead, was_closed) = match context.execute(close).await? {
        LeadOutcome::Updated(lead) => (lead, false),
        LeadOutcome::AlreadyClosed(lead) => (lead, true),
        LeadOutcome::NotFound | LeadOutcome::AgentNotFound => {
            return Err(HttpError::LeadNotFound(lead_id));
        }
    };
    context.log.outcome = if was_closed {
        "already_closed"
    } else {
        "closed"
    };
    context.log.submission_id = Some(lead.submission_id);
    Ok(response::closed_lead(lead_id, &lead, was_closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_leads_are_parsed() {
        assert_eq!(parse_path("/leads/7/close"), Some("7"));
        assert_eq!(parse_path("/leads//close"), Some(""));
        for path in [
            "/leads/7",
            "/leads/close",
            "/leads/7/close/",
            "/lead/7/close",
        ] {
            assert_eq!(parse_path(path), None, "{path}");
        }
    }
}
