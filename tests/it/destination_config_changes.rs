//! Destinations change while the server runs: secrets rotate, and a destination is removed and
//! added again. No delivery is lost. A destination on this machine is refused unless the config
//! allows it.

use crate::support::fake_services::{Behavior, FakeReceiver, SECRET, flow};
use crate::support::form::Form;
use crate::support::{PLAIN_FLOW, Server, eventually, run};

const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const FAST_RETRY: &str = "timeout = \"300ms\"\nretry = { initial_delay = \"50ms\", max_delay = \"100ms\", max_attempts = 200 }";

fn send(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

fn reload(server: &Server, tables: &str) {
    server.configure(tables);
    let output = server.cli(&["reload"]);
    assert_eq!(output.code, 0, "{output:?}");
}

/// Waits until exactly this number of deliveries is unfinished. The result of a delivery may be
/// recorded a moment after its receipt.
fn until_waiting(server: &Server, count: usize) {
    eventually(&format!("{count} deliveries wait"), || {
        let jobs = server.rows(&["jobs", "list", "--limit", "0"]);
        let waiting = jobs
            .iter()
            .filter(|job| job["kind"] == "deliver" && job["state"] != "done")
            .count();
        (waiting == count).then_some(())
    });
}

#[test]
fn secret_rotation_signs_with_old_and_new_secret() {
    let crm = FakeReceiver::well();
    let config = |secrets: &[&str]| {
        format!(
            "{}{}",
            flow(&["crm"]),
            crm.signed_table("crm", secrets, FAST_RETRY)
        )
    };
    let server = Server::start(&config(&[SECRET]));
    send(&server, "old");
    server.settled();
    reload(&server, &config(&[OTHER_SECRET, SECRET]));
    send(&server, "both");
    server.settled();
    reload(&server, &config(&[OTHER_SECRET]));
    send(&server, "new");
    server.settled();

    let output: Vec<_> = crm
        .asked()
        .iter()
        .map(|asked| {
            (
                asked.token(),
                asked.is_signed_with(SECRET),
                asked.is_signed_with(OTHER_SECRET),
            )
        })
        .collect();
    let expected = [
        ("old", true, false),
        ("both", true, true),
        ("new", false, true),
    ];
    assert_eq!(
        output,
        expected.map(|(token, old, new)| (token.to_owned(), old, new))
    );
    assert_eq!(
        crm.asked()[1]
            .header("webhook-signature")
            .split(' ')
            .count(),
        2
    );
}

#[test]
fn waiting_delivery_is_signed_with_current_secret() {
    let crm = FakeReceiver::with(|_| Behavior::reply_with(500));
    let config = |secret: &str| {
        format!(
            "{}{}",
            flow(&["crm"]),
            crm.signed_table("crm", &[secret], FAST_RETRY)
        )
    };
    let server = Server::start(&config(SECRET));
    send(&server, "waits");
    crm.wait_for_requests(1);
    reload(&server, &config(OTHER_SECRET));
    crm.recover();
    server.settled();
    let asked = crm.asked();
    let (first, last) = (&asked[0], asked.last().unwrap());
    assert!(first.is_signed_with(SECRET) && !first.is_signed_with(OTHER_SECRET));
    assert!(last.is_signed_with(OTHER_SECRET) && !last.is_signed_with(SECRET));
    assert_eq!(first.id(), last.id());
}

#[test]
fn readded_destination_gets_its_waiting_deliveries() {
    let (crm, other) = (
        FakeReceiver::with(|_| Behavior::reply_with(500)),
        FakeReceiver::well(),
    );
    let both = format!(
        "{}{}{}",
        flow(&["crm", "other"]),
        crm.table("crm", FAST_RETRY),
        other.table("other", FAST_RETRY)
    );
    let one = format!("{}{}", flow(&["other"]), other.table("other", FAST_RETRY));
    let mut server = Server::start(&both);
    for number in 0..30 {
        send(&server, &format!("before-{number}"));
    }
    other.wait_for_accepted(30);
    crm.wait_for_requests(1);
    reload(&server, &one);
    send(&server, "meanwhile");
    other.wait_for_accepted(31);
    until_waiting(&server, 30);
    server.kill9();
    server.start_again();
    crm.recover();
    send(&server, "after-a-kill");
    other.wait_for_accepted(32);
    until_waiting(&server, 30);
    assert!(crm.taken().is_empty());

    reload(&server, &both);
    server.settled();
    let mut received: Vec<String> = crm
        .taken()
        .values()
        .map(|copies| copies[0].token())
        .collect();
    received.sort_unstable();
    let mut expected: Vec<String> = (0..30).map(|number| format!("before-{number}")).collect();
    expected.sort_unstable();
    assert_eq!(
        received, expected,
        "and not what came while nobody delivered there"
    );
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
}

#[test]
fn moved_destination_gets_waiting_deliveries_at_new_url() {
    let (old, new) = (FakeReceiver::down(), FakeReceiver::well());
    let config = |world: &FakeReceiver| {
        let rule = "retry = { initial_delay = \"50ms\", max_delay = \"100ms\", max_attempts = 200 }\nbreaker = { open_for = \"1h\" }";
        format!("{}{}", flow(&["crm"]), world.table("crm", rule))
    };
    let server = Server::start(&config(&old));
    for number in 0..30 {
        send(&server, &format!("form-{number}"));
    }
    eventually("its breaker is open", || {
        server
            .log()
            .contains("circuit breaker of a destination opened")
            .then_some(())
    });
    reload(&server, &config(&new));
    server.settled();
    assert_eq!(
        new.taken().len(),
        30,
        "the breaker of another place says nothing of this one"
    );
}

#[test]
fn private_address_requires_allow_private() {
    for host in [
        "localhost",
        "127.0.0.1:8080",
        "[::1]",
        "10.0.0.1",
        "192.168.1.9:81",
        "169.254.169.254",
        "[fd00::1]",
    ] {
        let table =
            |more: &str| format!("\n[destinations.crm]\nurl = \"http://{host}/hook\"\n{more}\n");
        let server = Server::stopped(&format!("{PLAIN_FLOW}{}", table("")));
        for args in [&["config", "check"][..], &["serve"]] {
            let output = run(server.folder(), args);
            assert_eq!(output.code, 2, "{host}: {output:?}");
            assert!(
                output.err.contains("destinations.crm.url")
                    && output.err.contains("allow_private = true"),
                "{output:?}"
            );
        }
        server.configure(&format!("{PLAIN_FLOW}{}", table("allow_private = true")));
        let output = server.cli(&["config", "check"]);
        assert_eq!(output.code, 0, "{host}: {output:?}");
    }
}
