//! Builds choice lists: the entries of a list that a screen shows, such as slots or agents.

use serde_json::{Value, json};

use super::customer_texts::{Localization, TextKey};
use crate::domain::truncation::truncate_chars;

/// Maximum number of entries in a dropdown (*Flow JSON*, components).
pub const CHOICES_MAX: usize = 200;

/// ID of the single entry in a list without free entries, because a list can't be empty (*Flow
/// JSON*, components). The ID is no date, time or slot, so nobody can book it.
pub const NO_CHOICE_ID: &str = "none";

/// Maximum number of characters in the title of an entry (*Flow JSON*, components).
const TITLE_CHARS_MAX: usize = 30;

/// Options of a choice list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoiceListOptions {
    /// Maximum number of entries: 20 for radio buttons, 200 for dropdowns (*Flow JSON*,
    /// components).
    pub limit: usize,
    /// `true` if full entries are shown as well, not selectable (`enabled`: false).
    pub show_full: bool,
}

impl Default for ChoiceListOptions {
    fn default() -> Self {
        Self {
            limit: CHOICES_MAX,
            show_full: false,
        }
    }
}

/// Returns the list. An empty list gets a single entry with an explanation.
pub(super) fn non_empty_list(
    mut list: Vec<Value>,
    options: ChoiceListOptions,
    key: TextKey,
    texts: &Localization,
) -> Value {
    if list.is_empty() {
        list.push(choice_item(
            NO_CHOICE_ID,
            texts.text(key),
            options.show_full.then_some(false),
        ));
    }
    list.into()
}

/// Returns an entry of a choice list. `enabled` is omitted if the list shows no full entries.
pub(super) fn choice_item(id: &str, title: &str, enabled: Option<bool>) -> Value {
    let title = truncate_chars(title, TITLE_CHARS_MAX);
    match enabled {
        Some(enabled) => json!({"id": id, "title": title, "enabled": enabled}),
        None => json!({"id": id, "title": title}),
    }
}

/// Returns `true` if an entry of a choice list is selectable.
#[must_use]
pub fn is_selectable(choice: &Value) -> bool {
    choice.get("enabled") != Some(&Value::Bool(false))
        && choice.get("id").is_some_and(|id| id != NO_CHOICE_ID)
}
