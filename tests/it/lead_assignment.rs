//! Leads go to the agent with the fewest leads for its weight, within limits. Other leads wait and
//! are assigned as soon as an agent has capacity.

use std::collections::BTreeMap;

use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::{PLAIN_FLOW, Server, all_at_once, eventually};

/// Posts this number of forms over a few connections.
fn post_many(server: &Server, many: usize) {
    const SENDERS: usize = 8;
    all_at_once(SENDERS, |sender| {
        let mut connection = server.connect();
        for number in (sender..many).step_by(SENDERS) {
            let form = Form::new(format!("form-{number}"));
            assert!(
                connection
                    .exchange(&signed_post("/form", &form.body()))
                    .unwrap()
                    .is_accepted()
            );
        }
    });
}

fn current_leads(server: &Server) -> BTreeMap<String, u64> {
    let agents = server.rows(&["agents", "list", "--limit", "0"]);
    agents
        .iter()
        .map(|row| {
            (
                row["name"].as_str().unwrap().to_owned(),
                row["current_leads"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn equal_agents_differ_by_at_most_one_lead() {
    let server = Server::start(PLAIN_FLOW);
    let names = ["Ann", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus"];
    for name in names {
        server.add_agent(name, &[]);
    }
    post_many(&server, 1000);
    server.settled();

    let held = current_leads(&server);
    assert_eq!(held.values().sum::<u64>(), 1000);
    let (least, most) = (held.values().min().unwrap(), held.values().max().unwrap());
    assert!(most - least <= 1, "{held:?}");
    let leads = server.rows(&["leads", "list", "--limit", "0"]);
    assert_eq!(leads.len(), 1000);
    for name in names {
        let own = leads.iter().filter(|lead| lead["agent"] == name).count();
        assert_eq!(
            u64::try_from(own).unwrap(),
            held[name],
            "{name} has what is counted"
        );
    }
}

#[test]
fn weights_and_limits_hold_and_excess_leads_wait() {
    let server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &["--weight", "1", "--max", "4"]);
    server.add_agent("Ben", &["--weight", "3", "--max", "6"]);
    post_many(&server, 12);
    let status = server.settled();
    assert_eq!(status["leads"]["unassigned"], 2);
    assert_eq!(
        current_leads(&server),
        BTreeMap::from([("Ann".to_owned(), 4), ("Ben".to_owned(), 6)])
    );

    // One agent has capacity for one lead. The older of the two waiting leads goes to this agent.
    let leads = server.rows(&["leads", "list", "--limit", "0"]);
    let waiting: Vec<_> = leads
        .iter()
        .filter(|lead| lead["agent"].is_null())
        .collect();
    let oldest = waiting
        .iter()
        .map(|lead| lead["id"].as_u64().unwrap())
        .min()
        .unwrap();
    let anns = leads.iter().find(|lead| lead["agent"] == "Ann").unwrap()["id"].to_string();
    server.rows(&["leads", "close", &anns]);
    eventually("the oldest waiting lead is assigned", || {
        (server.row(&["leads", "show", &oldest.to_string()])["agent"] == "Ann").then_some(())
    });
    assert_eq!(server.row(&["status"])["leads"]["unassigned"], 1);

    // A new agent gets the last lead.
    server.add_agent("Cleo", &[]);
    eventually("no lead waits", || {
        (server.row(&["status"])["leads"]["unassigned"] == 0).then_some(())
    });
    assert_eq!(current_leads(&server)["Cleo"], 1);
}

#[test]
fn paused_agent_gets_only_leads_assigned_by_admin() {
    let server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &[]);
    server.add_agent("Ben", &[]);
    server.rows(&["agents", "pause", "Ben"]);
    post_many(&server, 3);
    server.settled();
    assert_eq!(
        current_leads(&server),
        BTreeMap::from([("Ann".to_owned(), 3), ("Ben".to_owned(), 0)])
    );

    let lead = server.rows(&["leads", "list"])[0]["id"].to_string();
    server.rows(&["leads", "assign", &lead, "Ben"]);
    assert_eq!(
        current_leads(&server),
        BTreeMap::from([("Ann".to_owned(), 2), ("Ben".to_owned(), 1)])
    );
    assert_eq!(server.row(&["leads", "show", &lead])["agent"], "Ben");
}

#[test]
fn known_customer_returns_to_previous_agent() {
    let server = Server::start(&PLAIN_FLOW.replace("\"sales\" }", "\"sales\", sticky = true }"));
    server.add_agent("Ann", &[]);
    assert!(
        server
            .post("/form", &Form::new("one").by("491511234567"))
            .is_accepted()
    );
    server.settled();
    // Ben has fewer leads. Without the rule, the second form would be his.
    server.add_agent("Ben", &[]);
    assert!(
        server
            .post("/form", &Form::new("two").by("491511234567"))
            .is_accepted()
    );
    assert!(
        server
            .post("/form", &Form::new("three").by("491519999999"))
            .is_accepted()
    );
    server.settled();
    assert_eq!(
        current_leads(&server),
        BTreeMap::from([("Ann".to_owned(), 2), ("Ben".to_owned(), 1)])
    );
}
