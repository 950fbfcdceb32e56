//! The page of the reader's own account: password and signed-in browsers.

use askama::Template;

use super::sign_in::{new_password, problem};
use crate::admin::access::SignInView;
use crate::dashboard::context::PageContext;
use crate::dashboard::notices::Notice;
use crate::dashboard::page::{Page, PageError};
use crate::dashboard::request::PageRequest;
use crate::dashboard::view::View;
use crate::domain::access::AccountPrincipal;
use crate::domain::access::password::PASSWORD_CHARS_MIN;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    view: &'a View,
    account: &'a AccountPrincipal,
    sign_ins: Vec<SignInView>,
    min_characters: usize,
    problem: Option<String>,
}

/// Shows the page.
pub(in crate::dashboard) fn show(
    context: &PageContext,
    _: &PageRequest,
) -> Result<Page, PageError> {
    Page::render(&account_page(context, None)?)
}

fn account_page(
    context: &PageContext,
    problem: Option<String>,
) -> Result<AccountPage<'_>, PageError> {
    let signed_in = context.signed_in()?;
    Ok(AccountPage {
        view: &context.view,
        account: &signed_in.account,
        sign_ins: context.access.sign_ins(signed_in)?,
        min_characters: PASSWORD_CHARS_MIN,
        problem,
    })
}

/// Changes the password. All other browsers are signed out, and this one gets a new secret.
pub(in crate::dashboard) fn change_password(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let password = match new_password(context, request) {
        Ok(password) => password,
        Err(differ) => return Page::refused(&account_page(context, Some(differ))?),
    };
    let current = request.form.raw("current").unwrap_or_default();
    let signed_in = context.signed_in()?;
    match context
        .access
        .change_password(signed_in, current, password, request.browser())
    {
        Ok(new) => {
            let page = Page::done("/account", Notice::PasswordChanged);
            Ok(page.with_cookie(context.sign_in_cookie(&new)))
        }
        Err(refused) => {
            let problem = problem(&context.view, refused)?;
            Page::refused(&account_page(context, Some(problem))?)
        }
    }
}

/// Signs out one other browser.
pub(in crate::dashboard) fn end_sign_in(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let id: String = request.path_fields.required("id")?;
    if !context.access.end_sign_in(context.signed_in()?, &id)? {
        return Err(PageError::NotFound);
    }
    Ok(Page::done("/account", Notice::SignInEnded))
}

/// Signs out all other browsers.
pub(in crate::dashboard) fn end_other_sign_ins(
    context: &PageContext,
    _: &PageRequest,
) -> Result<Page, PageError> {
    let signed_in = context.signed_in()?;
    for other in context.access.sign_ins(signed_in)? {
        if !other.is_current {
            context.access.end_sign_in(signed_in, &other.id)?;
        }
    }
    Ok(Page::done("/account", Notice::SignInEnded))
}
