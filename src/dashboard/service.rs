//! Answers the requests of browsers: finds the account, checks forms, calls the page, and builds
//! the response. All checks that each page needs are here.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, Request};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::assets;
use super::context::{PageContext, SIGN_IN_COOKIE};
use super::cookies::{self, SetCookie, find_cookie};
use super::links::{Links, with_field};
use super::notices::Notice;
use super::page::{Page, PageContent, PageError};
use super::pages::error::{ErrorPage, OpeningPage};
use super::request::{PageRequest, is_same_origin};
use super::response::{self, PageResponse};
use super::routes::{self, Readers, Route};
use super::texts::Language;
use super::view::{Theme, View};
use crate::admin::AdminHandler;
use crate::admin::access::{AccessService, SignedIn, new_secret};
use crate::domain::access::Principal;
use crate::domain::access::secret::AccessSecret;
use crate::domain::time::Millis;

/// Maximum number of pages that are built at the same time. Each needs a thread, and more would
/// take the processor from the forms of customers.
const PAGES_MAX: usize = 4;
/// Maximum time that a request waits until its page is built.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
/// Cookie with the secret of a browser before its sign-in.
const VISITOR_COOKIE: &str = "__Host-flowgate-visitor";
/// Header with the token that a script sends with each change.
const CSRF_HEADER: &str = "x-csrf-token";
/// Lifetime of the visitor cookie, in seconds.
const VISITOR_SECONDS: u64 = 24 * 60 * 60;

/// Pages of the dashboard.
#[derive(Clone)]
pub struct Dashboard {
    parts: Arc<Inner>,
}

/// Reason why a request to the API has no principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The browser has not signed in.
    SignInRequired,
    /// The request may come from another site.
    ForeignRequest,
    /// The account can't be read.
    Unavailable,
}

struct Inner {
    admin: AdminHandler,
    access: AccessService,
    /// URL of the dashboard, without a slash at its end.
    url: String,
    sign_in_seconds: u64,
    /// Scheme, host and port under which browsers reach the dashboard.
    origin: String,
    base: Arc<str>,
    free_threads: Semaphore,
}

/// Browser that sent a request.
enum Visitor {
    /// The account of the browser is not known, because the request was not examined.
    Unknown,
    /// Browser that has not signed in.
    Stranger {
        secret: AccessSecret,
        /// `true` if the browser does not have the secret yet.
        is_new: bool,
    },
    SignedIn(SignedIn),
}

impl Visitor {
    /// Returns the token that the forms of the browser must have.
    fn csrf_token(&self) -> String {
        match self {
            Self::Unknown => String::new(),
            Self::Stranger { secret, .. } => secret.csrf_token(),
            Self::SignedIn(signed_in) => signed_in.csrf_token(),
        }
    }

    fn has_csrf_token(&self, token: &str) -> bool {
        match self {
            Self::Unknown => false,
            Self::Stranger { secret, .. } => secret.has_csrf_token(token),
            Self::SignedIn(signed_in) => signed_in.has_csrf_token(token),
        }
    }
}

impl Dashboard {
    /// Creates the dashboard that browsers reach at `url`, which has no slash at its end. A sign-in
    /// ends after `sign_in_ttl`.
    #[must_use]
    pub fn new(admin: AdminHandler, access: AccessService, url: &str, sign_in_ttl: Millis) -> Self {
        let (origin, base) = split_url(url);
        Self {
            parts: Arc::new(Inner {
                admin,
                access,
                url: url.to_owned(),
                sign_in_seconds: sign_in_ttl.get() / 1000,
                origin: origin.to_owned(),
                base: base.into(),
                free_threads: Semaphore::new(PAGES_MAX),
            }),
        }
    }

    /// Returns the path in front of all paths, without a slash at its end.
    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.parts.base
    }

    /// Returns the name of the host under which browsers reach the dashboard, without its port.
    #[must_use]
    pub fn host(&self) -> &str {
        let origin = &self.parts.origin;
        let host = origin
            .split_once("://")
            .map_or(origin.as_str(), |(_, host)| host);
        // The port of an IPv6 address is behind the bracket.
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }

    /// Finds the account that sends a request to the API.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn authenticate(&self, head: Parts) -> Result<Principal, Refusal> {
        let parts = Arc::clone(&self.parts);
        let in_thread = tokio::task::spawn_blocking(move || parts.authenticate(&head));
        // The panic hook has logged a panic.
        in_thread.await.unwrap_or(Err(Refusal::Unavailable))
    }

    /// Answers one request. The caller limits the size of the body.
    pub async fn respond(&self, request: Request<Bytes>) -> PageResponse {
        let parts = Arc::clone(&self.parts);
        let Some(request) = PageRequest::new(request, &parts.base) else {
            // Somebody typed only the host, or left out the slash at the end.
            return response::see_other(&format!("{}/", parts.base));
        };
        if let Some(name) = request.path.strip_prefix("/assets/") {
            return parts.answer_asset(&request, name);
        }
        let permit = timeout(QUEUE_TIMEOUT, self.parts.free_threads.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return parts.answer_early_error(&request, &busy());
        };
        let in_thread = {
            let (parts, request) = (Arc::clone(&parts), request.clone());
            tokio::task::spawn_blocking(move || parts.answer(request))
        };
        // The panic hook has logged a panic of the page.
        in_thread
            .await
            .unwrap_or_else(|_| parts.answer_early_error(&request, &busy()))
    }
}

fn busy() -> PageError {
    PageError::Unavailable(String::new())
}

/// Splits a URL into its origin and its path.
fn split_url(url: &str) -> (&str, &str) {
    let scheme = url.find("://").map_or(0, |at| at.saturating_add(3));
    let path = url.get(scheme..).and_then(|rest| rest.find('/'));
    let (origin, base) = match path.and_then(|at| url.split_at_checked(scheme.saturating_add(at))) {
        Some(split) => split,
        None => (url, ""),
    };
    (origin, base.trim_end_matches('/'))
}

impl Inner {
    fn authenticate(&self, head: &Parts) -> Result<Principal, Refusal> {
        let secret = find_cookie(&head.headers, SIGN_IN_COOKIE).ok_or(Refusal::SignInRequired)?;
        let found = self.access.authenticate(secret);
        let found = found.map_err(|_| Refusal::Unavailable)?;
        let signed_in = found.ok_or(Refusal::SignInRequired)?;
        if head.method != Method::GET {
            let token = head.headers.get(CSRF_HEADER);
            let token = token.and_then(|token| token.to_str().ok());
            let has_token = signed_in.has_csrf_token(token.unwrap_or_default());
            if !has_token || !is_same_origin(&head.headers, &self.origin) {
                return Err(Refusal::ForeignRequest);
            }
        }
        Ok(signed_in.principal())
    }

    fn answer_asset(&self, request: &PageRequest, name: &str) -> PageResponse {
        match assets::find_asset(name) {
            Some(found) if matches!(request.method, Method::GET | Method::HEAD) => {
                response::asset(found)
            }
            Some(_) => self.answer_early_error(request, &PageError::MethodNotAllowed("GET")),
            None => self.answer_early_error(request, &PageError::NotFound),
        }
    }

    /// Answers a request on a thread that may wait.
    fn answer(&self, mut request: PageRequest) -> PageResponse {
        let visitor = match self.find_visitor(&request) {
            Ok(visitor) => visitor,
            Err(error) => return self.answer_early_error(&request, &error),
        };
        if matches!(visitor, Visitor::Stranger { .. }) && request.is_from_other_site() {
            return opening_page(self.base_link(&request.path_and_query()));
        }
        let fields = request.parse_fields();
        let is_ours = request.method != Method::POST || self.is_own_form(&visitor, &request);
        let new_secret = match &visitor {
            Visitor::Stranger {
                secret,
                is_new: true,
            } => Some(secret.to_text()),
            _ => None,
        };
        let context = self.context(&request, visitor);
        // Programs send other bodies to unknown paths, and must see that no page is there.
        let known = routes::find_route(&request.path).ok_or(PageError::NotFound);
        let answer = known.and_then(|(route, path_fields)| {
            fields?;
            request.path_fields = path_fields;
            Self::call_page(route, &context, &mut request, is_ours)
        });
        let mut response = self.response(&context, &request, answer);
        if let Some(secret) = new_secret {
            let cookie = SetCookie::secret(VISITOR_COOKIE, &secret, VISITOR_SECONDS);
            response::set_cookies(&mut response, &[cookie]);
        }
        response
    }

    fn base_link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Finds the account that has signed in with the browser.
    fn find_visitor(&self, request: &PageRequest) -> Result<Visitor, PageError> {
        if let Some(secret) = find_cookie(&request.headers, SIGN_IN_COOKIE)
            && let Some(signed_in) = self.access.authenticate(secret)?
        {
            return Ok(Visitor::SignedIn(signed_in));
        }
        let known = find_cookie(&request.headers, VISITOR_COOKIE).and_then(AccessSecret::parse);
        Ok(Visitor::Stranger {
            is_new: known.is_none(),
            secret: known.unwrap_or_else(new_secret),
        })
    }

    /// Returns `true` if a form is of this dashboard and of this browser, not of another site. All
    /// actions pass here.
    fn is_own_form(&self, visitor: &Visitor, request: &PageRequest) -> bool {
        let token = request.form.raw("csrf").unwrap_or_default();
        visitor.has_csrf_token(token) && request.is_same_origin(&self.origin)
    }

    /// Checks who sent the request, and calls the function of its route. `is_ours`: the form, if
    /// there is one, is of this dashboard.
    fn call_page(
        route: &Route,
        context: &PageContext,
        request: &mut PageRequest,
        is_ours: bool,
    ) -> Result<Page, PageError> {
        let handler = route.handler(&request.method)?;
        check_reader(route, context)?;
        if !is_ours {
            return Err(PageError::ForeignForm);
        }
        handler(context, request)
    }

    fn context(&self, request: &PageRequest, visitor: Visitor) -> PageContext {
        let cookie = |name| find_cookie(&request.headers, name);
        let language = cookie(cookies::LANGUAGE).and_then(Language::from_name);
        let language = language.unwrap_or_else(|| request.preferred_language());
        let texts = language.texts();
        let csrf = visitor.csrf_token();
        let signed_in = match visitor {
            Visitor::SignedIn(signed_in) => Some(signed_in),
            Visitor::Stranger { .. } | Visitor::Unknown => None,
        };
        let account = signed_in
            .as_ref()
            .map(|signed_in| signed_in.account.clone());
        let pages = account
            .as_ref()
            .map(|account| routes::pages_for(account.role));
        let notice = request.query_field(Notice::FIELD);
        let view = View {
            texts,
            language,
            theme: cookie(cookies::THEME)
                .and_then(Theme::from_name)
                .unwrap_or(Theme::System),
            links: Links::new(Arc::clone(&self.base), pages.unwrap_or_default()),
            path: request.path_and_query(),
            csrf,
            account,
            notice: notice
                .and_then(|name| Notice::from_name(&name))
                .map(|notice| notice.text(texts)),
            zone: self.admin.time_zone(),
            now: self.admin.now(),
        };
        PageContext {
            view,
            admin: self.admin.clone(),
            access: self.access.clone(),
            signed_in,
            url: self.url.clone(),
            sign_in_seconds: self.sign_in_seconds,
        }
    }

    fn response(
        &self,
        context: &PageContext,
        request: &PageRequest,
        answer: Result<Page, PageError>,
    ) -> PageResponse {
        let page = match answer {
            Ok(page) => page,
            Err(PageError::SignInRequired) => {
                let next = if request.method == Method::GET {
                    &*context.view.path
                } else {
                    "/"
                };
                let path = with_field("/sign-in", "next", next);
                return response::see_other(&self.base_link(&path));
            }
            Err(error) => return render_error(&context.view, &error),
        };
        let mut response = match page.content {
            PageContent::Html(html) => response::page(html),
            PageContent::RefusedForm(html) => response::refused_form(html),
            PageContent::SeeOther(path) => response::see_other(&self.base_link(&path)),
        };
        response::set_cookies(&mut response, &page.cookies);
        response
    }

    /// Answers with an error before the account of the browser is known.
    fn answer_early_error(&self, request: &PageRequest, error: &PageError) -> PageResponse {
        render_error(&self.context(request, Visitor::Unknown).view, error)
    }
}

/// Refuses a page that the reader may not open.
fn check_reader(route: &Route, context: &PageContext) -> Result<(), PageError> {
    match (&context.view.account, route.readers) {
        (_, Readers::Everybody) => Ok(()),
        (None, _) => Err(PageError::SignInRequired),
        (Some(account), readers) if readers.includes(account.role) => Ok(()),
        (Some(_), _) => Err(PageError::Forbidden(String::new())),
    }
}

/// Renders the page of an error.
fn render_error(view: &View, error: &PageError) -> PageResponse {
    if let PageError::Failed(message) | PageError::Unavailable(message) = error {
        tracing::warn!(path = %view.path, error = %message, "a page of the dashboard failed");
    }
    let html = ErrorPage::new(view, error).render().unwrap_or_default();
    response::error_page(error, html)
}

/// Builds a page that opens `link` again. A browser that comes from another site sends the cookie
/// of the sign-in only then (`SameSite=Strict`).
fn opening_page(link: String) -> PageResponse {
    response::page(OpeningPage { link }.render().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_split_into_origin_and_base_path() {
        for (url, origin, base) in [
            (
                "https://forms.example.com/admin",
                "https://forms.example.com",
                "/admin",
            ),
            (
                "https://forms.example.com/a/b/",
                "https://forms.example.com",
                "/a/b",
            ),
            ("https://forms.example.com", "https://forms.example.com", ""),
            (
                "https://forms.example.com/",
                "https://forms.example.com",
                "",
            ),
            (
                "https://forms.example.com/admin/",
                "https://forms.example.com",
                "/admin",
            ),
            ("http://localhost:8081/x", "http://localhost:8081", "/x"),
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081", ""),
            ("http://127.0.0.1:8081/", "http://127.0.0.1:8081", ""),
        ] {
            assert_eq!(split_url(url), (origin, base), "{url}");
        }
    }
}
