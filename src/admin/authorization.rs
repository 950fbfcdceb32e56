//! Decides which requests a principal may send, and limits the requests of agents to their own
//! leads and bookings.
//!
//! See [`crate::domain::access`] for the roles.

use crate::domain::access::{AccountPrincipal, Principal, Role};

use super::error::AdminError;
use super::protocol::AdminRequest;

/// Returns the request that the principal may send: the same one, or one with a filter for the
/// agent's own rows.
pub(super) fn authorize(
    principal: &Principal,
    request: AdminRequest,
) -> Result<AdminRequest, AdminError> {
    match principal {
        Principal::Shell => Ok(request),
        Principal::Account(account) => authorize_account(account, request),
    }
}

fn authorize_account(
    account: &AccountPrincipal,
    request: AdminRequest,
) -> Result<AdminRequest, AdminError> {
    let is_allowed = match account.role {
        Role::Owner => true,
        Role::Viewer => matches!(request, AdminRequest::Query(_)),
        Role::Agent => false,
    };
    if is_allowed {
        Ok(request)
    } else {
        let (name, role) = (account.name.as_str(), account.role.as_str());
        Err(AdminError::forbidden(format!(
            "the account {name} has the role {role}, which does not allow this request"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ErrorCode;
    use crate::admin::protocol::{AdminCommand, AdminQuery};
    use crate::domain::ids::{AccountName, LeadId};

    fn account(role: Role) -> Principal {
        Principal::Account(AccountPrincipal {
            name: AccountName::new("ann").unwrap(),
            role,
            agent: None,
        })
    }

    #[test]
    fn only_owner_changes_and_viewer_reads() {
        let query: AdminRequest = AdminQuery::Status.into();
        let command: AdminRequest = AdminCommand::CloseLead { id: LeadId::new(1) }.into();
        let cases = [
            (Principal::Shell, true, true),
            (account(Role::Owner), true, true),
            (account(Role::Viewer), true, false),
        ];
        for (principal, reads, changes) in cases {
            for (request, is_allowed) in [(&query, reads), (&command, changes)] {
                let authorized = authorize(&principal, request.clone());
                match authorized {
                    Ok(same) => assert!(is_allowed && same == *request, "{principal:?}"),
                    Err(refusal) => {
                        assert!(!is_allowed, "{principal:?}");
                        assert_eq!(refusal.code, ErrorCode::Forbidden);
                    }
                }
            }
        }
    }
}
