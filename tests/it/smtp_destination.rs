//! Tests e-mails. An event is one mail with the configured texts. A refusal is a dead letter. A
//! wrong connection or password stops the destination before any mail is sent. No customer can add
//! a header line.

use std::fs;

use serde_json::{Value, json};

use crate::support::fake_services::{Behavior, FakeReceiver, add_top_level_keys, flow};
use crate::support::form::Form;
use crate::support::graph::CERTIFICATE;
use crate::support::mail::{GREETING, Line, MailServer, PASSWORD, ReplyFn, Tls, USER};
use crate::support::{Server, eventually, flowgate, run};

/// Retries that are short enough for a test, and a circuit breaker that does not interfere.
const FAST_RETRY: &str = "retry = { initial_delay = \"20ms\", max_delay = \"50ms\", max_attempts = 200 }\nbreaker = { failure_threshold = 1000, open_for = \"100ms\" }";

const MAIL_TEXTS: &str = "messages = { \"submission.accepted\" = { subject = \"New: {submission.answers.name}\", text = \"Form {submission.id} of {submission.answers.name}.\" } }";

/// Starts a server that sends form events to `inbox` by mail and trusts the test certificate.
fn start_server(mail: &MailServer, more: &str) -> Server {
    let mut server = Server::stopped(&format!(
        "{}{}",
        flow(&["inbox"]),
        mail.table("inbox", &format!("{FAST_RETRY}\n{more}"))
    ));
    server.start_with(&[("SSL_CERT_FILE", CERTIFICATE)]);
    server
}

fn send(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

/// Waits until the only delivery is as wanted, and returns its details.
fn delivery(server: &Server, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let id = server.rows(&["deliveries"]).into_iter().next()?["id"].to_string();
        Some(server.row(&["deliveries", "show", &id])).filter(&wanted)
    })
}

/// Replies with `said` to the first line with this verb, and with the default otherwise.
fn once(verb: &'static str, result: &'static str) -> impl Fn(&Line) -> Option<String> {
    always(move |line| line.verb() == verb && line.before == 0, result)
}

fn always(when: impl Fn(&Line) -> bool, result: &'static str) -> impl Fn(&Line) -> Option<String> {
    move |line| when(line).then(|| result.to_owned())
}

#[test]
fn retried_event_is_one_mail_with_one_id() {
    for tls in [Tls::Starttls, Tls::Implicit, Tls::Never] {
        // The first try fails temporarily at the recipient, and the second try at the mail itself.
        let mail =
            MailServer::with_replies(tls, |line| match (line.verb().as_str(), line.before) {
                ("RCPT", 0) => Some("450 4.2.0 greylisted".to_owned()),
                (".", 0) => Some("451-4.3.0 the disk\r\n451 4.3.0 is slow".to_owned()),
                _ => None,
            });
        let server = start_server(&mail, MAIL_TEXTS);
        send(&server, "first");
        let delivery = delivery(&server, "it is delivered", |delivery| {
            delivery["state"] == "done"
        });
        let statuses: Vec<_> = delivery["attempt_history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tried| &tried["status"])
            .collect();
        assert_eq!(statuses, [450, 451, 250], "{tls:?}: {delivery}");
        assert_eq!(
            delivery["attempt_history"][1]["error"],
            "responded with 451 4.3.0 to the mail: problem with the mail system"
        );
        assert_eq!(
            delivery["attempt_history"][2]["response"],
            "2.0.0 queued as 77"
        );

        let taken = mail.taken();
        assert_eq!(taken.len(), 1);
        let submission = delivery["submission_id"].to_string();
        assert_eq!(taken[0].header("Subject"), "New: Ann");
        assert_eq!(
            taken[0].text.trim_end(),
            format!("Form {submission} of Ann.")
        );
        assert_eq!(taken[0].header("From"), "Flowgate <flowgate@shop.example>");
        assert_eq!(
            taken[0].header("To"),
            "Ann <ann@shop.example>, bob@shop.example"
        );
        assert_eq!(taken[0].header("Auto-Submitted"), "auto-generated");
        let id = delivery["webhook_id"].as_str().unwrap();
        assert_eq!(
            taken[0].header("Message-ID"),
            format!("<{id}@shop.example>")
        );
        let rcpt: Vec<String> = mail
            .lines()
            .into_iter()
            .filter(|line| line.verb() == "RCPT")
            .map(|line| line.text)
            .collect();
        let both = ["RCPT TO:<ann@shop.example>", "RCPT TO:<bob@shop.example>"];
        assert_eq!(rcpt, [&both[..1], &both, &both].concat());
        let is_stored =
            |line: &Line| line.is_private || matches!(line.verb().as_str(), "EHLO" | "STARTTLS");
        assert!(
            tls == Tls::Never || mail.lines().iter().all(is_stored),
            "{:?}",
            mail.lines()
        );
        assert!(
            mail.lines()[0].text.starts_with("EHLO [127.0.0.1]"),
            "{:?}",
            mail.lines()
        );
        eventually("it says good-bye", || {
            (mail.times("QUIT") == 3).then_some(())
        });
    }
}

#[test]
fn copy_after_lost_reply_has_same_id() {
    // The server accepts the mail and closes the connection instead of the reply.
    let mail = MailServer::with_replies(Tls::Never, |line| {
        (line.verb() == "." && line.before == 0).then(String::new)
    });
    let server = start_server(&mail, "");
    send(&server, "twice");
    let delivery = delivery(&server, "it is delivered", |delivery| {
        delivery["state"] == "done"
    });
    assert_eq!((mail.times("."), &delivery["attempts"]), (2, &json!(2)));
    let why = delivery["attempt_history"][0]["error"].as_str().unwrap();
    assert!(
        why.starts_with(&format!(
            "the SMTP connection to localhost:{} failed at the mail",
            mail.port()
        )),
        "{why}"
    );
}

#[test]
fn default_mail_text_lists_all_event_fields() {
    let (mail, crm) = (
        MailServer::well(Tls::Starttls),
        FakeReceiver::with(|_| Behavior::reply_with(404)),
    );
    let tables = format!(
        "{}{}{}",
        flow(&["inbox", "crm"]),
        mail.table("inbox", FAST_RETRY),
        crm.table("crm", FAST_RETRY)
    );
    let mut server = Server::stopped(&tables);
    add_top_level_keys(&server, "alerts = [\"inbox\"]");
    server.start_with(&[("SSL_CERT_FILE", CERTIFICATE)]);
    send(&server, "listed");
    let mut taken = mail.wait_for_accepted(2);
    taken.sort_by_key(|mail| mail.header("Subject").to_owned());
    let (alert, form) = (&taken[0], &taken[1]);
    assert!(
        form.header("Subject").starts_with("form: form "),
        "{form:?}"
    );
    for line in ["flow: form", "  flow_token: listed", "    name: Ann"] {
        assert!(
            form.text.contains(&format!("{line}\r\n")),
            "{line}: {}",
            form.text
        );
    }
    let letter = server.rows(&["dead-letters", "list"])[0]["id"].to_string();
    assert_eq!(
        alert.header("Subject"),
        format!("Job {letter} has become a dead letter")
    );
    assert!(
        alert.text.contains("  destination: crm\r\n")
            && alert.text.contains("  reason: responded with 404"),
        "{alert:?}"
    );
}

#[test]
fn permanent_refusal_is_dead_letter_for_all_recipients() {
    for (verb, result, why) in [
        (
            "RCPT",
            "550 5.1.1 <bob@shop.example> no such user",
            "responded with 550 5.1.1 to RCPT (the recipient): problem with the address",
        ),
        (
            ".",
            "554 5.7.1 looks like spam",
            "responded with 554 5.7.1 to the mail: problem with security or a policy",
        ),
    ] {
        // With two recipients, the server refuses the second.
        let nth = usize::from(verb == "RCPT");
        let mail = MailServer::with_replies(
            Tls::Never,
            always(
                move |line| line.verb() == verb && line.before == nth,
                result,
            ),
        );
        let server = start_server(&mail, "");
        send(&server, "refused");
        let dead = delivery(&server, "it is a dead letter", |delivery| {
            delivery["state"] == "dead"
        });
        assert_eq!(
            (&dead["attempts"], &dead["last_error"]),
            (&json!(1), &json!(why))
        );
        let answer = dead["attempt_history"][0]["response"].as_str().unwrap();
        assert!(result.ends_with(answer) && !answer.is_empty(), "{answer}");
        assert!(mail.taken().is_empty());
        assert!(verb == "." || mail.times("DATA") == 0);
        assert!(
            !server.log().contains("no such user"),
            "a server's words stay out of the log"
        );

        // After the cause is fixed, the refused mail can be sent with the same ID.
        mail.becomes(|_| None);
        server.rows(&["dead-letters", "retry", &dead["id"].to_string()]);
        let taken = mail.wait_for_accepted(1);
        assert!(
            taken[0]
                .header("Message-ID")
                .contains(dead["webhook_id"].as_str().unwrap())
        );
    }
}

/// Starts a server with `mail` and a destination for alerts, and sends one form.
fn start_with_alerts(mail: &MailServer, ops: &FakeReceiver, more: &str) -> Server {
    let tables = format!(
        "{}{}{}",
        flow(&["inbox"]),
        mail.table("inbox", &format!("{FAST_RETRY}\n{more}")),
        ops.table("ops", FAST_RETRY)
    );
    let mut server = Server::stopped(&tables);
    add_top_level_keys(&server, "alerts = [\"ops\"]");
    server.start_with(&[("SSL_CERT_FILE", CERTIFICATE)]);
    send(&server, "stops");
    server
}

/// Waits until the destination is disabled, with one alert and no dead letter. Returns the reason.
fn stopped(server: &Server, ops: &FakeReceiver) -> String {
    let alert = ops.wait_for_requests(1)[0].json();
    assert_eq!(alert["type"], "destination.stopped");
    assert_eq!(alert["data"]["destination"]["name"], "inbox");
    eventually("its attempt is noted", || {
        let inbox = server
            .rows(&["destinations"])
            .into_iter()
            .find(|row| row["name"] == "inbox")?;
        (inbox["state"] == "disabled").then_some(())
    });
    for number in 0..5 {
        send(server, &format!("more-{number}"));
    }
    eventually("all wait", || {
        let inbox = server
            .rows(&["destinations"])
            .into_iter()
            .find(|row| row["name"] == "inbox")?;
        (inbox["waiting"] == 6 && inbox["in_flight"] == 0).then_some(())
    });
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
    assert_eq!(ops.request_count(), 1);
    alert["data"]["destination"]["reason"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn invalid_reply_never_reveals_password() {
    for tls in [Tls::Starttls, Tls::Implicit] {
        let mail = MailServer::with_replies(tls, |line| {
            (line.verb() == "AUTH").then(|| format!("xx rejected {PASSWORD}: {}", line.text))
        });
        let ops = FakeReceiver::well();
        let server = start_with_alerts(&mail, &ops, "");
        let failed = eventually("an attempt is noted", || {
            server
                .rows(&["deliveries", "--limit", "0"])
                .into_iter()
                .find(|row| row["last_error"].is_string())
        });
        let asked = mail
            .lines()
            .into_iter()
            .find(|line| line.verb() == "AUTH")
            .unwrap();
        let encoded = asked.text.rsplit(' ').next().unwrap().to_owned();
        assert!(
            failed["last_error"]
                .as_str()
                .unwrap()
                .contains("sent a malformed or unexpected reply"),
            "{failed}"
        );
        let shown = server
            .cli(&["deliveries", "show", &failed["id"].to_string(), "--json"])
            .out;
        let tested = server.cli(&["destinations", "test", "inbox"]);
        for text in [shown, server.log(), tested.out, tested.err] {
            assert!(
                !text.contains(PASSWORD) && !text.contains(&encoded),
                "{text}"
            );
        }
    }
}

#[test]
fn wrong_password_disables_destination_with_one_alert() {
    // The server repeats its input in the reply.
    let mail = MailServer::with_replies(Tls::Starttls, |line| {
        (line.verb() == "AUTH").then(|| format!("535 5.7.8 {PASSWORD} is wrong: {}", line.text))
    });
    let ops = FakeReceiver::well();
    let server = start_with_alerts(&mail, &ops, "");
    let why = stopped(&server, &ops);
    assert!(why.starts_with("responded with 535 5.7.8 to AUTH"), "{why}");
    assert_eq!((mail.times("AUTH"), mail.times("MAIL")), (1, 0));
    let asked = mail
        .lines()
        .into_iter()
        .find(|line| line.verb() == "AUTH")
        .unwrap();
    assert!(asked.is_private);
    let encoded = asked.text.rsplit(' ').next().unwrap().to_owned();
    let oldest = server.rows(&["deliveries", "--limit", "0"]).pop().unwrap();
    let shown = server
        .cli(&["deliveries", "show", &oldest["id"].to_string(), "--json"])
        .out;
    assert!(shown.contains("is wrong: AUTH PLAIN"), "{shown}");
    for text in [&shown, &server.log(), &why] {
        assert!(
            !text.contains(PASSWORD) && !text.contains(&encoded),
            "{text}"
        );
    }

    // When the password is right, the waiting deliveries are sent.
    mail.becomes(|_| None);
    server.rows(&["destinations", "resume", "inbox"]);
    mail.wait_for_accepted(6);
}

#[test]
fn server_without_starttls_gets_no_password_or_mail() {
    // Other cases: a server that withdraws STARTTLS, a server that another party imitates, and a
    // server that accepts a password without encryption.
    let cases: [(&str, ReplyFn, &str); 3] = [
        (
            "offers none",
            Box::new(always(
                |line| line.verb() == "EHLO",
                "250-mail.test\r\n250 AUTH PLAIN LOGIN",
            )),
            "does not support STARTTLS",
        ),
        (
            "takes it back",
            Box::new(always(
                |line| line.verb() == "STARTTLS",
                "502 5.5.1 not any more",
            )),
            "responded with 502 5.5.1 to STARTTLS",
        ),
        (
            "knows us not",
            Box::new(always(
                |line| line.verb() == "EHLO" && line.is_private,
                "250 mail.test",
            )),
            "does not support AUTH PLAIN or LOGIN",
        ),
    ];
    for (case, shown_text, why) in cases {
        let (mail, ops) = (
            MailServer::with_replies(Tls::Starttls, shown_text),
            FakeReceiver::well(),
        );
        let server = start_with_alerts(&mail, &ops, "");
        let reason = stopped(&server, &ops);
        assert!(reason.contains(why), "{case}: {reason}");
        for verb in ["AUTH", "MAIL", "DATA"] {
            assert_eq!(mail.times(verb), 0, "{case}: {:?}", mail.lines());
        }
    }
}

#[test]
fn untrusted_or_injecting_server_gets_no_password() {
    // Text after the reply to STARTTLS would answer commands that are sent under TLS. The other
    // servers have an untrusted certificate or a wrong name.
    let injecting = MailServer::with_replies(
        Tls::Starttls,
        always(
            |line| line.verb() == "STARTTLS",
            "220 go on\r\n250-mail.test\r\n250 AUTH PLAIN",
        ),
    );
    let stranger = MailServer::well(Tls::Starttls);
    let other_name = MailServer::well(Tls::Implicit);
    for (mail, trusts, host, why) in [
        (
            &injecting,
            true,
            "localhost",
            "sent a malformed or unexpected reply",
        ),
        (
            &stranger,
            false,
            "localhost",
            "TLS handshake with localhost",
        ),
        (
            &other_name,
            true,
            "127.0.0.1",
            "TLS handshake with 127.0.0.1",
        ),
    ] {
        let tables = format!(
            "{}{}",
            flow(&["inbox"]),
            mail.table("inbox", FAST_RETRY)
                .replace("\"localhost\"", &format!("\"{host}\""))
        );
        let mut server = Server::stopped(&tables);
        // The machine trusts another authority, not this server.
        let other = server.folder().join("other.pem");
        fs::write(&other, OTHER_AUTHORITY).unwrap();
        let trusted = if trusts {
            CERTIFICATE
        } else {
            other.to_str().unwrap()
        };
        server.start_with(&[("SSL_CERT_FILE", trusted)]);
        send(&server, "waits");
        let failed = delivery(&server, "it failed twice", |delivery| {
            delivery["attempts"].as_u64() >= Some(2)
        });
        assert!(
            failed["state"] != "done" && failed["state"] != "dead",
            "{failed}"
        );
        assert!(
            failed["last_error"].as_str().unwrap().contains(why),
            "{failed}"
        );
        for verb in ["AUTH", "MAIL", "DATA"] {
            assert_eq!(mail.times(verb), 0, "{why}: {:?}", mail.lines());
        }
    }
}

/// Certificate of another test authority.
const OTHER_AUTHORITY: &str = include_str!("../fixtures/tls/other_certificate.pem");

#[test]
fn line_breaks_add_no_recipient_or_command() {
    let mail = MailServer::well(Tls::Never);
    let server = start_server(&mail, MAIL_TEXTS);
    let evil =
        "Ann\r\nBcc: thief@evil.example\r\n\r\n.\r\nMAIL FROM:<x@evil.example>\r\n\u{85}X: y";
    assert!(
        server
            .post("/form", &Form::new("evil").with("name", evil))
            .is_accepted()
    );
    server.settled();
    let taken = mail.wait_for_accepted(1);
    assert_eq!(taken.len(), 1);
    let names: Vec<&str> = taken[0]
        .head
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert!(
        !names.contains(&"Bcc") && !names.contains(&"X"),
        "{names:?}"
    );
    assert_eq!(
        taken[0].header("Subject"),
        "New: Ann Bcc: thief@evil.example . MAIL FROM:<x@evil.example> X: y"
    );
    let text = taken[0].text.replace("\r\n", "\n");
    assert!(
        text.contains("of Ann\nBcc: thief@evil.example\n\n.\nMAIL FROM:<x@evil.example>\n"),
        "{text:?}"
    );
    assert_eq!(
        (mail.times("MAIL"), mail.times("RCPT"), mail.times("BCC")),
        (1, 2, 0),
        "{:?}",
        mail.lines()
    );
}

#[test]
fn endless_or_broken_reply_is_retried() {
    let endless = "250-".to_owned() + &"x".repeat(300 << 10);
    let flood = MailServer::with_replies(Tls::Never, move |line| {
        (line.verb() == "MAIL" && line.before == 0).then(|| endless.clone())
    });
    let odd = MailServer::with_replies(Tls::Starttls, once(GREETING, "HTTP/1.1 400 Bad Request"));
    let leaves = MailServer::with_replies(Tls::Never, once("DATA", ""));
    let lost = MailServer::with_replies(Tls::Never, once("DATA", "250 fine"));
    for mail in [flood, odd, leaves, lost] {
        let server = start_server(&mail, "timeout = \"5s\"");
        send(&server, "later");
        let done = delivery(&server, "it is delivered", |delivery| {
            delivery["state"] == "done"
        });
        assert_eq!(done["attempts"], 2, "{done}");
        assert_eq!(mail.taken().len(), 1);
    }
}

#[test]
fn timeout_of_hanging_server_names_smtp_step() {
    let mail = MailServer::with_replies(Tls::Never, |line| {
        // A server that hangs after it has accepted the mail has accepted it.
        if line.verb() == "QUIT" || (line.verb() == "RCPT" && line.before == 0) {
            // Longer than the timeout, and shorter than the wait of a test.
            std::thread::park_timeout(std::time::Duration::from_secs(2));
        }
        None
    });
    let server = start_server(&mail, "timeout = \"300ms\"");
    send(&server, "hangs");
    let done = delivery(&server, "it is delivered", |delivery| {
        delivery["state"] == "done"
    });
    assert_eq!(
        (&done["attempts"], mail.taken().len()),
        (&json!(2), 1),
        "{done}"
    );
    let why = done["attempt_history"][0]["error"].as_str().unwrap();
    assert_eq!(
        why,
        format!(
            "localhost:{} did not finish within 0.3 s: stopped at RCPT (the recipient)",
            mail.port()
        )
    );
}

#[test]
fn destination_test_sends_marked_mail_and_shows_exchange() {
    let mail = MailServer::well(Tls::Starttls);
    // No server runs. The command itself sends the mail.
    let server = Server::stopped(&format!("{}{}", flow(&["inbox"]), mail.table("inbox", "")));
    let test = |more: &[&str]| {
        let output = flowgate(server.folder())
            .args(["destinations", "test", "inbox", "--json"])
            .args(more)
            .env("SSL_CERT_FILE", CERTIFICATE)
            .output()
            .unwrap();
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            output.status.code(),
            shown,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, shown, _) = test(&[]);
    assert_eq!(
        (code, &shown["delivered"], &shown["status"]),
        (Some(0), &json!(true), &json!(250)),
        "{shown}"
    );
    assert_eq!(shown["response"], "2.0.0 queued as 77");
    let taken = mail.taken().remove(0);
    assert_eq!(taken.header("Subject"), "flowgate: test");
    assert!(
        taken.text.contains("This is a test of destination inbox."),
        "{}",
        taken.text
    );
    assert_eq!(
        shown["body"]
            .as_str()
            .unwrap()
            .replace('\n', "\r\n")
            .trim_end(),
        taken.text.trim_end()
    );
    let subject = json!({"name": "subject", "value": "flowgate: test"});
    assert!(
        shown["request_headers"]
            .as_array()
            .unwrap()
            .contains(&subject),
        "{shown}"
    );

    let (code, ..) = test(&["--event", "booking.confirmed"]);
    assert_eq!(code, Some(0));
    let taken = mail.taken().pop().unwrap();
    assert_eq!(
        taken.header("Subject"),
        "appointment: booked for 2027-01-04 at 09:00"
    );
    assert!(
        taken.text.contains("This is a test of destination inbox."),
        "{}",
        taken.text
    );

    mail.becomes(always(|line| line.verb() == "AUTH", "535 5.7.8 no"));
    let (code, shown, result) = test(&[]);
    assert_ne!(code, Some(0));
    assert_eq!(
        (&shown["delivered"], &shown["status"]),
        (&json!(false), &json!(535))
    );
    assert!(
        result.contains("inbox rejected the test: responded with 535 5.7.8 to AUTH"),
        "{result}"
    );
}

#[test]
fn reload_changes_recipients_texts_and_password() {
    let mail = MailServer::well(Tls::Never);
    let server = start_server(&mail, "");
    send(&server, "before");
    mail.wait_for_accepted(1);
    let reload = |table: &str| {
        server.configure(&format!("{}{table}", flow(&["inbox"])));
        let result = server.cli(&["reload"]);
        assert!(
            result.code == 0 && result.out.contains("inbox"),
            "{result:?}"
        );
    };
    let table = mail
        .table("inbox", FAST_RETRY)
        .replace("\"Ann <ann@shop.example>\", ", "");
    reload(&table);
    send(&server, "to-bob");
    assert_eq!(
        mail.wait_for_accepted(2)[1].header("To"),
        "bob@shop.example"
    );
    let table = format!("{table}{MAIL_TEXTS}\n");
    reload(&table);
    send(&server, "in-words");
    assert_eq!(mail.wait_for_accepted(3)[2].header("Subject"), "New: Ann");

    reload(&table.replace(PASSWORD, "another"));
    send(&server, "wrong");
    eventually("it is stopped", || {
        let row = server.rows(&["destinations"]).remove(0);
        (row["state"] == "disabled" && row["host"] == format!("localhost:{}", mail.port()))
            .then_some(())
    });
}

#[test]
fn config_check_lists_recipients_without_password() {
    let server = Server::stopped(&format!(
        "{}{}",
        flow(&["inbox"]),
        MailServer::well(Tls::Starttls).table("inbox", "")
    ));
    let result = run(server.folder(), &["config", "check"]);
    assert_eq!(result.code, 0, "{result:?}");
    assert!(
        result
            .out
            .contains("  mails go to   ann@shop.example, bob@shop.example\n"),
        "{}",
        result.out
    );
    assert!(
        result
            .out
            .contains("warning: destination inbox: password: the secret is in the config itself"),
        "{}",
        result.out
    );
    assert!(
        !result.out.contains(PASSWORD) && !result.out.contains(USER),
        "{}",
        result.out
    );
}
