//! Follows the README of `examples/clinic`: a key, the config, the Flow JSON, a server, a form.
//! Then fills in forms as the phones of patients do.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::http::SECRET;
use crate::support::phone::{self, PRIVATE_KEY};
use crate::support::{Server, eventually};

/// Copies the folder. The copy contains only files of the repository.
fn copy() -> Server {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clinic");
    let server = Server::stopped("");
    for file in ["config.toml", "flow.json"] {
        fs::copy(folder.join(file), server.folder().join(file)).unwrap();
    }
    server
}

#[test]
fn clinic_accepts_form_from_new_clone() {
    let mut server = copy();
    let fits = server.cli(&["flows", "check", "flow.json"]);
    assert_eq!(
        (fits.code, fits.out.as_str()),
        (0, "flow.json fits flow clinic: no errors\n"),
        "{fits:?}"
    );
    assert_eq!(
        server.cli(&["config", "check"]).code,
        2,
        "it has no key yet"
    );
    assert_eq!(server.cli(&["keys", "new", "flow_key.pem"]).code, 0);
    let config = server.cli(&["config", "check"]);
    assert_eq!(config.code, 0, "{config:?}");

    server.on_free_ports();
    server.start_again();
    server.rows(&["agents", "add", "Ann", "--team", "reception"]);
    let output = server.cli(&["try", "--flow", "clinic"]);
    assert_eq!(output.code, 0, "{output:?}");
    for part in [
        "\"screen\":\"SERVICE\"",
        "\"days\":[{",
        "\"times\":[{",
        "\"screen\":\"DETAILS\"",
        "\"screen\":\"SUCCESS\"",
        "Ann is its agent",
        "visits,",
    ] {
        assert!(output.out.contains(part), "{part} is not in {}", output.out);
    }
    let from_appointment =
        |line: &&str| line.starts_with("  request") && line.contains("APPOINTMENT");
    assert_eq!(
        output.out.lines().filter(from_appointment).count(),
        2,
        "a day, then all of it: {}",
        output.out
    );
    let submission = server.submissions().remove(0);
    assert_eq!(
        (&submission["channel"], &submission["data"]["service"]),
        (&json!("encrypted"), &json!("checkup"))
    );
}

/// Starts the clinic with the key and the app secret of the test phones.
fn clinic() -> Server {
    let mut server = copy();
    let file = server.folder().join("config.toml");
    let config = fs::read_to_string(&file)
        .unwrap()
        .replace("env:META_APP_SECRET", &format!("text:{SECRET}"));
    fs::write(file, config).unwrap();
    fs::write(server.folder().join("flow_key.pem"), PRIVATE_KEY).unwrap();
    server.on_free_ports();
    server.start_again();
    server
}

/// Returns the response to a phone that sends `data` from `screen`.
fn sends(server: &Server, token: &str, screen: &str, data: &Value) -> Value {
    let request = json!({"version": "3.0", "action": "data_exchange", "screen": screen, "flow_token": token, "data": data});
    phone::ask(server, "/flows/clinic", &request)
}

#[test]
fn patient_chooses_day_then_time() {
    let server = clinic();
    server.rows(&["agents", "add", "Ann", "--team", "reception"]);
    let init =
        json!({"version": "3.0", "action": "INIT", "screen": "", "data": {}, "flow_token": "t"});
    let service = phone::ask(&server, "/flows/clinic", &init);
    assert_eq!(service["screen"], "SERVICE");
    let patient_sends = |screen: &str, data: Value| sends(&server, "t", screen, &data);
    let appointment = patient_sends("SERVICE", json!({"service": "pain"}));
    assert_eq!(appointment["screen"], "APPOINTMENT");
    assert_eq!(
        appointment["data"]["times"].as_array().unwrap().len(),
        16,
        "the next ones"
    );

    // The request contains only the day. The response is the same screen with the times of that
    // day.
    let day = appointment["data"]["days"][2]["id"].as_str().unwrap();
    let of_day = patient_sends("APPOINTMENT", json!({"day": day}));
    assert_eq!(
        (&of_day["screen"], &of_day["data"]["days"]),
        (&json!("APPOINTMENT"), &appointment["data"]["days"])
    );
    let times = of_day["data"]["times"].as_array().unwrap();
    let is_of_day =
        |time: &Value| time["id"].as_str().unwrap().starts_with(day) && time["enabled"] == true;
    assert!(
        !times.is_empty() && times.iter().all(is_of_day),
        "{times:?}"
    );
    assert_eq!(server.rows(&["drafts"])[0]["screen"], "APPOINTMENT");

    let missing = patient_sends("APPOINTMENT", json!({"day": day, "slot": null}));
    assert_eq!(
        missing,
        json!({"screen": "APPOINTMENT", "data": {"error_message": "Please fill in: Time."}})
    );
    let slot = &times[1]["id"];
    let details = patient_sends("APPOINTMENT", json!({"day": day, "slot": slot}));
    assert_eq!(details, json!({"screen": "DETAILS", "data": {"day": day}}));
    let unfit = patient_sends("DETAILS", json!({"name": "A", "email": ""}));
    let message = "Your name: at least 2 characters.";
    assert_eq!(unfit["data"]["error_message"], message);
    let end = patient_sends("DETAILS", json!({"name": "Ana", "email": ""}));
    assert_eq!(end["screen"], "SUCCESS");

    let submission = eventually("it is a lead", || {
        Some(server.row(&["submissions"])).filter(|row| row["agent"] == "Ann")
    });
    assert_eq!(
        submission["data"],
        json!({"service": "pain", "day": day, "slot": slot, "name": "Ana", "email": ""})
    );
    let booking = server.row(&["bookings"]);
    assert_eq!(
        format!(
            "{}T{}",
            booking["date"].as_str().unwrap(),
            booking["time"].as_str().unwrap()
        ),
        *slot
    );
}

#[test]
fn lost_time_leads_back_to_free_times() {
    let server = clinic();
    let appointment = sends(&server, "late", "SERVICE", &json!({"service": "checkup"}));
    let day = appointment["data"]["days"][1]["id"].as_str().unwrap();
    let of_day = sends(&server, "late", "APPOINTMENT", &json!({"day": day}));
    let slot = of_day["data"]["times"][0]["id"].as_str().unwrap();
    let chosen = json!({"day": day, "slot": slot});
    assert_eq!(
        sends(&server, "late", "APPOINTMENT", &chosen)["screen"],
        "DETAILS"
    );
    // There are two rooms, and two other patients are faster.
    for other in ["first", "second"] {
        sends(&server, other, "SERVICE", &json!({"service": "cleaning"}));
        assert_eq!(
            sends(&server, other, "APPOINTMENT", &chosen)["screen"],
            "DETAILS"
        );
        assert_eq!(
            sends(
                &server,
                other,
                "DETAILS",
                &json!({"name": "Bo", "email": null})
            )["screen"],
            "SUCCESS"
        );
    }
    let name = json!({"name": "Ana", "email": null});
    let gone = sends(&server, "late", "DETAILS", &name);
    assert_eq!(gone["screen"], "APPOINTMENT");
    let message = "Somebody was faster: that time is gone. Please choose another.";
    assert_eq!(gone["data"]["error_message"], message);
    let times = &gone["data"]["times"];
    assert_eq!(
        (&times[0]["id"], &times[0]["enabled"]),
        (&json!(slot), &json!(false)),
        "shown, and can't be chosen"
    );
    assert_eq!(times[1]["enabled"], true);
    let another = json!({"day": day, "slot": times[1]["id"]});
    assert_eq!(
        sends(&server, "late", "APPOINTMENT", &another)["screen"],
        "DETAILS"
    );
    assert_eq!(
        sends(&server, "late", "DETAILS", &name)["screen"],
        "SUCCESS"
    );
    assert_eq!(server.rows(&["bookings"]).len(), 3);
}

#[test]
fn unused_token_form_books_by_resent_fields() {
    let server = clinic();
    let text = fs::read_to_string(server.folder().join("flow.json")).unwrap();
    let flow_json: Value = serde_json::from_str(&text).unwrap();
    let payload = &flow_json["screens"][2]["layout"]["children"][4]["on-click-action"]["payload"];

    let appointment = sends(&server, "unused", "SERVICE", &json!({"service": "pain"}));
    let day = appointment["data"]["days"][1]["id"].clone();
    let of_day = sends(&server, "unused", "APPOINTMENT", &json!({"day": day}));
    let slot = of_day["data"]["times"][0]["id"].clone();
    let details = sends(
        &server,
        "unused",
        "APPOINTMENT",
        &json!({"day": day, "slot": slot}),
    );
    assert_eq!(details, json!({"screen": "DETAILS", "data": {"day": day}}));
    assert!(
        server.rows(&["drafts"]).is_empty(),
        "nothing tells whose these are"
    );

    // The phone replaces each reference with the value of its screen.
    let mut data = payload.clone();
    for (name, value) in data.as_object_mut().unwrap() {
        *value = match value.as_str().unwrap() {
            "${screen.SERVICE.form.service}" => json!("pain"),
            "${screen.APPOINTMENT.form.day}" => day.clone(),
            "${screen.APPOINTMENT.form.slot}" => slot.clone(),
            "${form.name}" => json!("Ana"),
            "${form.email}" => json!(""),
            other => panic!("{name}: {other}"),
        };
    }
    assert_eq!(
        sends(&server, "unused", "DETAILS", &data)["screen"],
        "SUCCESS"
    );
    assert_eq!(server.submissions()[0]["data"], data);
    assert_eq!(server.row(&["bookings"])["date"], day);
}

#[test]
fn flows_check_reports_each_problem_with_place() {
    let server = copy();
    let file = server.folder().join("flow.json");
    let mut flow_json: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    flow_json["routing_model"]["APPOINTMENT"] = json!([]);
    flow_json["screens"][2]["refresh_on_back"] = json!(true);
    fs::write(&file, flow_json.to_string()).unwrap();

    let output = server.cli(&["flows", "check", "flow.json", "--flow", "clinic"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output
            .out
            .contains("error  routing_model.APPOINTMENT: lacks \"DETAILS\""),
        "{}",
        output.out
    );
    assert!(
        output
            .out
            .contains("warning  screens[2].DETAILS.refresh_on_back: "),
        "{}",
        output.out
    );
    assert_eq!(
        output.err,
        "error: flow.json does not fit flow clinic: 1 error\n"
    );
    let rows = server.cli(&["flows", "check", "flow.json", "--json"]);
    let rows: Vec<Value> = rows
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["severity"].is_string()
        && row["location"].is_string()
        && row["message"].is_string()));

    fs::write(server.folder().join("not.json"), "{").unwrap();
    for (args, code) in [
        (&["flow.json", "--flow", "away"][..], 3),
        (&["not.json"], 2),
        (&["missing.json"], 4),
        (&["flow.json", "--config", "missing.toml"], 2),
    ] {
        let output = server.cli(&[&["flows", "check"], args].concat());
        assert_eq!(
            (output.code, output.out.as_str()),
            (code, ""),
            "{args:?}: {output:?}"
        );
        assert!(output.err.starts_with("error: "), "{output:?}");
    }
}
