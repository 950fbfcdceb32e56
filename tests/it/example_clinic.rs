//! `examples/clinic` as its README walks through it: a key, the config, the Flow JSON, a server, a form.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::Server;

/// A copy of the folder, with nothing in it that the repository does not have.
fn copy() -> Server {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clinic");
    let server = Server::stopped("");
    for file in ["config.toml", "flow.json"] {
        fs::copy(folder.join(file), server.folder().join(file)).unwrap();
    }
    server
}

#[test]
fn the_clinic_takes_a_form_from_a_fresh_clone() {
    let mut server = copy();
    let fits = server.cli(&["flows", "check", "flow.json"]);
    assert_eq!((fits.code, fits.out.as_str()), (0, "flow.json fits flow clinic: no errors\n"), "{fits:?}");
    assert_eq!(server.cli(&["config", "check"]).code, 2, "it has no key yet");
    assert_eq!(server.cli(&["keys", "new", "flow_key.pem"]).code, 0);
    let config = server.cli(&["config", "check"]);
    assert_eq!(config.code, 0, "{config:?}");

    server.on_free_ports();
    server.start_again();
    server.rows(&["agents", "add", "Ann", "--team", "reception"]);
    let said = server.cli(&["try", "--flow", "clinic"]);
    assert_eq!(said.code, 0, "{said:?}");
    for part in
        ["\"screen\":\"SERVICE\"", "\"days\":[{", "\"times\":[{", "\"screen\":\"SUCCESS\"", "Ann has it", "visits,"]
    {
        assert!(said.out.contains(part), "{part} is not in {}", said.out);
    }
    let submission = server.submissions().remove(0);
    assert_eq!((&submission["channel"], &submission["data"]["service"]), (&json!("encrypted"), &json!("checkup")));
}

#[test]
fn a_flow_json_that_does_not_fit_is_told_place_by_place() {
    let server = copy();
    let file = server.folder().join("flow.json");
    let mut flow_json: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    flow_json["routing_model"]["DATE"] = json!([]);
    flow_json["screens"][2]["refresh_on_back"] = json!(true);
    fs::write(&file, flow_json.to_string()).unwrap();

    let said = server.cli(&["flows", "check", "flow.json", "--flow", "clinic"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("error  routing_model.DATE: lacks \"DETAILS\""), "{}", said.out);
    assert!(said.out.contains("note   screens[2].DETAILS.refresh_on_back: "), "{}", said.out);
    assert_eq!(said.err, "error: flow.json does not fit flow clinic: 1 error\n");
    let rows = server.cli(&["flows", "check", "flow.json", "--json"]);
    let rows: Vec<Value> = rows.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["severity"].is_string() && row["place"].is_string() && row["what"].is_string()));

    fs::write(server.folder().join("not.json"), "{").unwrap();
    for (args, code) in [
        (&["flow.json", "--flow", "away"][..], 3),
        (&["not.json"], 2),
        (&["missing.json"], 4),
        (&["flow.json", "--config", "missing.toml"], 2),
    ] {
        let said = server.cli(&[&["flows", "check"], args].concat());
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{args:?}: {said:?}");
        assert!(said.err.starts_with("error: "), "{said:?}");
    }
}
