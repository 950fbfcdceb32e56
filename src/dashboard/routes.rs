//! The pages and actions in one table: their paths, who may use them, and their functions.

use hyper::Method;

use super::context::PageContext;
use super::fields::{Fields, decode_segment};
use super::page::{Page, PageError};
use super::pages::{account, accounts, invite, preferences, sign_in, today};
use super::request::PageRequest;
use crate::domain::access::Role;
use crate::domain::url_text::match_path;

/// Function of a page or an action.
pub(super) type PageFn = fn(&PageContext, &PageRequest) -> Result<Page, PageError>;

/// Readers of a page. The admin handler authorizes each request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Everybody, also without a sign-in.
    Everybody,
    /// All accounts.
    Accounts,
    /// Owners.
    Owners,
}

impl Readers {
    /// Returns `true` if an account with this role may use the page.
    pub(super) const fn includes(self, role: Role) -> bool {
        match self {
            Self::Everybody | Self::Accounts => true,
            Self::Owners => matches!(role, Role::Owner),
        }
    }
}

/// Page with its action.
pub(super) struct Route {
    /// Path below the base path. A segment in braces is a field.
    pub(super) path: &'static str,
    pub(super) readers: Readers,
    /// Shows the page.
    get: Option<PageFn>,
    /// Executes the form that is sent to the path.
    post: Option<PageFn>,
}

impl Route {
    const fn page(path: &'static str, readers: Readers, get: PageFn) -> Self {
        Self {
            path,
            readers,
            get: Some(get),
            post: None,
        }
    }

    const fn action(path: &'static str, readers: Readers, post: PageFn) -> Self {
        Self {
            path,
            readers,
            get: None,
            post: Some(post),
        }
    }

    /// Adds the function of the form that the page sends to its own path.
    const fn with_action(mut self, post: PageFn) -> Self {
        self.post = Some(post);
        self
    }

    /// Returns the function for a method.
    pub(super) fn handler(&self, method: &Method) -> Result<PageFn, PageError> {
        let (found, allowed) = match *method {
            Method::GET | Method::HEAD => (self.get, "POST"),
            Method::POST => (self.post, "GET"),
            _ => (None, if self.get.is_some() { "GET" } else { "POST" }),
        };
        found.ok_or(PageError::MethodNotAllowed(allowed))
    }
}

use Readers::{Accounts, Everybody, Owners};

/// All pages and actions. A fixed segment must come before a field at the same place.
static ROUTES: &[Route] = &[
    Route::page("/", Accounts, today::show),
    Route::page("/sign-in", Everybody, sign_in::show).with_action(sign_in::sign_in),
    Route::action("/sign-out", Accounts, sign_in::sign_out),
    Route::page("/invite/{secret}", Everybody, invite::show).with_action(invite::accept),
    Route::action("/preferences", Everybody, preferences::choose),
    Route::page("/account", Accounts, account::show),
    Route::action("/account/password", Accounts, account::change_password),
    Route::action(
        "/account/sign-ins/end-others",
        Accounts,
        account::end_other_sign_ins,
    ),
    Route::action("/account/sign-ins/{id}/end", Accounts, account::end_sign_in),
    Route::page("/accounts", Owners, accounts::show),
    Route::action("/accounts/invite", Owners, accounts::invite),
    Route::action("/accounts/{name}/role", Owners, accounts::change_role),
    Route::action("/accounts/{name}/reset", Owners, accounts::reset),
    Route::action("/accounts/{name}/remove", Owners, accounts::remove),
];

/// Finds the route of a path, with the fields of the path.
pub(super) fn find_route(path: &str) -> Option<(&'static Route, Fields)> {
    ROUTES
        .iter()
        .find_map(|route| Some((route, path_fields(route.path, path)?)))
}

/// Returns the paths of all pages without fields that a role may open.
pub(super) fn pages_for(role: Role) -> Vec<&'static str> {
    let is_page = |route: &&Route| route.get.is_some() && !route.path.contains('{');
    let open = ROUTES.iter().filter(is_page);
    open.filter(|route| route.readers.includes(role))
        .map(|route| route.path)
        .collect()
}

/// Returns the decoded fields of a path that has the form of the template.
fn path_fields(template: &'static str, path: &str) -> Option<Fields> {
    let encoded = match_path(template, path)?.into_iter();
    let decoded = encoded.map(|(name, segment)| Some((name, decode_segment(segment)?)));
    Some(Fields::from_pairs(decoded.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_routes() {
        let (route, fields) = find_route("/accounts/ann%20b/role").unwrap();
        assert_eq!(route.path, "/accounts/{name}/role");
        assert_eq!(fields.get("name"), Some("ann b"));
        assert_eq!(find_route("/").unwrap().0.path, "/");
        for unknown in [
            "",
            "//",
            "/accounts/",
            "/accounts/x/role/",
            "/accounts//role",
            "/x",
        ] {
            assert!(find_route(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn each_route_is_found_by_its_path() {
        for route in ROUTES {
            let path = route.path.replace(['{', '}'], "");
            assert_eq!(find_route(&path).unwrap().0.path, route.path);
        }
    }

    #[test]
    fn only_owners_open_pages_of_owners() {
        assert!(pages_for(Role::Owner).contains(&"/accounts"));
        assert!(!pages_for(Role::Viewer).contains(&"/accounts"));
        assert!(!pages_for(Role::Agent).contains(&"/accounts"));
        assert!(pages_for(Role::Agent).contains(&"/"));
    }
}
