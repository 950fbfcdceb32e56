//! The page of the sign-in, and the sign-out.

use askama::Template;

use crate::admin::access::AccessError;
use crate::dashboard::context::{PageContext, SIGN_IN_COOKIE};
use crate::dashboard::cookies::SetCookie;
use crate::dashboard::links::local_path;
use crate::dashboard::notices::Notice;
use crate::dashboard::page::{Page, PageError};
use crate::dashboard::request::PageRequest;
use crate::dashboard::view::View;
use crate::domain::access::password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, PasswordProblem};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    view: &'a View,
    name: &'a str,
    /// Path that opens after the sign-in.
    next: &'a str,
    problem: Option<String>,
}

/// Shows the page. Somebody who has signed in goes to the first page.
pub(in crate::dashboard) fn show(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let next = next_path(request.query.get("next"));
    if context.view.account.is_some() {
        return Ok(Page::redirect(next));
    }
    Page::render(&SignInPage {
        view: &context.view,
        name: "",
        next,
        problem: None,
    })
}

/// Signs in with an account name and a password.
pub(in crate::dashboard) fn sign_in(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let form = &request.form;
    let next = next_path(form.get("next"));
    let name = form.get("name").unwrap_or_default();
    let password = form.raw("password").unwrap_or_default();
    match context.access.sign_in(name, password, request.browser()) {
        Ok(new) => Ok(Page::redirect(next).with_cookie(context.sign_in_cookie(&new))),
        Err(refused) => Page::refused(&SignInPage {
            view: &context.view,
            name,
            next,
            problem: Some(problem(&context.view, refused)?),
        }),
    }
}

/// Ends the sign-in of this browser.
pub(in crate::dashboard) fn sign_out(
    context: &PageContext,
    _: &PageRequest,
) -> Result<Page, PageError> {
    context.access.sign_out(context.signed_in()?)?;
    let page = Page::done("/sign-in", Notice::SignedOut);
    Ok(page.with_cookie(SetCookie::secret(SIGN_IN_COOKIE, "", 0)))
}

/// Returns the new password of a form, which has it twice.
///
/// # Errors
/// The text for a person who typed two different ones.
pub(in crate::dashboard) fn new_password<'a>(
    context: &PageContext,
    request: &'a PageRequest,
) -> Result<&'a str, String> {
    let password = request.form.raw("password").unwrap_or_default();
    if request.form.raw("repeated") == Some(password) {
        Ok(password)
    } else {
        Err(context.view.texts.access.passwords_differ.to_owned())
    }
}

/// Returns the text of a refused sign-in or password.
pub(in crate::dashboard) fn problem(
    view: &View,
    refused: AccessError,
) -> Result<String, PageError> {
    let texts = &view.texts.access;
    match refused {
        AccessError::WrongCredentials => Ok(texts.wrong_password.to_owned()),
        AccessError::TooManyAttempts { retry_after } => {
            let seconds = retry_after.get().div_ceil(1000).max(1);
            Ok(view.fill(texts.try_again_in, view.number(seconds)))
        }
        AccessError::InvalidInvite => Ok(texts.invite_invalid.to_owned()),
        AccessError::Password(PasswordProblem::TooShort) => {
            Ok(view.fill(texts.password_rule, PASSWORD_CHARS_MIN))
        }
        AccessError::Password(PasswordProblem::TooLong) => {
            Ok(view.fill(texts.password_long, PASSWORD_BYTES_MAX))
        }
        AccessError::Password(PasswordProblem::TooCommon) => Ok(texts.password_common.to_owned()),
        AccessError::Admin(error) => Err(error.into()),
    }
}

/// Returns the path that opens after the sign-in. Only pages of the dashboard are opened.
fn next_path(sent: Option<&str>) -> &str {
    let local = sent.and_then(local_path);
    local
        .filter(|path| !path.starts_with("/sign-"))
        .unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_opens_only_pages_of_the_dashboard() {
        assert_eq!(next_path(Some("/leads?x=1")), "/leads?x=1");
        for other in [
            None,
            Some("//evil.example"),
            Some("https://x"),
            Some("/sign-out"),
        ] {
            assert_eq!(next_path(other), "/", "{other:?}");
        }
    }
}
