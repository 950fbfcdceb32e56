//! The first page: what needs attention, what waits for a person, who comes next, and how the forms
//! and backups do. An agent sees only their own leads and bookings.

use askama::Template;

use crate::admin::{
    AdminQuery, BookingRow, EndpointHealthRow, FlowHealthRow, LeadRow, ListFilter, QueryRow,
    StatusRow,
};
use crate::dashboard::context::PageContext;
use crate::dashboard::page::{Page, PageError};
use crate::dashboard::request::PageRequest;
use crate::dashboard::view::View;
use crate::domain::access::Role;
use crate::domain::day_range::DayRange;
use crate::domain::health::assessment::Severity;

/// Maximum number of bookings on the page.
const BOOKINGS_MAX: usize = 12;
/// Maximum number of leads on the page of an agent.
const LEADS_MAX: usize = 12;
/// Maximum time for an answer that WhatsApp expects, in milliseconds.
const ANSWER_MS_MAX: u64 = 1000;

/// Pages on which the problem of a warning is solved, by the command that the warning names.
const PAGES_OF_COMMANDS: [(&str, &str); 8] = [
    ("flowgate dead-letters", "/operations/dead-letters"),
    ("flowgate jobs", "/operations/jobs"),
    ("flowgate deliveries", "/operations/deliveries"),
    ("flowgate destinations", "/operations/destinations"),
    ("flowgate gateways", "/operations/gateways"),
    ("flowgate flows", "/operations/flows"),
    ("flowgate agents", "/agents"),
    ("flowgate leads", "/leads"),
];

#[derive(Template)]
#[template(path = "today.html")]
struct TodayPage<'a> {
    view: &'a View,
    /// `None` for an agent, who does not see the server.
    server: Option<ServerPart>,
    /// Open leads of an agent. `None` for other roles.
    leads: Option<Vec<LeadRow>>,
    bookings: Vec<BookingRow>,
}

/// Part of the page about the whole server.
struct ServerPart {
    status: StatusRow,
    warnings: Vec<Warning>,
    waiting: Vec<Waiting>,
    flows: Vec<EndpointHealthRow>,
}

/// Warning with the page on which its problem is solved.
struct Warning {
    text: String,
    page: Option<String>,
}

/// Number of things that wait for a person.
struct Waiting {
    icon: &'static str,
    label: &'static str,
    count: u64,
    /// Class of the number: `bad`, `warn` or none.
    class: &'static str,
    page: Option<String>,
}

/// Shows the page.
pub(in crate::dashboard) fn show(
    context: &PageContext,
    _: &PageRequest,
) -> Result<Page, PageError> {
    let view = &context.view;
    let is_agent = view
        .account
        .as_ref()
        .is_some_and(|account| account.role == Role::Agent);
    let (server, leads) = if is_agent {
        (None, Some(open_leads(context)?))
    } else {
        (Some(server_part(context)?), None)
    };
    Page::render(&TodayPage {
        view,
        server,
        leads,
        bookings: next_bookings(context)?,
    })
}

fn server_part(context: &PageContext) -> Result<ServerPart, PageError> {
    let view = &context.view;
    let status: StatusRow = context.row(AdminQuery::Status)?;
    let health = context.rows(AdminQuery::FlowHealth { flow: None })?;
    let flows = health.into_iter().filter_map(|row| match row {
        FlowHealthRow::Endpoint(row) => Some(row),
        FlowHealthRow::Meta(_) => None,
    });
    let warning = |text: &String| Warning {
        page: page_of_warning(text).and_then(|page| view.links.page(page)),
        text: text.clone(),
    };
    Ok(ServerPart {
        warnings: status.warnings.iter().map(warning).collect(),
        waiting: list_waiting(view, &status),
        flows: flows.collect(),
        status,
    })
}

/// Returns the page on which the problem of a warning is solved.
fn page_of_warning(text: &str) -> Option<&'static str> {
    let mut commands = text.split('`').skip(1).step_by(2);
    let page_of = |command: &str| {
        let matches = |(known, _): &&(&str, &str)| {
            let rest = command.strip_prefix(known);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        PAGES_OF_COMMANDS
            .iter()
            .find(matches)
            .map(|(_, page)| *page)
    };
    commands.find_map(page_of)
}

/// Returns the things that wait for a person, without those of which there are none.
fn list_waiting(view: &View, status: &StatusRow) -> Vec<Waiting> {
    let texts = &view.texts.today;
    let all = [
        (
            "failed",
            texts.dead_letters,
            status.jobs.dead,
            "bad",
            "/operations/dead-letters",
        ),
        (
            "leads",
            texts.unassigned_leads,
            status.leads.unassigned,
            "warn",
            "/leads",
        ),
        ("leads", texts.open_leads, status.leads.open, "", "/leads"),
        (
            "draft",
            texts.drafts,
            status.drafts,
            "",
            "/operations/drafts",
        ),
    ];
    let waiting = all.map(|(icon, label, count, class, page)| Waiting {
        icon,
        label,
        count,
        class,
        page: view.links.page(page),
    });
    waiting
        .into_iter()
        .filter(|entry| entry.count > 0)
        .collect()
}

fn open_leads(context: &PageContext) -> Result<Vec<LeadRow>, PageError> {
    let rows = context.rows(AdminQuery::Leads(ListFilter {
        state: Some("open".to_owned()),
        limit: LEADS_MAX,
        ..ListFilter::default()
    }))?;
    Ok(readable(rows))
}

/// Returns the bookings of today and tomorrow that have not ended.
fn next_bookings(context: &PageContext) -> Result<Vec<BookingRow>, PageError> {
    let days: DayRange = "today..tomorrow".parse().map_err(|_| PageError::NotFound)?;
    let rows = context.rows(AdminQuery::Bookings(ListFilter {
        days: Some(days),
        ..ListFilter::default()
    }))?;
    let now = context.view.now;
    let next = readable(rows)
        .into_iter()
        .filter(|booking: &BookingRow| booking.end > now);
    Ok(next.take(BOOKINGS_MAX).collect())
}

fn readable<T>(rows: Vec<QueryRow<T>>) -> Vec<T> {
    let readable = rows.into_iter().filter_map(|row| match row {
        QueryRow::Row(row) => Some(row),
        QueryRow::Unreadable(_) => None,
    });
    readable.collect()
}

impl ServerPart {
    fn refused_total(&self) -> u64 {
        self.status.refused.values().copied().sum()
    }

    /// Returns the flows that had requests.
    fn active_flows(&self) -> impl Iterator<Item = &EndpointHealthRow> {
        let is_active = |row: &&EndpointHealthRow| row.requests.is_some_and(|count| count > 0);
        self.flows.iter().filter(is_active)
    }

    fn has_traffic(&self) -> bool {
        self.active_flows().next().is_some()
    }

    /// Returns the length of the window of the numbers about flows, in minutes.
    fn minutes(&self) -> u64 {
        self.flows.first().map_or(0, |row| row.minutes)
    }
}

/// Returns the class of a flow's severity.
fn severity_class(row: &EndpointHealthRow) -> &'static str {
    match row.severity {
        Some(Severity::Ok) => "good",
        Some(Severity::Warning) => "warn",
        Some(Severity::Alert) => "bad",
        None => "",
    }
}

/// Returns the class of an answer time.
fn answer_class(ms: Option<u64>) -> &'static str {
    match ms {
        Some(ms) if ms > ANSWER_MS_MAX => "bad",
        Some(ms) if ms > ANSWER_MS_MAX / 2 => "warn",
        _ => "",
    }
}

/// Formats an answer time.
fn milliseconds(ms: Option<u64>) -> String {
    ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_lead_to_their_pages() {
        for (text, page) in [
            (
                "2 dead letters: `flowgate dead-letters list` shows",
                Some("/operations/dead-letters"),
            ),
            (
                "team has no agent: `flowgate agents add NAME`",
                Some("/agents"),
            ),
            ("see `flowgate agents`", Some("/agents")),
            (
                "set it: `export X=1`, then `flowgate jobs list`",
                Some("/operations/jobs"),
            ),
            ("`flowgate jobsx`", None),
            ("free disk space", None),
        ] {
            assert_eq!(page_of_warning(text), page, "{text}");
        }
    }

    #[test]
    fn answer_times_are_judged_by_the_limit() {
        assert_eq!(answer_class(None), "");
        assert_eq!(answer_class(Some(500)), "");
        assert_eq!(answer_class(Some(501)), "warn");
        assert_eq!(answer_class(Some(1001)), "bad");
        assert_eq!(milliseconds(Some(12)), "12 ms");
        assert_eq!(milliseconds(None), "–");
    }
}
