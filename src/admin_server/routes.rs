//! Lists the method, the path and the request of each route of the admin API. The server and the
//! client use the same table.
//!
//! See [`crate::admin`] for the requests.

use hyper::Method;

use crate::domain::url_text::{PathField, match_path};

/// Beginning of each path of the API.
pub(super) const API_ROOT: &str = "/api/v1";

/// Type of a request. It decides which enum has its variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    Query,
    Command,
    ServerCommand,
}

/// Route of the API.
#[derive(Debug)]
pub(super) struct Route {
    /// `true`: the fields of the request are in the query, and the request changes nothing.
    /// `false`: the fields are in a JSON body.
    pub(super) is_get: bool,
    /// Path below [`API_ROOT`]. A segment in braces is a field of the request.
    pub(super) path: &'static str,
    pub(super) kind: RequestKind,
    /// Name of the variant in snake case.
    pub(super) variant: &'static str,
}

impl Route {
    pub(super) const fn method(&self) -> Method {
        if self.is_get {
            Method::GET
        } else {
            Method::POST
        }
    }
}

const fn query(path: &'static str, variant: &'static str) -> Route {
    Route {
        is_get: true,
        path,
        kind: RequestKind::Query,
        variant,
    }
}

const fn command(path: &'static str, variant: &'static str) -> Route {
    Route {
        is_get: false,
        path,
        kind: RequestKind::Command,
        variant,
    }
}

const fn server_command(path: &'static str, variant: &'static str) -> Route {
    Route {
        is_get: false,
        path,
        kind: RequestKind::ServerCommand,
        variant,
    }
}

/// Request that changes nothing, but needs a running server.
const fn server_query(path: &'static str, variant: &'static str) -> Route {
    Route {
        is_get: true,
        path,
        kind: RequestKind::ServerCommand,
        variant,
    }
}

/// All routes.
pub(super) const ROUTES: &[Route] = &[
    query("/status", "status"),
    query("/submissions", "submissions"),
    query("/submissions/{id}", "submission"),
    query("/drafts", "drafts"),
    query("/jobs", "jobs"),
    query("/jobs/{id}", "job"),
    query("/dead-letters", "dead_letters"),
    query("/dead-letters/{id}", "dead_letter"),
    command("/dead-letters/retry", "retry_dead_letters"),
    command("/dead-letters/discard", "discard_dead_letters"),
    query("/deliveries", "deliveries"),
    query("/deliveries/{id}", "delivery"),
    command("/deliveries/discard", "discard_deliveries"),
    query("/destinations", "destinations"),
    command("/destinations/{name}/pause", "pause_destination"),
    command("/destinations/{name}/resume", "resume_destination"),
    server_command("/destinations/{name}/test", "test_destination"),
    query("/leads", "leads"),
    query("/leads/{id}", "lead"),
    command("/leads/close", "close_leads"),
    command("/leads/{id}/close", "close_lead"),
    command("/leads/{id}/assign", "assign_lead"),
    query("/agents", "agents"),
    command("/agents", "add_agent"),
    command("/agents/{name}", "set_agent"),
    command("/agents/{name}/pause", "pause_agent"),
    command("/agents/{name}/resume", "resume_agent"),
    command("/agents/{name}/absences", "set_agent_absence"),
    command("/agents/{name}/remove", "remove_agent"),
    command("/imports/agents", "import_agents"),
    command("/imports/forms", "import_forms"),
    query("/bookings", "bookings"),
    query("/bookings/{id}", "booking"),
    command("/bookings/{id}/cancel", "cancel_booking"),
    command("/bookings/{id}/move", "move_booking"),
    query("/slots", "slots"),
    query("/calendars", "calendars"),
    command("/feeds", "create_feed"),
    command("/feeds/revoke", "revoke_feed"),
    query("/trace", "trace"),
    query("/customers", "customers"),
    query("/customers/{name}", "customer"),
    command("/customers/forget", "forget_customer"),
    query("/flows", "flows"),
    query("/flow-errors", "flow_errors"),
    query("/flow-health", "flow_health"),
    server_query("/flows/{flow}/public-key", "flow_public_key"),
    query("/gateways", "gateways"),
    query("/gateways/{name}", "gateway"),
    server_command("/gateways/{name}/restart", "restart_gateway"),
    query("/accounts", "accounts"),
    command("/accounts", "invite_account"),
    command("/accounts/sign-out", "sign_out_accounts"),
    command("/accounts/{name}/role", "set_account_role"),
    command("/accounts/{name}/reset", "reset_account"),
    command("/accounts/{name}/remove", "remove_account"),
    query("/audit-log", "audit_log"),
    query("/copy", "copy_data"),
    query("/integrity", "check_integrity"),
    server_command("/sign-body", "sign_body"),
    server_command("/log-level", "log_level"),
    server_command("/reload", "reload_config"),
    server_command("/promote", "promote"),
];

/// Result of a search for the route of a request.
pub(super) enum RouteMatch<'a> {
    /// The route, with the fields in the path as they are written there.
    Found(&'static Route, Vec<PathField<'a>>),
    /// The path exists, but only for this method.
    OtherMethod(&'static str),
    Unknown,
}

/// Finds the route of a request by its path below [`API_ROOT`]. A path without a field has
/// precedence over one with a field.
pub(super) fn find_route<'a>(method: &Method, path: &'a str) -> RouteMatch<'a> {
    let mut matches: Vec<_> = ROUTES
        .iter()
        .filter_map(|route| Some((route, match_path(route.path, path)?)))
        .collect();
    matches.sort_by_key(|(_, fields)| fields.len());
    let other =
        match matches.iter().map(|(route, _)| route.is_get).max() {
            None => return RouteMatch::Unknown,
            Some(has_get) if matches.iter().all(|(route, _)| route.is_get == has_get) => {
                if has_get { "GET" } else { "POST" }
            }
            Some(_) => "GET, POST",
        };
    let found = matches
        .into_iter()
        .find(|(route, _)| route.method() == *method);
    match found {
        Some((route, fields)) => RouteMatch::Found(route, fields),
        None => RouteMatch::OtherMethod(other),
    }
}

/// Finds the route of a variant.
pub(super) fn route_of(kind: RequestKind, variant: &str) -> Option<&'static Route> {
    ROUTES
        .iter()
        .find(|route| route.kind == kind && route.variant == variant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(method: &Method, path: &str) -> String {
        match find_route(method, path) {
            RouteMatch::Found(route, fields) => format!("{} {fields:?}", route.variant),
            RouteMatch::OtherMethod(allowed) => allowed.to_owned(),
            RouteMatch::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn route_follows_from_method_and_path() {
        let (get, post) = (&Method::GET, &Method::POST);
        for (method, path, expected) in [
            (get, "/leads", "leads []"),
            (get, "/leads/7", r#"lead [("id", "7")]"#),
            (post, "/leads/close", "close_leads []"),
            (post, "/leads/7/close", r#"close_lead [("id", "7")]"#),
            (get, "/leads/7/close", "POST"),
            (post, "/leads", "GET"),
            (&Method::PUT, "/agents", "GET, POST"),
            (get, "/leads/", "unknown"),
            (get, "/leads/7/", "unknown"),
            (get, "leads", "unknown"),
            (get, "", "unknown"),
        ] {
            assert_eq!(describe(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn no_two_routes_are_the_same() {
        for (number, route) in ROUTES.iter().enumerate() {
            for other in ROUTES.iter().skip(number + 1) {
                let is_same_path = route.is_get == other.is_get && route.path == other.path;
                let is_same_request = route.kind == other.kind && route.variant == other.variant;
                assert!(!is_same_path && !is_same_request, "{route:?} {other:?}");
            }
        }
    }
}
