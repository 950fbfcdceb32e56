//! Defines the texts that each language has, one file for each group of pages.

mod access;
mod common;
mod today;

pub(in crate::dashboard) use access::AccessTexts;
pub(in crate::dashboard) use common::{CommonTexts, ErrorTexts};
pub(in crate::dashboard) use today::TodayTexts;

/// All texts of one language, by page.
#[derive(Debug)]
pub(in crate::dashboard) struct Texts {
    pub(in crate::dashboard) common: CommonTexts,
    pub(in crate::dashboard) errors: ErrorTexts,
    pub(in crate::dashboard) today: TodayTexts,
    pub(in crate::dashboard) access: AccessTexts,
}
