//! Measures durable commits by batch size. The baseline appends the same bytes to a plain file and
//! syncs it.
//!
//! Run `cargo bench --bench commit`. Store and baseline take turns, so that a change of the disk
//! speed affects both. The results are medians of three rounds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement, not a program"
)]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowgate::clock::SystemClock;
use flowgate::domain::ids::{Customer, FlowName, FlowToken};
use flowgate::domain::submission::inbound::{Inbound, InboundSubmission};
use flowgate::domain::submission::{IdempotencyKey, Submission, SubmissionChannel};
use flowgate::store::{AcceptInbound, Store, StoreOptions};

const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;

fn main() {
    println!(
        "{:>6} {:>14} {:>14} {:>7} {:>12}",
        "batch", "store ops/s", "append ops/s", "ratio", "commit ms"
    );
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for batch in [1, 8, 64, 256] {
        let (mut stored, mut appended) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            stored.push(store_round(
                &folder.path().join(format!("{batch}-{round}.redb")),
                batch,
            ));
            appended.push(append_round(
                &folder.path().join(format!("{batch}-{round}.log")),
                batch,
            ));
        }
        let (stored, appended) = (median(&mut stored), median(&mut appended));
        let size = f64::from(u32::try_from(batch).unwrap());
        println!(
            "{batch:>6} {stored:>14.0} {appended:>14.0} {:>7.2} {:>12.2}",
            stored / appended,
            size / stored * 1000.0
        );
    }
}

fn store_round(path: &Path, batch: usize) -> f64 {
    let mut options = StoreOptions::new(path.to_owned());
    options.min_free_bytes = 0;
    let store = Store::start(options, Arc::new(SystemClock::new())).unwrap();
    store.wait_open().unwrap();
    let mut number = 0;
    let rate = rate(batch, || {
        let arrivals = (0..batch)
            .map(|_| {
                number += 1;
                Inbound::Submission(Box::new(form(number)))
            })
            .collect();
        store
            .execute_blocking(AcceptInbound { inbound: arrivals })
            .unwrap();
    });
    store.close().unwrap();
    std::fs::remove_file(path).unwrap();
    rate
}

fn append_round(path: &Path, batch: usize) -> f64 {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let row = form(1).submission.data;
    // Body, key and a small record, the same amount that the store writes for one submission.
    let bytes = [row.as_bytes(), &[0; 40]].concat().repeat(batch);
    let rate = rate(batch, || {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    });
    std::fs::remove_file(path).unwrap();
    rate
}

/// Returns the submissions per second that `commit` makes durable, with `batch` submissions per
/// call.
fn rate(batch: usize, mut commit: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut commits = 0_u32;
    while began.elapsed() < ROUND {
        commit();
        commits += 1;
    }
    f64::from(commits) * f64::from(u32::try_from(batch).unwrap()) / began.elapsed().as_secs_f64()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap()
}

/// Returns a form of about 600 bytes, the size of a form with ten fields.
fn form(number: u64) -> InboundSubmission {
    let flow = FlowName::new("bench").unwrap();
    let token = FlowToken::new(&format!("bench-{number}")).unwrap();
    let fields: Vec<_> = (0..10)
        .map(|n| format!("\"field_{n}\":\"{:>40}\"", number + n))
        .collect();
    let form_key = Some(IdempotencyKey::for_token(&flow, &token));
    let submission = Submission {
        flow,
        flow_token: Some(token),
        customer: Customer::from_text("1234567890"),
        channel: SubmissionChannel::Plain,
        message_id: None,
        screen: None,
        data: format!("{{{}}}", fields.join(",")).into(),
        unknown_fields: "".into(),
        problems: Vec::new(),
        sent_at: None,
    };
    InboundSubmission {
        form_key,
        allows_new_choice: true,
        ..InboundSubmission::new(submission)
    }
}
