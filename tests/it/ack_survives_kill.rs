//! Yes means durable: whatever was acknowledged before a kill -9 is there after it, once, and comes to its lead.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::form::Form;
use crate::support::load::Load;
use crate::support::{PLAIN_FLOW, Server, eventually};

#[test]
fn ten_kills_under_load_lose_nothing_and_double_nothing() {
    let mut server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &[]);
    let (mut sent, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..10 {
        let load = Load::begin(server.address(), "/form", &format!("round-{round}"), 8);
        // Another amount each time, so that the kill meets other moments of a batch.
        eventually("the load is under way", || (load.acknowledged() >= 20 + round * 13).then_some(()));
        server.kill9();
        let poured = load.end();
        sent.extend(poured.sent);
        acknowledged.extend(poured.acknowledged);

        server.start_again();
        let kept = times_kept(&server);
        for token in &acknowledged {
            assert_eq!(kept.get(token), Some(&1), "round {round}: {token}, acknowledged");
        }
        for (token, times) in &kept {
            assert!(*times == 1 && sent.contains(token), "round {round}: {token} is there {times} times");
        }
    }

    // What got no answer is sent again, and is then there once, whether its first try had arrived or not.
    for token in sent.difference(&acknowledged) {
        let answer = server.post("/form", &Form::new(token));
        assert!(answer.is_accepted() || answer.is_duplicate(), "{answer:?}");
    }
    assert_eq!(times_kept(&server), sent.iter().map(|token| (token.clone(), 1)).collect());

    server.settled();
    let leads = server.rows(&["leads", "list", "--limit", "0"]);
    let with_lead: BTreeSet<u64> = leads.iter().map(|lead| lead["submission_id"].as_u64().unwrap()).collect();
    assert_eq!((leads.len(), with_lead.len()), (sent.len(), sent.len()), "each has one lead");
    assert_eq!(server.row(&["agents", "list"])["current_leads"], sent.len());
    assert_eq!(server.cli(&["check"]).code, 0);
}

fn times_kept(server: &Server) -> BTreeMap<String, usize> {
    let mut kept = BTreeMap::new();
    for submission in server.submissions() {
        *kept.entry(submission["flow_token"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    kept
}
