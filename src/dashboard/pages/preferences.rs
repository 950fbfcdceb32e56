//! The choice of language and theme, stored in cookies of the browser.

use crate::dashboard::context::PageContext;
use crate::dashboard::cookies::{LANGUAGE, SetCookie, THEME};
use crate::dashboard::links::local_path;
use crate::dashboard::page::{Page, PageError};
use crate::dashboard::request::PageRequest;
use crate::dashboard::texts::Language;
use crate::dashboard::view::Theme;

/// Stores the choice and shows the page before again.
pub(in crate::dashboard) fn choose(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let back = request.form.get("back").and_then(local_path).unwrap_or("/");
    let mut page = Page::redirect(back);
    let path = context.view.links.cookie_path();
    if let Some(name) = request.form.get("language") {
        let language = Language::from_name(name).ok_or_else(|| unknown("language", name))?;
        page = page.with_cookie(SetCookie::choice(LANGUAGE, language.as_str(), path));
    }
    if let Some(name) = request.form.get("theme") {
        let theme = Theme::from_name(name).ok_or_else(|| unknown("theme", name))?;
        page = page.with_cookie(SetCookie::choice(THEME, theme.as_str(), path));
    }
    Ok(page)
}

fn unknown(field: &str, name: &str) -> PageError {
    PageError::Invalid(format!("unknown {field} {name:?}"))
}
