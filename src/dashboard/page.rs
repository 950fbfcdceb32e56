//! Defines the results of a page: its HTML, a redirect after an action, or an error.

use askama::Template;

use super::cookies::SetCookie;
use super::fields::FieldError;
use super::links::with_field;
use super::notices::Notice;
use crate::admin::access::AccessError;
use crate::admin::{AdminError, ErrorCode};

/// Answer of a page or an action.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) content: PageContent,
    pub(super) cookies: Vec<SetCookie>,
}

/// Content of an answer.
#[derive(Debug)]
pub(super) enum PageContent {
    Html(String),
    /// HTML of a form that was refused, with the reason in it.
    RefusedForm(String),
    /// Redirect to a path below the base path, after an action.
    SeeOther(String),
}

impl Page {
    const fn new(content: PageContent) -> Self {
        Self {
            content,
            cookies: Vec::new(),
        }
    }

    /// Renders a template.
    ///
    /// # Errors
    /// [`PageError::Failed`] if the template can't be rendered.
    pub(super) fn render(template: &impl Template) -> Result<Self, PageError> {
        Ok(Self::new(PageContent::Html(html(template)?)))
    }

    /// Renders a template that shows a refused form again, with the reason.
    ///
    /// # Errors
    /// [`PageError::Failed`] if the template can't be rendered.
    pub(super) fn refused(template: &impl Template) -> Result<Self, PageError> {
        Ok(Self::new(PageContent::RefusedForm(html(template)?)))
    }

    /// Redirects to a path below the base path, after an action.
    pub(super) fn redirect(path: impl Into<String>) -> Self {
        Self::new(PageContent::SeeOther(path.into()))
    }

    /// Redirects to a path below the base path, which then shows `notice` once.
    pub(super) fn done(path: &str, notice: Notice) -> Self {
        Self::redirect(with_field(path, Notice::FIELD, notice.as_str()))
    }

    /// Adds a cookie.
    pub(super) fn with_cookie(mut self, cookie: SetCookie) -> Self {
        self.cookies.push(cookie);
        self
    }
}

fn html(template: &impl Template) -> Result<String, PageError> {
    template
        .render()
        .map_err(|error| PageError::Failed(format!("the page can't be shown: {error}")))
}

/// Reason why a page is not shown or an action is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PageError {
    #[error("there is no such page")]
    NotFound,
    /// An object of the page does not exist.
    #[error("{0}")]
    ObjectNotFound(String),
    #[error("the path does not accept this method, only {0}")]
    MethodNotAllowed(&'static str),
    #[error("{0}")]
    Forbidden(String),
    #[error("sign in first")]
    SignInRequired,
    /// The request did not come from a form of this dashboard.
    #[error("the form is not of this dashboard, or too old")]
    ForeignForm,
    #[error("{0}")]
    Invalid(String),
    #[error("a field of the form is missing: {0}")]
    FieldMissing(&'static str),
    #[error("{0}")]
    Failed(String),
    /// The server can't answer at the moment.
    #[error("{0}")]
    Unavailable(String),
}

impl From<AdminError> for PageError {
    fn from(error: AdminError) -> Self {
        let message = error.message;
        match error.code {
            ErrorCode::Invalid => Self::Invalid(message),
            ErrorCode::Forbidden => Self::Forbidden(message),
            ErrorCode::NotFound => Self::ObjectNotFound(message),
            ErrorCode::Unreachable | ErrorCode::Busy => Self::Unavailable(message),
            ErrorCode::Failed | ErrorCode::Untrusted | ErrorCode::Damaged => Self::Failed(message),
        }
    }
}

impl From<AccessError> for PageError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Admin(error) => error.into(),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<FieldError> for PageError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Missing(name) => Self::FieldMissing(name),
            other => Self::Invalid(other.to_string()),
        }
    }
}
