//! Texts that all pages share, and those of error pages.

/// Texts of all pages: the frame, buttons, dates.
#[derive(Debug)]
pub(in crate::dashboard) struct CommonTexts {
    pub(in crate::dashboard) language_name: &'static str,
    /// Separator of thousands.
    pub(in crate::dashboard) thousands: &'static str,
    /// Monday to Sunday.
    pub(in crate::dashboard) weekdays: [&'static str; 7],
    /// January to December.
    pub(in crate::dashboard) months: [&'static str; 12],
    /// Date with `{weekday}`, `{day}`, `{month}`.
    pub(in crate::dashboard) date: &'static str,
    /// Date of another year, with `{weekday}`, `{day}`, `{month}`, `{year}`.
    pub(in crate::dashboard) date_with_year: &'static str,
    pub(in crate::dashboard) today: &'static str,
    pub(in crate::dashboard) tomorrow: &'static str,
    pub(in crate::dashboard) yesterday: &'static str,
    pub(in crate::dashboard) just_now: &'static str,
    /// Minutes ago: `{}` is the number.
    pub(in crate::dashboard) minutes_ago: &'static str,
    pub(in crate::dashboard) hours_ago: &'static str,
    pub(in crate::dashboard) days_ago: &'static str,
    pub(in crate::dashboard) skip_to_content: &'static str,
    pub(in crate::dashboard) main_navigation: &'static str,
    pub(in crate::dashboard) more: &'static str,
    pub(in crate::dashboard) nav_today: &'static str,
    pub(in crate::dashboard) nav_calendar: &'static str,
    pub(in crate::dashboard) nav_leads: &'static str,
    pub(in crate::dashboard) nav_customers: &'static str,
    pub(in crate::dashboard) nav_operations: &'static str,
    pub(in crate::dashboard) nav_agents: &'static str,
    pub(in crate::dashboard) nav_accounts: &'static str,
    pub(in crate::dashboard) nav_account: &'static str,
    pub(in crate::dashboard) menu: &'static str,
    pub(in crate::dashboard) language: &'static str,
    pub(in crate::dashboard) theme: &'static str,
    pub(in crate::dashboard) theme_system: &'static str,
    pub(in crate::dashboard) theme_light: &'static str,
    pub(in crate::dashboard) theme_dark: &'static str,
    pub(in crate::dashboard) sign_out: &'static str,
    pub(in crate::dashboard) cancel: &'static str,
    pub(in crate::dashboard) copy: &'static str,
    pub(in crate::dashboard) copied: &'static str,
    pub(in crate::dashboard) open: &'static str,
    pub(in crate::dashboard) no_connection: &'static str,
}

/// Texts of error pages.
#[derive(Debug)]
pub(in crate::dashboard) struct ErrorTexts {
    pub(in crate::dashboard) not_found: &'static str,
    pub(in crate::dashboard) not_found_hint: &'static str,
    pub(in crate::dashboard) forbidden: &'static str,
    pub(in crate::dashboard) forbidden_hint: &'static str,
    pub(in crate::dashboard) invalid: &'static str,
    pub(in crate::dashboard) method_not_allowed: &'static str,
    pub(in crate::dashboard) method_not_allowed_hint: &'static str,
    pub(in crate::dashboard) expired_form: &'static str,
    pub(in crate::dashboard) expired_form_hint: &'static str,
    pub(in crate::dashboard) failed: &'static str,
    pub(in crate::dashboard) unavailable: &'static str,
    pub(in crate::dashboard) unavailable_hint: &'static str,
    pub(in crate::dashboard) to_first_page: &'static str,
    /// A field of a form is missing: `{}` is its name.
    pub(in crate::dashboard) field_missing: &'static str,
}
