//! The config changes while the server runs. A valid change is active at once, an invalid change
//! has no effect, and no request is lost.

use std::fs::{self, File};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::http::{Connection, SECRET, post, signature, signed_post};
use crate::support::load::Load;
use crate::support::phone::{self, OTHER_PRIVATE_KEY, OTHER_PUBLIC_KEY, PRIVATE_KEY, PUBLIC_KEY};
use crate::support::{
    BOOKING_FLOW, PLAIN_FLOW, Process, Server, assert_each_once, eventually, flowgate, get,
};

/// Encrypted flow of one screen with the old key.
const ENCRYPTED_FLOW: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:old.pem"]
screens = [{ name = "FORM", final = true, fields = { name = { type = "text" } } }]
"#;

/// Returns the number of reloads with this `outcome`.
fn reloads(server: &Server, outcome: &str) -> u64 {
    let figures = get(server.admin_address(), "/metrics");
    let name = format!("flowgate_config_reloads_total{{outcome=\"{outcome}\"}} ");
    figures
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(&name)?.parse().ok())
        .unwrap_or(0)
}

/// Sends `SIGHUP` and waits for a reload with this `outcome`.
fn send_sighup(server: &Server, outcome: &str) {
    let before = reloads(server, outcome);
    server.signal(Signal::HUP);
    eventually("the reload is over", || {
        (reloads(server, outcome) > before).then_some(())
    });
}

fn hints(server: &Server) -> Vec<String> {
    let status = server.row(&["status"]);
    status["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hint| hint.as_str().unwrap().to_owned())
        .collect()
}

/// Replaces a text of the config. The old text must exist.
fn edit(server: &Server, from: &str, to: &str) {
    let file = server.folder().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

/// Phones that send one form after another, each on a single connection.
struct Phones {
    /// `true` if the phones have the new public key.
    know_new: AtomicBool,
    enough: AtomicBool,
    /// Number of answered forms that were encrypted for the old key.
    old: AtomicUsize,
    new: AtomicUsize,
    /// Number of phones that got a response under the new key.
    switched: AtomicUsize,
}

impl Phones {
    /// Runs one phone, whose responses must all be a success. Returns the tokens of its forms.
    fn send(&self, server: &Server, phone: usize) -> Vec<String> {
        let mut connection = server.connect();
        let (mut tokens, mut went_over) = (Vec::new(), false);
        while !self.enough.load(Ordering::SeqCst) {
            let is_new = self.know_new.load(Ordering::SeqCst);
            let token = format!("phone-{phone}-{}", tokens.len());
            let request = form(&token);
            let sealed =
                phone::seal_for(if is_new { OTHER_PUBLIC_KEY } else { PUBLIC_KEY }, &request);
            let answer = connection
                .exchange(&signed_post("/home", &sealed.body))
                .unwrap();
            assert_eq!(sealed.open(&answer)["screen"], "SUCCESS");
            tokens.push(token);
            if is_new { &self.new } else { &self.old }.fetch_add(1, Ordering::SeqCst);
            if is_new && !std::mem::replace(&mut went_over, true) {
                self.switched.fetch_add(1, Ordering::SeqCst);
            }
        }
        tokens
    }

    /// Waits for this number of further responses.
    fn wait_for_responses(count: &AtomicUsize, more: usize) {
        let until = count.load(Ordering::SeqCst) + more;
        eventually("the phones have their answers", || {
            (count.load(Ordering::SeqCst) >= until).then_some(())
        });
    }
}

fn form(token: &str) -> Value {
    json!({"version": "3.0", "action": "data_exchange", "screen": "FORM", "flow_token": token, "data": {"name": "Ann"}})
}

#[test]
fn key_rotation_under_load_fails_no_form() {
    const PHONES: usize = 4;
    let mut server = Server::stopped(ENCRYPTED_FLOW);
    fs::write(server.folder().join("old.pem"), PRIVATE_KEY).unwrap();
    fs::write(server.folder().join("new.pem"), OTHER_PRIVATE_KEY).unwrap();
    server.start_again();
    let phones = Phones {
        know_new: AtomicBool::new(false),
        enough: AtomicBool::new(false),
        old: AtomicUsize::new(0),
        new: AtomicUsize::new(0),
        switched: AtomicUsize::new(0),
    };
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let (phones, server) = (&phones, &server);
        let senders: Vec<_> = (0..PHONES)
            .map(|phone| scope.spawn(move || phones.send(server, phone)))
            .collect();
        Phones::wait_for_responses(&phones.old, 20);
        edit(
            server,
            "[\"file:old.pem\"]",
            "[\"file:new.pem\", \"file:old.pem\"]",
        );
        send_sighup(server, "reloaded");
        Phones::wait_for_responses(&phones.old, 20);
        phones.know_new.store(true, Ordering::SeqCst);
        eventually("all phones know the new key", || {
            (phones.switched.load(Ordering::SeqCst) == PHONES).then_some(())
        });
        edit(server, ", \"file:old.pem\"]", "]");
        send_sighup(server, "reloaded");
        Phones::wait_for_responses(&phones.new, 20);

        let late = phone::seal(&form("late")).post(server, "/home");
        assert_eq!((late.status, late.text()), (421, ""), "the old key is gone");
        phones.enough.store(true, Ordering::SeqCst);
        senders
            .into_iter()
            .flat_map(|sender| sender.join().unwrap())
            .collect()
    });
    assert_each_once(&server.submissions(), tokens);
}

#[test]
fn invalid_config_changes_nothing_and_is_reported() {
    let server = Server::start(PLAIN_FLOW);
    edit(
        &server,
        "path = \"/form\"",
        "paht = \"/other\"\nsignature = \"maybe\"",
    );
    send_sighup(&server, "refused");
    let line = fs::read_to_string(server.folder().join("config.toml")).unwrap();
    let line = line
        .lines()
        .position(|line| line.starts_with("paht"))
        .unwrap()
        + 1;
    let places = [
        format!("config.toml:{line}:"),
        format!("config.toml:{}:", line + 1),
    ];
    let hint = hints(&server)
        .into_iter()
        .find(|hint| hint.starts_with("the config was not reloaded at "))
        .unwrap();
    for place in &places {
        assert!(hint.contains(place), "{hint}");
        assert!(
            server
                .log()
                .lines()
                .any(|line| line.contains("ERROR") && line.contains(place)),
            "{}",
            server.log()
        );
    }
    let output = server.cli(&["reload"]);
    assert_eq!((output.code, output.out.as_str()), (2, ""));
    assert!(
        places.iter().all(|place| output.err.contains(place)),
        "{}",
        output.err
    );
    assert!(server.post("/form", &Form::new("a")).is_accepted());

    // The server also responds if the config has a syntax error.
    edit(&server, "paht = ", "path = = ");
    assert_eq!(server.cli(&["reload"]).code, 2);
    assert_eq!(
        hints(&server)
            .iter()
            .filter(|hint| hint.contains("was not reloaded"))
            .count(),
        1
    );
    assert!(server.post("/form", &Form::new("b")).is_accepted());

    edit(
        &server,
        "path = = \"/other\"\nsignature = \"maybe\"",
        "path = \"/other\"",
    );
    send_sighup(&server, "reloaded");
    assert!(
        !hints(&server)
            .iter()
            .any(|hint| hint.contains("was not reloaded"))
    );
    assert!(server.post("/other", &Form::new("c")).is_accepted());
    assert_eq!(server.post("/form", &Form::new("d")).status, 404);
}

#[test]
fn all_config_problems_are_reported_at_once() {
    let server = Server::start(PLAIN_FLOW);
    edit(
        &server,
        "listen = \"127.0.0.1:0\"\nadmin",
        "listen = \"0.0.0.0:0\"\nadmin",
    );
    edit(
        &server,
        "app_secrets = [",
        "app_secrets = [\"file:no-secret\", ",
    );
    edit(&server, "lead =", "signature = \"none\"\nlead =");
    let keys = "[\"file:no-key\", \"env:NO_SUCH_VARIABLE\"]";
    let file = File::options()
        .append(true)
        .open(server.folder().join("config.toml"))
        .unwrap();
    std::io::Write::write_all(
        &mut &file,
        ENCRYPTED_FLOW
            .replace("[\"file:old.pem\"]", keys)
            .as_bytes(),
    )
    .unwrap();
    let output = server.cli(&["reload"]);
    assert_eq!(output.code, 2, "{output:?}");
    for part in [
        "--allow-unsigned",
        "no-secret",
        "no-key",
        "NO_SUCH_VARIABLE",
    ] {
        assert_eq!(
            output.err.matches(part).count(),
            1,
            "{part} once in {}",
            output.err
        );
    }
    let unsigned = post(
        "/form",
        &[("content-type", "application/json")],
        &Form::new("t").body(),
    );
    assert_eq!(
        server.connect().exchange(&unsigned).unwrap().status,
        401,
        "nothing has changed"
    );
}

#[test]
fn reload_applies_to_new_requests_only() {
    let server = Server::start(&format!("{PLAIN_FLOW}\n[flows.gone]\npath = \"/gone\"\n"));
    server.add_agent("Ann", &[]);
    assert!(server.post("/gone", &Form::new("a")).is_accepted());
    server.settled();

    // The server has the head of the request and asks for the body.
    let body = Form::new("under way").body();
    let (head, signature) = (
        ("content-type", "application/json"),
        signature(SECRET, &body),
    );
    let request = post(
        "/form",
        &[
            head,
            ("x-hub-signature-256", &signature),
            ("expect", "100-continue"),
        ],
        &body,
    );
    let (head, rest) = request.split_at(request.len() - body.len());
    let mut under_way = server.connect();
    under_way.send(head).unwrap();
    assert_eq!(under_way.receive().unwrap().status, 100);

    let screens = "screens = [{ name = \"FORM\", final = true, fields = { email = { type = \"email\", required = true } } }]\n";
    server.configure(&format!("{PLAIN_FLOW}{screens}{BOOKING_FLOW}"));
    let done = server.row(&["reload"]);
    let changed = [
        "flows.gone removed",
        "flows.form changed",
        "flows.visit added",
        "calendars.chair added",
    ];
    assert_eq!(
        (&done["changed"], &done["after_restart"]),
        (&json!(changed), &json!([]))
    );

    assert!(
        under_way.exchange(rest).unwrap().is_accepted(),
        "it began before there was that field"
    );
    let asked = under_way
        .exchange(&signed_post("/form", &Form::new("b").body()))
        .unwrap();
    assert_eq!(asked.status, 400, "the same connection, a new request");
    assert!(asked.text().contains("email"), "{}", asked.text());
    assert!(
        server
            .post("/form", &Form::new("c").with("email", "ann@example.com"))
            .is_accepted()
    );
    assert_eq!(server.post("/gone", &Form::new("d")).status, 404);

    let free = server
        .rows(&["slots", "list", "--calendar", "chair", "--limit", "1"])
        .remove(0);
    let (date, time) = (
        free["date"].as_str().unwrap(),
        free["time"].as_str().unwrap(),
    );
    assert!(
        server
            .post("/visit", &Form::new("e").with_slot_request(date, time))
            .is_accepted()
    );
    server.settled();
    let visit = server.row(&["submissions", "list", "--flow", "visit"]);
    assert_eq!(
        (&visit["state"], &visit["agent"]),
        (&json!("done"), &json!("Ann")),
        "its job knows the new flow"
    );
}

#[test]
fn reload_rotates_app_secret_in_file() {
    let mut server = Server::stopped(PLAIN_FLOW);
    let secret = server.folder().join("app-secret");
    fs::write(&secret, SECRET).unwrap();
    edit(&server, &format!("text:{SECRET}"), "file:app-secret");
    server.start_again();
    let signed_with = |secret: &str, token: &str| {
        let body = Form::new(token).body();
        let headers = [
            ("content-type", "application/json"),
            ("x-hub-signature-256", &*signature(secret, &body)),
        ];
        server
            .connect()
            .exchange(&post("/form", &headers, &body))
            .unwrap()
    };
    assert!(signed_with(SECRET, "a").is_accepted());
    fs::write(&secret, "the next one").unwrap();
    assert_eq!(
        signed_with("the next one", "b").status,
        401,
        "not before it was asked to"
    );
    send_sighup(&server, "reloaded");
    assert!(signed_with("the next one", "b").is_accepted());
    assert_eq!(signed_with(SECRET, "c").status, 401);
    assert!(
        server.log().contains("meta.app_secrets changed"),
        "{}",
        server.log()
    );
    assert!(!server.log().contains("the next one"));
}

#[test]
fn development_secret_never_replaces_app_secret() {
    let mut server = Server::stopped(PLAIN_FLOW);
    edit(&server, &format!("text:{SECRET}"), "env:META_APP_SECRET");
    server.start_again();
    edit(&server, "path = \"/form\"", "path = \"/other\"");
    assert_eq!(server.cli(&["reload"]).code, 0);
    assert_eq!(server.cli(&["try"]).code, 0, "the same secret as before");
    assert!(
        hints(&server)
            .iter()
            .any(|hint| hint.contains("development secret"))
    );

    edit(&server, "env:META_APP_SECRET", &format!("text:{SECRET}"));
    assert_eq!(server.cli(&["reload"]).code, 0);
    assert!(server.post("/other", &Form::new("a")).is_accepted());
    assert!(
        !hints(&server)
            .iter()
            .any(|hint| hint.contains("development secret"))
    );

    edit(&server, &format!("text:{SECRET}"), "env:META_APP_SECRET");
    let output = server.cli(&["reload"]);
    assert_eq!(output.code, 2);
    assert!(
        output.err.contains("env:META_APP_SECRET") && output.err.contains("restart"),
        "{}",
        output.err
    );
    assert!(server.post("/other", &Form::new("b")).is_accepted());
}

#[test]
fn reload_names_settings_that_need_restart() {
    let mut server = Server::start(PLAIN_FLOW);
    let output = server.cli(&["reload"]);
    assert_eq!(
        (output.code, output.out.as_str()),
        (
            0,
            "the config was reloaded: no active setting has changed\n"
        )
    );

    server.configure(&format!(
        "{PLAIN_FLOW}\n[limits]\nmax_batch = 7\nmax_flow_body = \"1KiB\"\n[retry]\nmax_attempts = 2\n"
    ));
    let done = server.row(&["reload"]);
    assert_eq!(
        done["changed"],
        json!(["limits.max_flow_body changed", "retry changed"])
    );
    assert_eq!(done["after_restart"], json!(["limits.max_batch"]));
    let named = "limits.max_batch changed: takes effect after a restart";
    assert!(hints(&server).iter().any(|hint| hint == named));
    assert!(
        server
            .log()
            .lines()
            .any(|line| line.contains("WARN") && line.contains(named)),
        "{}",
        server.log()
    );
    assert_eq!(
        server
            .post("/form", &Form::new("a").with("long", "x".repeat(2000)))
            .status,
        413
    );

    send_sighup(&server, "reloaded");
    assert!(
        hints(&server).iter().any(|hint| hint == named),
        "it still holds"
    );
    server.stop();
    let output = server.cli(&["reload"]);
    assert_eq!(output.code, 4, "{output:?}");
    assert!(output.err.contains("flowgate serve"), "{}", output.err);
    server.start_again();
    assert!(
        !hints(&server).iter().any(|hint| hint == named),
        "it has taken effect"
    );
}

#[test]
fn fifty_reloads_under_load_lose_and_leak_nothing() {
    let server = Server::start(PLAIN_FLOW);
    // The first reloads allocate everything that each reload needs.
    for _ in 0..5 {
        send_sighup(&server, "reloaded");
    }
    let (threads, memory) = (
        server.process_status_value("Threads"),
        server.process_status_value("VmRSS"),
    );
    for _ in 0..50 {
        send_sighup(&server, "reloaded");
    }
    let grown = server.process_status_value("VmRSS").saturating_sub(memory);
    assert!(grown < 4096, "fifty reloads took {grown} KiB");

    let load = Load::begin(server.address(), "/form", "load", 4);
    for number in 0..50 {
        edit(
            &server,
            "path = \"/form\"",
            &format!("path = \"/form\"\n# {number}"),
        );
        send_sighup(&server, "reloaded");
    }
    let so_far = load.acknowledged();
    eventually("the load goes on", || {
        (load.acknowledged() > so_far + 20).then_some(())
    });
    let poured = load.end();
    assert_eq!(
        poured.sent.len(),
        poured.acknowledged.len(),
        "every request was answered"
    );
    assert_each_once(&server.submissions(), poured.acknowledged);
    eventually("there are as many threads as before", || {
        (server.process_status_value("Threads") <= threads).then_some(())
    });
}

/// Starts a server without waiting for it. Its output is in `out`, and its log is in `log`.
fn start(server: &Server) -> Process {
    let file = |name: &str| File::create(server.folder().join(name)).unwrap();
    let mut command = flowgate(server.folder());
    Process(
        command
            .arg("serve")
            .stdout(file("out"))
            .stderr(file("log"))
            .spawn()
            .unwrap(),
    )
}

/// Returns `true` if the process has a handler for `SIGHUP`, which is the first bit of the mask
/// (proc(5), `SigCgt`).
fn handles_sighup(process: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1
}

#[test]
fn sighup_before_ready_causes_reload_not_exit() {
    let server = Server::stopped(PLAIN_FLOW);
    let out = server.folder().join("out");
    let is_ready = || fs::read_to_string(&out).unwrap().contains("ready: ");
    let mut was_early = false;
    for _ in 0..5 {
        let Process(process) = &mut start(&server);
        while !handles_sighup(process) {
            assert_eq!(process.try_wait().unwrap(), None, "{}", server.log());
            std::hint::spin_loop();
        }
        // The signal arrives before the server opens its data file, which may take long.
        was_early |= !server.folder().join("flowgate.redb").exists();
        kill_process(Pid::from_child(process), Signal::HUP).unwrap();
        eventually("it is ready", || {
            assert_eq!(
                process.try_wait().unwrap(),
                None,
                "it lives: {}",
                server.log()
            );
            is_ready().then_some(())
        });
        eventually("it has heard", || {
            server
                .log()
                .contains("the config was reloaded")
                .then_some(())
        });
        kill_process(Pid::from_child(process), Signal::TERM).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(0));
        fs::remove_file(server.folder().join("flowgate.redb")).unwrap();
    }
    assert!(was_early, "the handler is there before the data file is");
}

#[test]
fn cached_responses_survive_reload() {
    let flow = ENCRYPTED_FLOW.replace(
        "fields",
        "data = { greeting = { value = \"Hello\" } }, fields",
    );
    let mut server = Server::stopped(&flow);
    fs::write(server.folder().join("old.pem"), PRIVATE_KEY).unwrap();
    server.start_again();
    let init = phone::seal(&json!({"version": "3.0", "action": "INIT", "flow_token": "t"}));
    let answer = init.post(&server, "/home");
    assert_eq!(init.open(&answer)["data"]["greeting"], "Hello");
    let lacks_token = || phone::ask(&server, "/home", &form("unused"));
    lacks_token();

    edit(&server, "Hello", "Welcome");
    send_sighup(&server, "reloaded");
    assert_eq!(
        init.post(&server, "/home").text(),
        answer.text(),
        "one key and IV never seal two answers"
    );
    let again = phone::ask(
        &server,
        "/home",
        &json!({"version": "3.0", "action": "INIT", "flow_token": "t"}),
    );
    assert_eq!(again["data"]["greeting"], "Welcome");
    lacks_token();
    assert_eq!(
        server.log().matches("without a unique flow_token").count(),
        1,
        "said once for each flow"
    );
}

#[test]
fn reload_warns_once_about_new_unsigned_flow() {
    let server = Server::start(PLAIN_FLOW);
    edit(&server, "lead =", "signature = \"none\"\nlead =");
    for _ in 0..2 {
        send_sighup(&server, "reloaded");
    }
    let is_warning = |line: &&str| line.contains("WARN") && line.contains("without a signature");
    assert_eq!(
        server.log().lines().filter(is_warning).count(),
        1,
        "{}",
        server.log()
    );
    assert!(
        hints(&server)
            .iter()
            .any(|hint| hint.contains("without a signature"))
    );
}

#[test]
fn connections_survive_reload() {
    let server = Server::start(PLAIN_FLOW);
    let mut idle: Vec<Connection> = (0..20).map(|_| server.connect()).collect();
    let send = |idle: &mut Vec<Connection>, round: &str| {
        for (number, connection) in idle.iter_mut().enumerate() {
            let form = Form::new(format!("{round}-{number}"));
            assert!(
                connection
                    .exchange(&signed_post("/form", &form.body()))
                    .unwrap()
                    .is_accepted()
            );
        }
    };
    send(&mut idle, "before");
    send_sighup(&server, "reloaded");
    send(&mut idle, "after");
}
