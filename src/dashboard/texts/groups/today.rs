//! Texts of the first page.

/// Texts of the first page.
#[derive(Debug)]
pub(in crate::dashboard) struct TodayTexts {
    pub(in crate::dashboard) needs_attention: &'static str,
    pub(in crate::dashboard) all_well: &'static str,
    pub(in crate::dashboard) waits_for_you: &'static str,
    pub(in crate::dashboard) nothing_waits: &'static str,
    pub(in crate::dashboard) dead_letters: &'static str,
    pub(in crate::dashboard) unassigned_leads: &'static str,
    pub(in crate::dashboard) open_leads: &'static str,
    pub(in crate::dashboard) my_open_leads: &'static str,
    pub(in crate::dashboard) drafts: &'static str,
    pub(in crate::dashboard) next_bookings: &'static str,
    pub(in crate::dashboard) no_bookings: &'static str,
    /// Name of the button before a phone number.
    pub(in crate::dashboard) call: &'static str,
    pub(in crate::dashboard) unknown_customer: &'static str,
    pub(in crate::dashboard) forms: &'static str,
    pub(in crate::dashboard) bookings: &'static str,
    pub(in crate::dashboard) traffic: &'static str,
    /// Window of the numbers about answers: `{}` is the number of minutes.
    pub(in crate::dashboard) last_minutes: &'static str,
    pub(in crate::dashboard) flow: &'static str,
    pub(in crate::dashboard) requests: &'static str,
    /// Meta's limit of the answer time.
    pub(in crate::dashboard) meta_limit: &'static str,
    pub(in crate::dashboard) median: &'static str,
    pub(in crate::dashboard) slowest_tenth: &'static str,
    pub(in crate::dashboard) errors: &'static str,
    pub(in crate::dashboard) refused: &'static str,
    pub(in crate::dashboard) since_start: &'static str,
    pub(in crate::dashboard) nothing_refused: &'static str,
    pub(in crate::dashboard) backups: &'static str,
    pub(in crate::dashboard) backups_off: &'static str,
    pub(in crate::dashboard) backups_current: &'static str,
    /// Backup that is late: `{}` is the number of seconds.
    pub(in crate::dashboard) backups_behind: &'static str,
    pub(in crate::dashboard) backups_problem: &'static str,
    pub(in crate::dashboard) last_full_backup: &'static str,
    pub(in crate::dashboard) last_copy: &'static str,
    pub(in crate::dashboard) never: &'static str,
    pub(in crate::dashboard) no_leads: &'static str,
    /// Lead of a list: `{}` is its number.
    pub(in crate::dashboard) lead_number: &'static str,
}
