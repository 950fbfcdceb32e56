//! E-mails: an event comes as one mail with the words it should have, a refusal is a dead letter, what is wrong with the way
//! there or with the password stops the destination before anything is said, and no customer writes a line of a head.

use std::fs;

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::graph::CERTIFICATE;
use crate::support::mail::{GREETING, Line, MailServer, PASSWORD, Says, Tls, USER};
use crate::support::world::{Act, World, at_the_top, flow};
use crate::support::{Server, eventually, flowgate, run};

/// Patience that a story can wait for, and a breaker that stays out of its way.
const HASTE: &str = "retry = { first = \"20ms\", ceiling = \"50ms\", attempts = 200 }\nbreaker = { failures = 1000, pause = \"100ms\" }";

const WORDS: &str = "messages = { \"submission.accepted\" = { subject = \"New: {submission.answers.name}\", text = \"Form {submission.id} of {submission.answers.name}.\" } }";

/// A server whose forms are told to `inbox` by mail, and that trusts the stories' certificate.
fn telling(mail: &MailServer, more: &str) -> Server {
    let mut server =
        Server::stopped(&format!("{}{}", flow(&["inbox"]), mail.table("inbox", &format!("{HASTE}\n{more}"))));
    server.start_with(&[("SSL_CERT_FILE", CERTIFICATE)]);
    server
}

fn send(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

/// The only delivery, whole, once it is as wanted.
fn delivery(server: &Server, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let id = server.rows(&["deliveries"]).into_iter().next()?["id"].to_string();
        Some(server.row(&["deliveries", "show", &id])).filter(&wanted)
    })
}

/// Says this to the first line with this verb, and what is usual otherwise.
fn once(verb: &'static str, said: &'static str) -> impl Fn(&Line) -> Option<String> {
    always(move |line| line.verb() == verb && line.before == 0, said)
}

fn always(when: impl Fn(&Line) -> bool, said: &'static str) -> impl Fn(&Line) -> Option<String> {
    move |line| when(line).then(|| said.to_owned())
}

#[test]
fn an_event_is_one_mail_under_one_id_however_often_it_is_tried() {
    for tls in [Tls::Starttls, Tls::Implicit, Tls::Never] {
        // At the first try it passes for the recipient, at the second the mail itself does not, yet.
        let mail = MailServer::saying(tls, |line| match (line.verb().as_str(), line.before) {
            ("RCPT", 0) => Some("450 4.2.0 greylisted".to_owned()),
            (".", 0) => Some("451-4.3.0 the disk\r\n451 4.3.0 is slow".to_owned()),
            _ => None,
        });
        let server = telling(&mail, WORDS);
        send(&server, "first");
        let delivery = delivery(&server, "it is delivered", |delivery| delivery["state"] == "done");
        let statuses: Vec<_> = delivery["history"].as_array().unwrap().iter().map(|tried| &tried["status"]).collect();
        assert_eq!(statuses, [450, 451, 250], "{tls:?}: {delivery}");
        assert_eq!(delivery["history"][1]["error"], "answered 451 4.3.0 to the mail, which is about the mail system");
        assert_eq!(delivery["history"][2]["answer"], "2.0.0 queued as 77");

        let taken = mail.taken();
        assert_eq!(taken.len(), 1);
        let submission = delivery["submission_id"].to_string();
        assert_eq!(taken[0].header("Subject"), "New: Ann");
        assert_eq!(taken[0].text.trim_end(), format!("Form {submission} of Ann."));
        assert_eq!(taken[0].header("From"), "Flowgate <flowgate@shop.example>");
        assert_eq!(taken[0].header("To"), "Ann <ann@shop.example>, bob@shop.example");
        assert_eq!(taken[0].header("Auto-Submitted"), "auto-generated");
        let id = delivery["webhook_id"].as_str().unwrap();
        assert_eq!(taken[0].header("Message-ID"), format!("<{id}@shop.example>"));
        let rcpt: Vec<String> =
            mail.lines().into_iter().filter(|line| line.verb() == "RCPT").map(|line| line.text).collect();
        let both = ["RCPT TO:<ann@shop.example>", "RCPT TO:<bob@shop.example>"];
        assert_eq!(rcpt, [&both[..1], &both, &both].concat());
        let is_kept = |line: &Line| line.is_private || matches!(line.verb().as_str(), "EHLO" | "STARTTLS");
        assert!(tls == Tls::Never || mail.lines().iter().all(is_kept), "{:?}", mail.lines());
        assert!(mail.lines()[0].text.starts_with("EHLO [127.0.0.1]"), "{:?}", mail.lines());
        eventually("it says good-bye", || (mail.times("QUIT") == 3).then_some(()));
    }
}

#[test]
fn a_copy_that_comes_because_nobody_answered_has_the_id_of_the_first() {
    // It takes the mail, and closes instead of saying so.
    let mail = MailServer::saying(Tls::Never, |line| (line.verb() == "." && line.before == 0).then(String::new));
    let server = telling(&mail, "");
    send(&server, "twice");
    let delivery = delivery(&server, "it is delivered", |delivery| delivery["state"] == "done");
    assert_eq!((mail.times("."), &delivery["attempts"]), (2, &json!(2)));
    let why = delivery["history"][0]["error"].as_str().unwrap();
    assert!(why.starts_with(&format!("the exchange with localhost:{} broke off at the mail", mail.port())), "{why}");
}

#[test]
fn without_words_of_the_owners_a_mail_lists_all_there_is_also_for_those_who_run_the_server() {
    let (mail, crm) = (MailServer::well(Tls::Starttls), World::with(|_| Act::say(404)));
    let tables = format!("{}{}{}", flow(&["inbox", "crm"]), mail.table("inbox", HASTE), crm.table("crm", HASTE));
    let mut server = Server::stopped(&tables);
    at_the_top(&server, "alerts = [\"inbox\"]");
    server.start_with(&[("SSL_CERT_FILE", CERTIFICATE)]);
    send(&server, "listed");
    let mut taken = mail.until_taken(2);
    taken.sort_by_key(|mail| mail.header("Subject").to_owned());
    let (alert, form) = (&taken[0], &taken[1]);
    assert!(form.header("Subject").starts_with("form: form "), "{form:?}");
    for line in ["flow: form", "  flow_token: listed", "    name: Ann"] {
        assert!(form.text.contains(&format!("{line}\r\n")), "{line}: {}", form.text);
    }
    let letter = server.rows(&["dead", "list"])[0]["id"].to_string();
    assert_eq!(alert.header("Subject"), format!("Job {letter} has become a dead letter"));
    assert!(
        alert.text.contains("  destination: crm\r\n") && alert.text.contains("  reason: answered 404"),
        "{alert:?}"
    );
}

#[test]
fn what_is_refused_for_good_is_a_dead_letter_at_once_and_nobody_gets_a_part() {
    for (verb, said, why) in [
        (
            "RCPT",
            "550 5.1.1 <bob@shop.example> no such user",
            "answered 550 5.1.1 to RCPT (the recipient), which is about the address",
        ),
        (".", "554 5.7.1 looks like spam", "answered 554 5.7.1 to the mail, which is about security or a policy"),
    ] {
        // Of two recipients it refuses the second.
        let nth = usize::from(verb == "RCPT");
        let mail = MailServer::saying(Tls::Never, always(move |line| line.verb() == verb && line.before == nth, said));
        let server = telling(&mail, "");
        send(&server, "refused");
        let dead = delivery(&server, "it is a dead letter", |delivery| delivery["state"] == "dead");
        assert_eq!((&dead["attempts"], &dead["last_error"]), (&json!(1), &json!(why)));
        let answer = dead["history"][0]["answer"].as_str().unwrap();
        assert!(said.ends_with(answer) && !answer.is_empty(), "{answer}");
        assert!(mail.taken().is_empty());
        assert!(verb == "." || mail.times("DATA") == 0);
        assert!(!server.log().contains("no such user"), "a server's words stay out of the log");

        // What was refused can be sent once it is mended, under the same id.
        mail.becomes(|_| None);
        server.rows(&["dead", "retry", &dead["id"].to_string()]);
        let taken = mail.until_taken(1);
        assert!(taken[0].header("Message-ID").contains(dead["webhook_id"].as_str().unwrap()));
    }
}

/// A server with `mail` and an admin who hears of trouble; one form was sent.
fn in_trouble(mail: &MailServer, ops: &World, more: &str) -> Server {
    let tables =
        format!("{}{}{}", flow(&["inbox"]), mail.table("inbox", &format!("{HASTE}\n{more}")), ops.table("ops", HASTE));
    let mut server = Server::stopped(&tables);
    at_the_top(&server, "alerts = [\"ops\"]");
    server.start_with(&[("SSL_CERT_FILE", CERTIFICATE)]);
    send(&server, "stops");
    server
}

/// It is told nothing any more, with one alert and without a dead letter. Gives the reason.
fn stopped(server: &Server, ops: &World) -> String {
    let alert = ops.until_asked(1)[0].json();
    assert_eq!(alert["type"], "destination.stopped");
    assert_eq!(alert["data"]["destination"]["name"], "inbox");
    eventually("its attempt is noted", || {
        let inbox = server.rows(&["destinations"]).into_iter().find(|row| row["name"] == "inbox")?;
        (inbox["state"] == "disabled").then_some(())
    });
    for number in 0..5 {
        send(server, &format!("more-{number}"));
    }
    eventually("all wait", || {
        let inbox = server.rows(&["destinations"]).into_iter().find(|row| row["name"] == "inbox")?;
        (inbox["waiting"] == 6 && inbox["in_flight"] == 0).then_some(())
    });
    assert!(server.rows(&["dead", "list"]).is_empty());
    assert_eq!(ops.times_asked(), 1);
    alert["data"]["destination"]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_reply_that_is_none_and_repeats_the_password_is_shown_nowhere() {
    for tls in [Tls::Starttls, Tls::Implicit] {
        let mail = MailServer::saying(tls, |line| {
            (line.verb() == "AUTH").then(|| format!("xx rejected {PASSWORD}: {}", line.text))
        });
        let ops = World::well();
        let server = in_trouble(&mail, &ops, "");
        let failed = eventually("an attempt is noted", || {
            server.rows(&["deliveries", "--limit", "0"]).into_iter().find(|row| row["last_error"].is_string())
        });
        let asked = mail.lines().into_iter().find(|line| line.verb() == "AUTH").unwrap();
        let encoded = asked.text.rsplit(' ').next().unwrap().to_owned();
        assert!(failed["last_error"].as_str().unwrap().contains("says what is no reply"), "{failed}");
        let shown = server.cli(&["deliveries", "show", &failed["id"].to_string(), "--json"]).out;
        let tested = server.cli(&["destinations", "test", "inbox"]);
        for text in [shown, server.log(), tested.out, tested.err] {
            assert!(!text.contains(PASSWORD) && !text.contains(&encoded), "{text}");
        }
    }
}

#[test]
fn a_wrong_password_stops_the_destination_with_one_alert_and_is_shown_nowhere() {
    // A server that repeats what it was told.
    let mail = MailServer::saying(Tls::Starttls, |line| {
        (line.verb() == "AUTH").then(|| format!("535 5.7.8 {PASSWORD} is wrong: {}", line.text))
    });
    let ops = World::well();
    let server = in_trouble(&mail, &ops, "");
    let why = stopped(&server, &ops);
    assert!(why.starts_with("answered 535 5.7.8 to AUTH"), "{why}");
    assert_eq!((mail.times("AUTH"), mail.times("MAIL")), (1, 0));
    let asked = mail.lines().into_iter().find(|line| line.verb() == "AUTH").unwrap();
    assert!(asked.is_private);
    let encoded = asked.text.rsplit(' ').next().unwrap().to_owned();
    let oldest = server.rows(&["deliveries", "--limit", "0"]).pop().unwrap();
    let shown = server.cli(&["deliveries", "show", &oldest["id"].to_string(), "--json"]).out;
    assert!(shown.contains("is wrong: AUTH PLAIN"), "{shown}");
    for text in [&shown, &server.log(), &why] {
        assert!(!text.contains(PASSWORD) && !text.contains(&encoded), "{text}");
    }

    // Once it is right, what waited goes.
    mail.becomes(|_| None);
    server.rows(&["destinations", "resume", "inbox"]);
    mail.until_taken(6);
}

#[test]
fn a_server_without_starttls_gets_neither_password_nor_mail() {
    // Nor one that takes it back, one whose part somebody else plays, or one that says yes to a password in the clear.
    let cases: [(&str, Says, &str); 3] = [
        (
            "offers none",
            Box::new(always(|line| line.verb() == "EHLO", "250-mail.test\r\n250 AUTH PLAIN LOGIN")),
            "offers no STARTTLS",
        ),
        (
            "takes it back",
            Box::new(always(|line| line.verb() == "STARTTLS", "502 5.5.1 not any more")),
            "answered 502 5.5.1 to STARTTLS",
        ),
        (
            "knows us not",
            Box::new(always(|line| line.verb() == "EHLO" && line.is_private, "250 mail.test")),
            "takes no password by PLAIN or LOGIN",
        ),
    ];
    for (case, says, why) in cases {
        let (mail, ops) = (MailServer::saying(Tls::Starttls, says), World::well());
        let server = in_trouble(&mail, &ops, "");
        let reason = stopped(&server, &ops);
        assert!(reason.contains(why), "{case}: {reason}");
        for verb in ["AUTH", "MAIL", "DATA"] {
            assert_eq!(mail.times(verb), 0, "{case}: {:?}", mail.lines());
        }
    }
}

#[test]
fn whoever_speaks_for_a_server_before_tls_is_not_listened_to() {
    // What stands behind the reply to STARTTLS would answer questions that are asked under TLS; and one that is nobody we trust.
    let injecting = MailServer::saying(
        Tls::Starttls,
        always(|line| line.verb() == "STARTTLS", "220 go on\r\n250-mail.test\r\n250 AUTH PLAIN"),
    );
    let stranger = MailServer::well(Tls::Starttls);
    let other_name = MailServer::well(Tls::Implicit);
    for (mail, trusts, host, why) in [
        (&injecting, true, "localhost", "says what is no reply, or more than it was asked"),
        (&stranger, false, "localhost", "no TLS with localhost"),
        (&other_name, true, "127.0.0.1", "no TLS with 127.0.0.1"),
    ] {
        let tables = format!(
            "{}{}",
            flow(&["inbox"]),
            mail.table("inbox", HASTE).replace("\"localhost\"", &format!("\"{host}\""))
        );
        let mut server = Server::stopped(&tables);
        // A machine that trusts somebody, and not this server.
        let other = server.folder().join("other.pem");
        fs::write(&other, OTHER_AUTHORITY).unwrap();
        let trusted = if trusts { CERTIFICATE } else { other.to_str().unwrap() };
        server.start_with(&[("SSL_CERT_FILE", trusted)]);
        send(&server, "waits");
        let failed = delivery(&server, "it failed twice", |delivery| delivery["attempts"].as_u64() >= Some(2));
        assert!(failed["state"] != "done" && failed["state"] != "dead", "{failed}");
        assert!(failed["last_error"].as_str().unwrap().contains(why), "{failed}");
        for verb in ["AUTH", "MAIL", "DATA"] {
            assert_eq!(mail.times(verb), 0, "{why}: {:?}", mail.lines());
        }
    }
}

/// Some authority: the test root of another world.
const OTHER_AUTHORITY: &str = include_str!("../fixtures/tls/other_certificate.pem");

#[test]
fn an_answer_with_line_breaks_adds_neither_a_recipient_nor_a_command() {
    let mail = MailServer::well(Tls::Never);
    let server = telling(&mail, WORDS);
    let evil = "Ann\r\nBcc: thief@evil.example\r\n\r\n.\r\nMAIL FROM:<x@evil.example>\r\n\u{85}X: y";
    assert!(server.post("/form", &Form::new("evil").with("name", evil)).is_accepted());
    server.settled();
    let taken = mail.until_taken(1);
    assert_eq!(taken.len(), 1);
    let names: Vec<&str> = taken[0].head.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert!(!names.contains(&"Bcc") && !names.contains(&"X"), "{names:?}");
    assert_eq!(taken[0].header("Subject"), "New: Ann Bcc: thief@evil.example . MAIL FROM:<x@evil.example> X: y");
    let text = taken[0].text.replace("\r\n", "\n");
    assert!(text.contains("of Ann\nBcc: thief@evil.example\n\n.\nMAIL FROM:<x@evil.example>\n"), "{text:?}");
    assert_eq!((mail.times("MAIL"), mail.times("RCPT"), mail.times("BCC")), (1, 2, 0), "{:?}", mail.lines());
}

#[test]
fn who_speaks_without_end_or_not_at_all_is_left_and_the_mail_goes_later() {
    let endless = "250-".to_owned() + &"x".repeat(300 << 10);
    let flood = MailServer::saying(Tls::Never, move |line| {
        (line.verb() == "MAIL" && line.before == 0).then(|| endless.clone())
    });
    let odd = MailServer::saying(Tls::Starttls, once(GREETING, "HTTP/1.1 400 Bad Request"));
    let leaves = MailServer::saying(Tls::Never, once("DATA", ""));
    let lost = MailServer::saying(Tls::Never, once("DATA", "250 fine"));
    for mail in [flood, odd, leaves, lost] {
        let server = telling(&mail, "timeout = \"5s\"");
        send(&server, "later");
        let done = delivery(&server, "it is delivered", |delivery| delivery["state"] == "done");
        assert_eq!(done["attempts"], 2, "{done}");
        assert_eq!(mail.taken().len(), 1);
    }
}

#[test]
fn a_server_that_hangs_is_left_at_the_timeout_which_says_how_far_it_came() {
    let mail = MailServer::saying(Tls::Never, |line| {
        // Whoever hangs once the mail is taken has taken it.
        if line.verb() == "QUIT" || (line.verb() == "RCPT" && line.before == 0) {
            // Longer than the timeout, shorter than a story's patience.
            std::thread::park_timeout(std::time::Duration::from_secs(2));
        }
        None
    });
    let server = telling(&mail, "timeout = \"300ms\"");
    send(&server, "hangs");
    let done = delivery(&server, "it is delivered", |delivery| delivery["state"] == "done");
    assert_eq!((&done["attempts"], mail.taken().len()), (&json!(2), 1), "{done}");
    let why = done["history"][0]["error"].as_str().unwrap();
    assert_eq!(why, format!("localhost:{} took longer than 0.3 s, up to RCPT (the recipient)", mail.port()));
}

#[test]
fn a_test_is_a_mail_that_says_so_and_shows_the_exchange() {
    let mail = MailServer::well(Tls::Starttls);
    // No server runs: the command itself sends it.
    let server = Server::stopped(&format!("{}{}", flow(&["inbox"]), mail.table("inbox", "")));
    let test = |more: &[&str]| {
        let output = flowgate(server.folder())
            .args(["destinations", "test", "inbox", "--json"])
            .args(more)
            .env("SSL_CERT_FILE", CERTIFICATE)
            .output()
            .unwrap();
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), shown, String::from_utf8(output.stderr).unwrap())
    };
    let (code, shown, _) = test(&[]);
    assert_eq!((code, &shown["delivered"], &shown["status"]), (Some(0), &json!(true), &json!(250)), "{shown}");
    assert_eq!(shown["answer"], "2.0.0 queued as 77");
    let taken = mail.taken().remove(0);
    assert_eq!(taken.header("Subject"), "flowgate: test");
    assert!(taken.text.contains("This is a test of destination inbox."), "{}", taken.text);
    assert_eq!(shown["body"].as_str().unwrap().replace('\n', "\r\n").trim_end(), taken.text.trim_end());
    let subject = json!({"name": "subject", "value": "flowgate: test"});
    assert!(shown["request_headers"].as_array().unwrap().contains(&subject), "{shown}");

    let (code, ..) = test(&["--event", "booking.confirmed"]);
    assert_eq!(code, Some(0));
    let taken = mail.taken().pop().unwrap();
    assert_eq!(taken.header("Subject"), "appointment: booked for 2027-01-04 at 09:00");
    assert!(taken.text.contains("This is a test of destination inbox."), "{}", taken.text);

    mail.becomes(always(|line| line.verb() == "AUTH", "535 5.7.8 no"));
    let (code, shown, said) = test(&[]);
    assert_ne!(code, Some(0));
    assert_eq!((&shown["delivered"], &shown["status"]), (&json!(false), &json!(535)));
    assert!(said.contains("inbox did not take it: answered 535 5.7.8 to AUTH"), "{said}");
}

#[test]
fn mailboxes_words_and_passwords_change_while_it_runs() {
    let mail = MailServer::well(Tls::Never);
    let server = telling(&mail, "");
    send(&server, "before");
    mail.until_taken(1);
    let reload = |table: &str| {
        server.configure(&format!("{}{table}", flow(&["inbox"])));
        let said = server.cli(&["reload"]);
        assert!(said.code == 0 && said.out.contains("inbox"), "{said:?}");
    };
    let table = mail.table("inbox", HASTE).replace("\"Ann <ann@shop.example>\", ", "");
    reload(&table);
    send(&server, "to-bob");
    assert_eq!(mail.until_taken(2)[1].header("To"), "bob@shop.example");
    let table = format!("{table}{WORDS}\n");
    reload(&table);
    send(&server, "in-words");
    assert_eq!(mail.until_taken(3)[2].header("Subject"), "New: Ann");

    reload(&table.replace(PASSWORD, "another"));
    send(&server, "wrong");
    eventually("it is stopped", || {
        let row = server.rows(&["destinations"]).remove(0);
        (row["state"] == "disabled" && row["host"] == format!("localhost:{}", mail.port())).then_some(())
    });
}

#[test]
fn the_config_is_checked_and_says_where_mails_go() {
    let server =
        Server::stopped(&format!("{}{}", flow(&["inbox"]), MailServer::well(Tls::Starttls).table("inbox", "")));
    let said = run(server.folder(), &["config", "check"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("  mails go to   ann@shop.example, bob@shop.example\n"), "{}", said.out);
    assert!(
        said.out.contains("note: destination inbox: password: a secret stands in the config itself"),
        "{}",
        said.out
    );
    assert!(!said.out.contains(PASSWORD) && !said.out.contains(USER), "{}", said.out);
}
