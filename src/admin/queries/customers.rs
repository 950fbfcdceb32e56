//! Answers the requests about customers: finds them by phone number, ID, name or answer, and shows
//! everything that is stored about one.
//!
//! Customers have no table: a customer is who the forms name. See
//! [`crate::domain::customer::Customer::compare`] for the decision if two forms have one customer.

use std::collections::BTreeSet;

use super::bookings::booking_row;
use super::deliveries::delivery_rows;
use super::search::{self, ScanBudget};
use super::submissions::{draft_state, submission_row};
use crate::admin::context::{AdminContext, AgentNames, RowSink};
use crate::admin::error::AdminError;
use crate::admin::protocol::{CustomerFilter, SearchLimits, max_rows};
use crate::admin::responses::{
    BookingRow, CustomerAgentRow, CustomerDetails, CustomerRow, DeliveryRow, DraftRow, LeadRow,
    SubmissionRow, stored_json,
};
use crate::domain::contact::FormContact;
use crate::domain::customer_search::CustomerTerm;
use crate::domain::ids::{Customer, CustomerMatch};
use crate::domain::submission::draft::Draft;
use crate::store::FoundSubmission;

/// Forms of a customer, and the bookings and leads that they made.
type CustomerRows = (Vec<SubmissionRow>, Vec<BookingRow>, Vec<LeadRow>);

/// Customer with the forms that name the customer, newest first.
struct KnownCustomer {
    /// All names that the forms agree on.
    customer: Customer,
    forms: Vec<FoundSubmission>,
}

/// Returns the customer of a form. A form that names nobody may have a phone number as an answer.
fn customer_of(found: &FoundSubmission) -> Customer {
    if found.customer.is_unknown() {
        let contact = FormContact::from_answers(&stored_json(&found.stored.submission.data));
        let digits = contact.phone.map(|phone| {
            let digits = phone.chars().filter(char::is_ascii_digit);
            digits.collect::<String>()
        });
        return Customer::new(None, digits.as_deref());
    }
    found.customer.clone()
}

/// Returns `true` if a form is from the customer with this phone number or ID.
pub(super) fn is_customer(term: &CustomerTerm, found: &FoundSubmission) -> bool {
    if found.customer.is_unknown() {
        return term.is_name_of(&customer_of(found));
    }
    found.customers().any(|customer| term.is_name_of(customer))
}

/// Adds the names that only one of two records of the same customer has.
fn merge_names(known: &mut Customer, other: &Customer) {
    known.id = known.id.take().or_else(|| other.id.clone());
    known.phone = known.phone.take().or_else(|| other.phone.clone());
}

/// Sends the customers whose forms match the filter, the newest form first.
pub(super) fn list_customers(
    context: &AdminContext,
    filter: &CustomerFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let term = filter.text.as_deref().map(CustomerTerm::new);
    let mut budget = ScanBudget::new(filter.limits.scan);
    let (max, mut listed) = (max_rows(filter.limits.rows), Vec::<Customer>::new());
    let is_wanted = |found: &FoundSubmission| {
        let form = &found.stored.submission;
        let is_flow = filter.flow.as_ref().is_none_or(|flow| *flow == form.flow);
        is_flow
            && term.as_ref().is_none_or(|term| {
                let answers = stored_json(&form.data);
                let is_former = || is_customer(term, found);
                term.find_match(&found.customer, &answers).is_some() || is_former()
            })
    };
    let mut sent = 0_usize;
    search::search_submissions(context, &mut budget, filter.since, is_wanted, |found| {
        let customer = customer_of(&found);
        let is_same = |known: &&mut Customer| known.compare(&customer) == CustomerMatch::Same;
        if let Some(known) = listed.iter_mut().find(is_same) {
            merge_names(known, &customer);
            return Ok(true);
        }
        let answers = stored_json(&found.stored.submission.data);
        let matched = term
            .as_ref()
            .and_then(|term| term.find_match(&found.customer, &answers));
        let contact = FormContact::from_answers(&answers);
        let row = CustomerRow {
            customer: found.customer.name().map(str::to_owned),
            id: found.customer.id.as_deref().map(str::to_owned),
            phone: found
                .customer
                .phone
                .as_deref()
                .map(str::to_owned)
                .or(contact.phone),
            name: contact.name,
            submission_id: found.id,
            flow: found.stored.submission.flow,
            received_at: found.stored.received_at,
            matched,
        };
        listed.push(customer);
        sent = sent.saturating_add(1);
        Ok(sink(crate::admin::context::to_json(row)?) && sent < max)
    })?;
    budget.check_complete()
}

/// Returns everything about the customer with the phone number or ID `name`.
pub(super) fn get_customer(
    context: &AdminContext,
    name: &str,
    limits: SearchLimits,
) -> Result<CustomerDetails, AdminError> {
    let term = CustomerTerm::new(name);
    let mut budget = ScanBudget::new(limits.scan);
    let known = find_customer(context, &term, name, limits, &mut budget)?;
    let is_customers = |draft: &Draft| {
        term.is_name_of(&draft.customer)
            || known.customer.compare(&draft.customer) == CustomerMatch::Same
    };
    let drafts = search::search_drafts(context, is_customers)?;
    if known.forms.is_empty() && drafts.is_empty() {
        budget.check_complete()?;
        return Err(AdminError::not_found(format!(
            "no form is from a customer with the phone number or ID {name:?}: \
             `flowgate customers find TEXT` also searches names and answers"
        )));
    }
    let deliveries = customer_deliveries(context, &known, limits, &mut budget)?;
    let (submissions, bookings, leads) = customer_rows(context, &known)?;
    let names = drafts.iter().find_map(|draft| draft.customer.name());
    Ok(CustomerDetails {
        customer: known.customer.name().or(names).map(str::to_owned),
        name: known.forms.iter().find_map(|found| {
            FormContact::from_answers(&stored_json(&found.stored.submission.data)).name
        }),
        known_as: known_names(&known),
        agents: customer_agents(context, &known)?,
        submissions,
        bookings,
        leads,
        deliveries,
        drafts: drafts
            .into_iter()
            .map(|draft| DraftRow::new(draft.clone(), draft_state(context, &draft)))
            .collect(),
        incomplete: budget.incomplete_reason(),
    })
}

/// Finds the forms of one customer. A second search follows the names that the first one found.
fn find_customer(
    context: &AdminContext,
    term: &CustomerTerm,
    name: &str,
    limits: SearchLimits,
    budget: &mut ScanBudget,
) -> Result<KnownCustomer, AdminError> {
    let mut customers: Vec<KnownCustomer> = Vec::new();
    let max = max_rows(limits.rows);
    let mut count = 0_usize;
    search::search_submissions(
        context,
        budget,
        None,
        |found| is_customer(term, found),
        |found| {
            let customer = customer_of(&found);
            let is_same = |known: &&mut KnownCustomer| {
                known.customer.compare(&customer) != CustomerMatch::Different
            };
            match customers.iter_mut().find(is_same) {
                Some(known) => {
                    merge_names(&mut known.customer, &customer);
                    known.forms.push(found);
                }
                None => customers.push(KnownCustomer {
                    customer,
                    forms: vec![found],
                }),
            }
            count = count.saturating_add(1);
            Ok(count < max)
        },
    )?;
    if customers.len() > 1 {
        let names: Vec<&str> = customers
            .iter()
            .filter_map(|one| one.customer.name())
            .collect();
        return Err(AdminError::invalid(format!(
            "{name:?} is of {} customers: show one by its ID: {}",
            customers.len(),
            names.join(", ")
        )));
    }
    let mut known = customers.pop().unwrap_or_else(|| KnownCustomer {
        customer: Customer::default(),
        forms: Vec::new(),
    });
    if known.customer.names().count() > 1 && known.forms.len() < max {
        let customer = known.customer.clone();
        known.forms.clear();
        search::search_submissions(
            context,
            budget,
            None,
            |found| {
                let is_same = |one: &Customer| customer.compare(one) == CustomerMatch::Same;
                is_customer(term, found) || found.customers().any(is_same)
            },
            |found| {
                known.forms.push(found);
                Ok(known.forms.len() < max)
            },
        )?;
    }
    Ok(known)
}

/// Lists the names of a customer, the current ones first.
fn known_names(known: &KnownCustomer) -> Vec<String> {
    let forms = known.forms.iter();
    let customers = forms.flat_map(FoundSubmission::customers);
    let names = std::iter::once(&known.customer)
        .chain(customers)
        .flat_map(Customer::names);
    let mut listed = Vec::new();
    for name in names {
        if !listed.iter().any(|known| known == name) {
            listed.push(name.to_owned());
        }
    }
    listed
}

fn customer_agents(
    context: &AdminContext,
    known: &KnownCustomer,
) -> Result<Vec<CustomerAgentRow>, AdminError> {
    let (snapshot, names) = (context.snapshot()?, AgentNames::default());
    let mut rows = Vec::new();
    for flow in context.catalog().flows.keys() {
        if let Some((agent, lead_id)) = snapshot.customer_agent(flow, &known.customer)? {
            rows.push(CustomerAgentRow {
                flow: flow.clone(),
                agent: names.lookup(&snapshot, Some(agent)),
                lead_id,
            });
        }
    }
    Ok(rows)
}

/// Returns the forms of a customer, and the bookings and leads that they made.
fn customer_rows(
    context: &AdminContext,
    known: &KnownCustomer,
) -> Result<CustomerRows, AdminError> {
    let (snapshot, names) = (context.snapshot()?, AgentNames::default());
    let (mut submissions, mut bookings, mut leads) = (Vec::new(), Vec::new(), Vec::new());
    for found in &known.forms {
        let row = submission_row(&snapshot, &names, found.id, found.stored.clone())?;
        if let Some(id) = row.booking_id
            && let Some(booking) = snapshot.booking(id)?
        {
            bookings.push(booking_row(context, &snapshot, id, booking)?);
        }
        if let Some(id) = row.lead_id
            && let Some(lead) = snapshot.lead(id)?
        {
            let agent = names.lookup(&snapshot, lead.agent);
            leads.push(LeadRow::new(id, &lead, agent));
        }
        submissions.push(row);
    }
    Ok((submissions, bookings, leads))
}

/// Returns the deliveries about the forms of a customer, newest first.
fn customer_deliveries(
    context: &AdminContext,
    known: &KnownCustomer,
    limits: SearchLimits,
    budget: &mut ScanBudget,
) -> Result<Vec<DeliveryRow>, AdminError> {
    let submissions: BTreeSet<_> = known.forms.iter().map(|found| found.id).collect();
    let Some(first) = known.forms.iter().map(|found| found.stored.job_id).min() else {
        return Ok(Vec::new());
    };
    let mut jobs = search::search_jobs(context, budget, first, &submissions)?;
    jobs.reverse();
    let mut rows = delivery_rows(context, &jobs)?;
    rows.truncate(max_rows(limits.rows));
    Ok(rows)
}
