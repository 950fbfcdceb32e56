//! Destinations change while the server runs: secrets rotate, one goes and comes back, and no delivery is lost over it. One
//! that is on this machine is refused unless that is meant.

use crate::support::form::Form;
use crate::support::world::{Act, SECRET, World, flow};
use crate::support::{PLAIN_FLOW, Server, eventually, run};

const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const HASTE: &str = "timeout = \"300ms\"\nretry = { first = \"50ms\", ceiling = \"100ms\", attempts = 200 }";

fn send(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

fn reload(server: &Server, tables: &str) {
    server.configure(tables);
    let said = server.cli(&["reload"]);
    assert_eq!(said.code, 0, "{said:?}");
}

/// Waits until exactly so many deliveries are not over. What was taken may be noted a moment later.
fn until_waiting(server: &Server, count: usize) {
    eventually(&format!("{count} deliveries wait"), || {
        let jobs = server.rows(&["jobs", "list", "--limit", "0"]);
        let waiting = jobs.iter().filter(|job| job["kind"] == "deliver" && job["state"] != "done").count();
        (waiting == count).then_some(())
    });
}

#[test]
fn while_a_secret_rotates_receivers_with_the_old_one_and_with_the_new_one_take_every_message() {
    let crm = World::well();
    let config = |secrets: &[&str]| format!("{}{}", flow(&["crm"]), crm.signed_table("crm", secrets, HASTE));
    let server = Server::start(&config(&[SECRET]));
    send(&server, "old");
    server.settled();
    reload(&server, &config(&[OTHER_SECRET, SECRET]));
    send(&server, "both");
    server.settled();
    reload(&server, &config(&[OTHER_SECRET]));
    send(&server, "new");
    server.settled();

    let said: Vec<_> = crm
        .asked()
        .iter()
        .map(|asked| (asked.token(), asked.is_signed_with(SECRET), asked.is_signed_with(OTHER_SECRET)))
        .collect();
    let expected = [("old", true, false), ("both", true, true), ("new", false, true)];
    assert_eq!(said, expected.map(|(token, old, new)| (token.to_owned(), old, new)));
    assert_eq!(crm.asked()[1].header("webhook-signature").split(' ').count(), 2);
}

#[test]
fn what_waits_for_a_destination_is_signed_with_the_secret_of_the_attempt() {
    let crm = World::with(|_| Act::say(500));
    let config = |secret: &str| format!("{}{}", flow(&["crm"]), crm.signed_table("crm", &[secret], HASTE));
    let server = Server::start(&config(SECRET));
    send(&server, "waits");
    crm.until_asked(1);
    reload(&server, &config(OTHER_SECRET));
    crm.recovers();
    server.settled();
    let asked = crm.asked();
    let (first, last) = (&asked[0], asked.last().unwrap());
    assert!(first.is_signed_with(SECRET) && !first.is_signed_with(OTHER_SECRET));
    assert!(last.is_signed_with(OTHER_SECRET) && !last.is_signed_with(SECRET));
    assert_eq!(first.id(), last.id());
}

#[test]
fn a_destination_that_goes_from_the_config_and_comes_back_gets_all_that_waited() {
    let (crm, other) = (World::with(|_| Act::say(500)), World::well());
    let both = format!("{}{}{}", flow(&["crm", "other"]), crm.table("crm", HASTE), other.table("other", HASTE));
    let one = format!("{}{}", flow(&["other"]), other.table("other", HASTE));
    let mut server = Server::start(&both);
    for number in 0..30 {
        send(&server, &format!("before-{number}"));
    }
    other.until_taken(30);
    crm.until_asked(1);
    reload(&server, &one);
    send(&server, "meanwhile");
    other.until_taken(31);
    until_waiting(&server, 30);
    server.kill9();
    server.start_again();
    crm.recovers();
    send(&server, "after-a-kill");
    other.until_taken(32);
    until_waiting(&server, 30);
    assert!(crm.taken().is_empty());

    reload(&server, &both);
    server.settled();
    let mut told: Vec<String> = crm.taken().values().map(|copies| copies[0].token()).collect();
    told.sort_unstable();
    let mut expected: Vec<String> = (0..30).map(|number| format!("before-{number}")).collect();
    expected.sort_unstable();
    assert_eq!(told, expected, "and not what came while nobody delivered there");
    assert!(server.rows(&["dead", "list"]).is_empty());
}

#[test]
fn a_destination_that_moves_is_told_at_its_new_place_what_waited_at_the_old_one() {
    let (old, new) = (World::down(), World::well());
    let config = |world: &World| {
        let rule = "retry = { first = \"50ms\", ceiling = \"100ms\", attempts = 200 }\nbreaker = { pause = \"1h\" }";
        format!("{}{}", flow(&["crm"]), world.table("crm", rule))
    };
    let server = Server::start(&config(&old));
    for number in 0..30 {
        send(&server, &format!("form-{number}"));
    }
    eventually("its breaker is open", || server.log().contains("it is left alone").then_some(()));
    reload(&server, &config(&new));
    server.settled();
    assert_eq!(new.taken().len(), 30, "the breaker of another place says nothing of this one");
}

#[test]
fn a_destination_on_this_machine_or_in_its_network_is_refused_unless_it_is_meant() {
    for host in ["localhost", "127.0.0.1:8080", "[::1]", "10.0.0.1", "192.168.1.9:81", "169.254.169.254", "[fd00::1]"] {
        let table = |more: &str| format!("\n[destinations.crm]\nurl = \"http://{host}/hook\"\n{more}\n");
        let server = Server::stopped(&format!("{PLAIN_FLOW}{}", table("")));
        for args in [&["config", "check"][..], &["serve"]] {
            let said = run(server.folder(), args);
            assert_eq!(said.code, 2, "{host}: {said:?}");
            assert!(said.err.contains("destinations.crm.url") && said.err.contains("allow_private = true"), "{said:?}");
        }
        server.configure(&format!("{PLAIN_FLOW}{}", table("allow_private = true")));
        let said = server.cli(&["config", "check"]);
        assert_eq!(said.code, 0, "{host}: {said:?}");
    }
}
