//! Shows the dashboard to people: pages with forms, rendered by the server.
//!
//! ```text
//! service (account, form checks) ─▶ routes ─▶ pages ─▶ context ─▶ admin handler
//!    └─▶ response (statuses, headers)           └─▶ templates (view: texts, links, formats)
//! ```
//!
//! | module | content |
//! |---|---|
//! | `service` | one request: who sent it, from which page, and its response |
//! | `routes` | table of all pages and actions, with their readers |
//! | `pages` | the pages, one file each; `templates` has their HTML |
//! | `context`, `page`, `request` | what a page gets, and what it returns |
//! | `view` | data of each template: texts, links, account, formats |
//! | `texts` | all texts, one file for each language |
//! | `fields`, `links`, `cookies`, `notices`, `format`, `user_agent` | small parts of pages |
//! | `assets`, `response` | embedded files; statuses and headers |
//!
//! Each action is a form that is answered with a redirect, so that all pages work without a script.
//! The script replaces the content of a page without a full load. Pages get their rows only from
//! [`crate::admin`], which authorizes each request.

mod assets;
mod context;
mod cookies;
mod fields;
mod format;
mod links;
mod notices;
mod page;
mod pages;
mod request;
mod response;
mod routes;
mod service;
#[cfg(test)]
mod tests;
mod texts;
mod user_agent;
mod view;

pub use service::{Dashboard, Refusal};
