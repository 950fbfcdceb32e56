//! Pages of errors, and the page that opens a link of another site.

use askama::Template;

use crate::dashboard::page::PageError;
use crate::dashboard::texts::{Texts, fill};
use crate::dashboard::view::View;

/// Page of an error.
#[derive(Template)]
#[template(path = "error.html")]
pub(in crate::dashboard) struct ErrorPage<'a> {
    view: &'a View,
    title: &'static str,
    hint: &'static str,
    message: String,
}

/// Page that opens `link` at once.
#[derive(Template)]
#[template(path = "opening.html")]
pub(in crate::dashboard) struct OpeningPage {
    pub(in crate::dashboard) link: String,
}

impl<'a> ErrorPage<'a> {
    /// Creates the page of `error`.
    pub(in crate::dashboard) fn new(view: &'a View, error: &PageError) -> Self {
        let (title, hint, message) = describe(view.texts, error);
        Self {
            view,
            title,
            hint,
            message,
        }
    }
}

/// Returns the title, the hint and the message of an error.
fn describe(texts: &'static Texts, error: &PageError) -> (&'static str, &'static str, String) {
    let texts = &texts.errors;
    match error {
        PageError::NotFound => (texts.not_found, texts.not_found_hint, String::new()),
        PageError::ObjectNotFound(message) => {
            (texts.not_found, texts.not_found_hint, message.clone())
        }
        PageError::MethodNotAllowed(_) => (
            texts.method_not_allowed,
            texts.method_not_allowed_hint,
            String::new(),
        ),
        PageError::Forbidden(message) => (texts.forbidden, texts.forbidden_hint, message.clone()),
        // The caller redirects to the sign-in.
        PageError::SignInRequired | PageError::ForeignForm => {
            (texts.expired_form, texts.expired_form_hint, String::new())
        }
        PageError::Invalid(message) => (texts.invalid, "", message.clone()),
        PageError::FieldMissing(name) => (texts.invalid, "", fill(texts.field_missing, &[name])),
        PageError::Failed(message) => (texts.failed, "", message.clone()),
        PageError::Unavailable(message) => {
            (texts.unavailable, texts.unavailable_hint, message.clone())
        }
    }
}
