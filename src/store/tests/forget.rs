//! Tests of the removal of a customer: no row has the bytes of the customer afterwards.

use std::sync::Arc;

use crate::domain::booking::calendar::Calendar;
use crate::domain::customer_names::CustomerNames;
use crate::domain::ids::{Customer, SubmissionId};
use crate::domain::job::retry::RetryDecision;
use crate::store::engine::{Rows, TableDef, TableKey, TableValue};
use crate::store::rows::forgets::PendingForget;
use crate::store::rows::schema;
use crate::store::tx::forget::{CustomerRow, ForgetRows, StartForget};
use crate::store::{ForgottenRows, Snapshot, count_customer_rows, forget_customer, resume_forgets};

use super::booking_forms::{booking_form, calendar_spec};
use super::customer_forms::{customer, form_of, message, unnamed};
use super::support::{StoreBench, draft, flow, new_lead, row_count, token_key, unparsable};

const ANN: u64 = 71_234_567;
const ANSWERS: &str = r#"{"name":"Annegret Beispiel","phone":"491571234567"}"#;

/// Adds the stored bytes of all rows of `table` with a needle to `found`.
fn find_in_table<K: TableKey, V: TableValue>(
    read: &Snapshot,
    table: TableDef<K, V>,
    needles: &[&str],
    found: &mut Vec<String>,
) {
    read.with_read_txn(|txn| {
        let rows = txn.open(table)?;
        for row in rows.all_rows()? {
            let mut bytes = Vec::new();
            row?.write_change(&mut bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let hits = needles.iter().filter(|needle| text.contains(**needle));
            found.extend(hits.map(|needle| format!("{}: {needle}", table.name())));
        }
        Ok(())
    })
    .unwrap();
}

macro_rules! find_in_tables {
    ($read:expr, $needles:expr, [$($table:ident)*]) => {{
        let mut found = Vec::new();
        $(find_in_table($read, schema::$table, $needles, &mut found);)*
        (found, [$(schema::$table.name()),*].len())
    }};
}

/// Lists the tables with a needle. Reads every table of the schema.
fn find_everywhere(bench: &StoreBench, needles: &[&str]) -> Vec<String> {
    let (found, table_count) = find_in_tables!(&bench.read(), needles, [
        META_BYTES SUBMISSIONS LATE_ARRIVALS TOKEN_LOG MESSAGE_LOG COMPLETIONS ENCRYPTED_REQUESTS
        ENCRYPTED_REQUEST_LOG CACHED_RESPONSES EVICTED_KEYS DRAFTS ABANDONED_DRAFTS FLOW_ERRORS
        HEALTH_EVENTS UNHEALTHY_FLOWS PHONE_NUMBERS JOBS DUE DELIVERIES_DUE ORDERED_HEADS
        ORDERED_QUEUE EVENTS DELIVERIES DELIVERY_RESPONSES SUSPENSIONS RECEIPTS WAMIDS
        AWAITING_CUSTOMER GATEWAY_SESSIONS GATEWAY_HISTORY GATEWAY_LAST_SEEN ATTEMPTS DEAD_LETTERS
        RETRIED_DEAD_LETTERS AGENTS LEADS OPEN_LEADS WAITING_LEADS PENDING_HANDOVERS
        CUSTOMER_AGENTS RENAMED_CUSTOMERS BOOKINGS OCCUPIED_SLOTS TALLIES RETENTION LAST_ENDS
        PENDING_FORGETS FEEDS ACCOUNTS SIGN_INS AUDIT_LOG
    ]);
    assert_eq!(
        table_count,
        schema::TABLE_COUNT,
        "the test reads every table"
    );
    found
}

fn names() -> CustomerNames {
    CustomerNames::new(Customer::new(None, Some("491571234567")))
}

/// Stores two customers with everything that flowgate stores about a customer.
fn bench_with_two_customers() -> StoreBench {
    let bench = StoreBench::with_subscribers();
    bench.add_agent("Zoe", None);
    for (number, answers) in [(ANN, ANSWERS), (2, r#"{"name":"Bob"}"#)] {
        let job = bench.accept_job(form_of(&format!("t{number}"), number, answers));
        bench.finish(job, Some(new_lead(customer(number))));
        // The message that follows the form at the endpoint of an encrypted flow.
        let job = bench.accept_job(unnamed(&format!("e{number}"), answers));
        bench.accept(message(&format!("e{number}"), number, "1", answers));
        bench.fail_job(job, "no agent", RetryDecision::GiveUp);
        let token = format!("d{number}");
        let draft = draft(Some(&token), customer(number), answers);
        bench.save_draft(token_key(&token), draft);
        let mut bad = unparsable(None);
        bad.payload = format!(r#"{{"from":"4915{number:08}","body":"Annegret Beispiel"}}"#);
        if number == ANN {
            bench.accept_unparsable_message(bad);
        }
    }
    bench
}

#[test]
fn forgotten_customer_is_in_no_row() {
    let bench = bench_with_two_customers();
    let needles = ["491571234567", "DE.71234567", "Annegret", "Beispiel"];
    assert!(find_everywhere(&bench, &needles).len() > 10);
    let flows = vec![flow()];
    let counted = count_customer_rows(&bench.store, names(), flows.clone()).unwrap();
    let before = bench.counts();
    assert_eq!(
        (
            counted.submissions,
            counted.drafts,
            counted.leads,
            counted.messages
        ),
        (2, 1, 1, 1)
    );
    assert!(
        counted.waiting_deliveries > 4 && counted.dead_letters == 2,
        "{counted:?}"
    );
    assert_eq!(counted.unreadable, 0);
    let removed = forget_customer(&bench.store, names(), flows.clone()).unwrap();
    assert_eq!(removed, counted);
    assert_eq!(find_everywhere(&bench, &needles), [""; 0]);
    bench.assert_invariants();
    // The rows of the other customer are complete.
    let after = bench.counts();
    assert_eq!((before.submissions, after.submissions), (4, 2));
    assert_eq!((after.drafts, after.leads_open, after.jobs_dead), (1, 1, 1));
    let again = forget_customer(&bench.store, names(), flows).unwrap();
    assert_eq!(again, ForgottenRows::default());
    // A copy of the form that arrives late stays a copy.
    assert!(bench.is_duplicate(form_of("t71234567", ANN, ANSWERS)));
    assert_eq!(find_everywhere(&bench, &needles), [""; 0]);
}

#[test]
fn interrupted_removal_continues_with_all_names() {
    let bench = bench_with_two_customers();
    // Only another form connects this one with the number.
    let mut nameless = form_of("t3", ANN, ANSWERS);
    nameless.submission.customer.phone = None;
    bench.accept_job(nameless);
    let mut known = names();
    known.learn(&customer(ANN));
    let forget = PendingForget {
        names: known,
        flows: vec![flow()],
    };
    bench.execute(StartForget { forget });
    // The process dies after the rows with the number were removed.
    let submissions = [1, 2].map(|id| CustomerRow::Submission(SubmissionId::new(id)));
    bench.execute(ForgetRows {
        rows: submissions.to_vec(),
    });
    let bench = bench.reopen();
    assert_eq!(row_count(&bench.read(), schema::PENDING_FORGETS), 1);
    resume_forgets(&bench.store, &|| false).unwrap();
    assert_eq!(row_count(&bench.read(), schema::PENDING_FORGETS), 0);
    let needles = ["491571234567", "DE.71234567", "Annegret"];
    assert_eq!(find_everywhere(&bench, &needles), [""; 0]);
    bench.assert_invariants();
}

#[test]
fn form_with_another_name_of_the_customer_is_found() {
    let bench = bench_with_two_customers();
    let mut nameless = form_of("t3", ANN, ANSWERS);
    nameless.submission.customer.phone = None;
    bench.accept_job(nameless);
    let removed = forget_customer(&bench.store, names(), vec![flow()]).unwrap();
    assert_eq!(removed.submissions, 3);
    assert_eq!(row_count(&bench.read(), schema::PENDING_FORGETS), 0);
    assert_eq!(find_everywhere(&bench, &["DE.71234567"]), [""; 0]);
    bench.assert_invariants();
}

#[test]
fn place_of_forgotten_customer_is_free_again() {
    let bench = StoreBench::new();
    let calendar = Arc::new(Calendar::new(calendar_spec("chair")).unwrap());
    let visit = |token: &str, number| {
        let data = r#"{"date":"2026-11-25","time":"09:00"}"#;
        let mut form = booking_form(&calendar, token, data);
        form.submission.customer = customer(number);
        form
    };
    assert!(bench.is_new(visit("t1", ANN)));
    assert!(!bench.is_new(visit("t2", 2)), "the only place is taken");
    let removed = forget_customer(&bench.store, names(), vec![flow()]).unwrap();
    assert_eq!((removed.submissions, removed.bookings), (1, 1));
    assert!(bench.is_new(visit("t3", 2)));
    bench.assert_invariants();
}
