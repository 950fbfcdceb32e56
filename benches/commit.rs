//! What a durable commit costs, by batch size, beside appending the same bytes to a plain file and syncing it.
//!
//! `cargo bench --bench commit`. The two take turns, so that a disk that changes its mind changes it for both; medians
//! of three rounds.

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
use flowgate::domain::arrival::{Arrival, Form};
use flowgate::domain::ids::{Customer, FlowName, FlowToken};
use flowgate::domain::submission::{Channel, IdempotencyKey, Submission};
use flowgate::store::{Accept, Store, StoreOptions};

const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;

fn main() {
    println!("{:>6} {:>14} {:>14} {:>7} {:>12}", "batch", "store ops/s", "append ops/s", "ratio", "commit ms");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for batch in [1, 8, 64, 256] {
        let (mut stored, mut appended) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            stored.push(store_round(&folder.path().join(format!("{batch}-{round}.redb")), batch));
            appended.push(append_round(&folder.path().join(format!("{batch}-{round}.log")), batch));
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
    options.free_space_min = 0;
    let store = Store::start(options, Arc::new(SystemClock::new())).unwrap();
    store.wait_open().unwrap();
    let mut number = 0;
    let rate = rate(batch, || {
        let arrivals = (0..batch)
            .map(|_| {
                number += 1;
                Arrival::Form(Box::new(form(number)))
            })
            .collect();
        store.ask(Accept { arrivals }).unwrap();
    });
    store.close().unwrap();
    std::fs::remove_file(path).unwrap();
    rate
}

fn append_round(path: &Path, batch: usize) -> f64 {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let row = form(1).submission.data;
    // The body, a key and a small record: what the store keeps of one submission.
    let bytes = [row.as_bytes(), &[0; 40]].concat().repeat(batch);
    let rate = rate(batch, || {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    });
    std::fs::remove_file(path).unwrap();
    rate
}

/// Submissions a second that `commit`, which takes `batch` of them, makes durable.
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

/// About 600 bytes, as a form of ten fields has.
fn form(number: u64) -> Form {
    let flow = FlowName::new("bench").unwrap();
    let token = FlowToken::new(&format!("bench-{number}")).unwrap();
    let fields: Vec<_> = (0..10).map(|n| format!("\"field_{n}\":\"{:>40}\"", number + n)).collect();
    Form {
        form_key: Some(IdempotencyKey::of_token(&flow, &token)),
        message_key: None,
        former_key: None,
        reference: None,
        elsewhere: Vec::new(),
        draft_key: None,
        asks: None,
        request: None,
        end: None,
        for_good: false,
        answerable: true,
        submission: Submission {
            flow,
            flow_token: Some(token),
            customer: Customer::from_text("1234567890"),
            channel: Channel::Plain,
            message_id: None,
            screen: None,
            data: format!("{{{}}}", fields.join(",")).into(),
            extra: "".into(),
            problems: Vec::new(),
            sent_at: None,
        },
    }
}
