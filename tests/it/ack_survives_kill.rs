//! Acknowledged means durable: after a kill -9, each acknowledged form is stored exactly once and
//! has a lead.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::form::Form;
use crate::support::load::Load;
use crate::support::{PLAIN_FLOW, Server, eventually};

#[test]
fn acknowledged_forms_survive_ten_kills_exactly_once() {
    let mut server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &[]);
    let (mut sent, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..10 {
        let load = Load::begin(server.address(), "/form", &format!("round-{round}"), 8);
        // The number differs in each round, so that the kill hits different moments of a batch.
        eventually("the load is under way", || {
            (load.acknowledged() >= 20 + round * 13).then_some(())
        });
        server.kill9();
        let poured = load.end();
        sent.extend(poured.sent);
        acknowledged.extend(poured.acknowledged);

        server.start_again();
        let stored = submissions_per_token(&server);
        for token in &acknowledged {
            assert_eq!(
                stored.get(token),
                Some(&1),
                "round {round}: {token}, acknowledged"
            );
        }
        for (token, times) in &stored {
            assert!(
                *times == 1 && sent.contains(token),
                "round {round}: {token} is there {times} times"
            );
        }
    }

    // Forms without a response are sent again. Each is then stored once, with or without an earlier
    // arrival.
    for token in sent.difference(&acknowledged) {
        let answer = server.post("/form", &Form::new(token));
        assert!(answer.is_accepted() || answer.is_duplicate(), "{answer:?}");
    }
    assert_eq!(
        submissions_per_token(&server),
        sent.iter().map(|token| (token.clone(), 1)).collect()
    );

    server.settled();
    let leads = server.rows(&["leads", "list", "--limit", "0"]);
    let with_lead: BTreeSet<u64> = leads
        .iter()
        .map(|lead| lead["submission_id"].as_u64().unwrap())
        .collect();
    assert_eq!(
        (leads.len(), with_lead.len()),
        (sent.len(), sent.len()),
        "each has one lead"
    );
    assert_eq!(server.row(&["agents", "list"])["current_leads"], sent.len());
    assert_eq!(server.cli(&["check"]).code, 0);
}

fn submissions_per_token(server: &Server) -> BTreeMap<String, usize> {
    let mut stored = BTreeMap::new();
    for submission in server.submissions() {
        *stored
            .entry(submission["flow_token"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    stored
}
