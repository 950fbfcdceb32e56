//! The page of an invite, on which a person sets the password of their account.

use askama::Template;

use super::sign_in::{new_password, problem};
use crate::admin::access::AccessError;
use crate::dashboard::context::PageContext;
use crate::dashboard::page::{Page, PageError};
use crate::dashboard::request::PageRequest;
use crate::dashboard::view::View;
use crate::domain::access::password::PASSWORD_CHARS_MIN;

#[derive(Template)]
#[template(path = "invite.html")]
struct InvitePage<'a> {
    view: &'a View,
    account: String,
    min_characters: usize,
    problem: Option<String>,
}

#[derive(Template)]
#[template(path = "invite_invalid.html")]
struct InvalidInvitePage<'a> {
    view: &'a View,
}

/// Shows the page of a valid invite.
pub(in crate::dashboard) fn show(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    show_with(context, request, None)
}

/// Sets the password and signs in.
pub(in crate::dashboard) fn accept(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let password = match new_password(context, request) {
        Ok(password) => password,
        Err(differ) => return show_with(context, request, Some(differ)),
    };
    let secret = invite_secret(request)?;
    match context
        .access
        .redeem_invite(secret, password, request.browser())
    {
        Ok(new) => Ok(Page::redirect("/").with_cookie(context.sign_in_cookie(&new))),
        Err(AccessError::InvalidInvite) => show_invalid(context),
        Err(refused) => {
            let problem = problem(&context.view, refused)?;
            show_with(context, request, Some(problem))
        }
    }
}

fn show_with(
    context: &PageContext,
    request: &PageRequest,
    problem: Option<String>,
) -> Result<Page, PageError> {
    let secret = invite_secret(request)?;
    let invite = match context.access.find_invite(secret) {
        Err(AccessError::InvalidInvite) => return show_invalid(context),
        found => found?,
    };
    let is_refused = problem.is_some();
    let page = InvitePage {
        view: &context.view,
        account: invite.name.to_string(),
        min_characters: PASSWORD_CHARS_MIN,
        problem,
    };
    if is_refused {
        Page::refused(&page)
    } else {
        Page::render(&page)
    }
}

fn show_invalid(context: &PageContext) -> Result<Page, PageError> {
    let view = &context.view;
    Page::refused(&InvalidInvitePage { view })
}

fn invite_secret(request: &PageRequest) -> Result<&str, PageError> {
    request.path_fields.get("secret").ok_or(PageError::NotFound)
}
