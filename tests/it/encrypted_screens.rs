//! Tests the screens that customers of an encrypted flow see: the next and the previous screen,
//! refreshes, texts in their language, and the agents and data on the screens.

use serde_json::{Value, json};

use crate::support::user::{User, ids, server, success};
use crate::support::{Server, in_days};

const HEAD: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
"#;

const CALENDAR: &str = r#"
[calendars.chair]
timezone = "UTC"
hours = { mon = ["09:00-12:00"], tue = ["09:00-12:00"], wed = ["09:00-12:00"], thu = ["09:00-12:00"], fri = ["09:00-12:00"], sat = ["09:00-12:00"], sun = ["09:00-12:00"] }
slot_length = "1h"
capacity = 1
max_advance = "14d"
"#;

fn user<'a>(server: &'a Server, token: &'a str) -> User<'a> {
    User {
        server,
        path: "/home",
        token,
    }
}

/// Starts a server with one flow of these settings and screens, and the calendar.
fn with_screens(settings: &str, screens: &str) -> Server {
    server(&format!(
        "{HEAD}{settings}\nscreens = [\n{screens}\n]\n{CALENDAR}"
    ))
}

fn screen(name: &str) -> Value {
    json!({"screen": name, "data": {}})
}

#[test]
fn answer_decides_next_and_previous_screen() {
    let server = with_screens(
        "",
        r#"
        { name = "KIND", next = { field = "kind", cases = { call = "PHONE", "7" = "LAST" }, default = "VISIT" }, fields = { kind = { required = true } } },
        { name = "VISIT", next = "LAST", fields = { day = { type = "date" } } },
        { name = "PHONE", next = "LAST", fields = { phone = { type = "phone" } } },
        { name = "LAST", final = true, fields = { name = {} } },
        "#,
    );
    let ann = user(&server, "ann");
    assert_eq!(ann.opens(), screen("KIND"));
    assert_eq!(ann.sends("KIND", &json!({"kind": "call"})), screen("PHONE"));
    assert_eq!(ann.draft().unwrap()["screen"], "PHONE");
    assert_eq!(ann.leaves("PHONE"), screen("KIND"));
    assert_eq!(
        ann.draft().unwrap()["screen"],
        "KIND",
        "that is where they are now"
    );
    assert_eq!(
        ann.sends("KIND", &json!({"kind": "other"})),
        screen("VISIT"),
        "they changed their mind"
    );
    assert_eq!(
        ann.sends("VISIT", &json!({"day": "2030-01-04"})),
        screen("LAST")
    );
    assert_eq!(ann.leaves("LAST"), screen("VISIT"));
    assert_eq!(ann.leaves("VISIT"), screen("KIND"));
    assert_eq!(ann.sends("KIND", &json!({"kind": "call"})), screen("PHONE"));
    assert_eq!(
        ann.sends("PHONE", &json!({"phone": "+49 30 1234567"})),
        screen("LAST")
    );
    assert_eq!(
        ann.leaves("LAST"),
        screen("PHONE"),
        "the way that they came, though a visit was answered, too"
    );
    assert_eq!(ann.sends("LAST", &json!({"name": "Ann"})), success("ann"));
    assert_eq!(server.submissions()[0]["data"]["kind"], "call");

    let bob = user(&server, "bob");
    assert_eq!(
        bob.sends("KIND", &json!({"kind": 7})),
        screen("LAST"),
        "a number is what it says"
    );
    assert_eq!(bob.leaves("LAST"), screen("KIND"));
    assert_eq!(
        bob.leaves("KIND"),
        screen("KIND"),
        "there is nothing before the first"
    );
}

/// Sends a refresh and then the complete screen. `mark` is the part of the request that marks the
/// refresh.
fn choose(select: &str, mark: &Value) {
    let server = with_screens(
        "booking = { calendar = \"chair\", date = \"slot\", time = \"slot\" }",
        &format!(
            r#"{{ name = "PICK", final = true, refresh_on = {select}, data = {{ days = {{ dates = "chair" }}, slots = {{ slots = "chair", day = "day" }} }},
                 fields = {{ day = {{ type = "date", required = true }}, slot = {{ required = true }}, name = {{ required = true }} }} }},"#
        ),
    );
    let ann = user(&server, "ann");
    let [day, other] = [in_days(2), in_days(3)];
    let with = |more: &Value| {
        let mut data = mark.clone();
        data.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        data
    };
    for chosen in [&day, &other] {
        let shown = ann.sends("PICK", &with(&json!({"day": chosen})));
        assert_eq!(shown["screen"], "PICK", "the same screen: {shown}");
        assert!(
            shown["data"].get("error_message").is_none(),
            "what is yet to come is not asked for: {shown}"
        );
        let starts = ["09:00", "10:00", "11:00"].map(|time| format!("{chosen}T{time}"));
        assert_eq!(ids(&shown["data"]["slots"]), starts);
    }
    let bad = ann.sends("PICK", &with(&json!({"day": "soon"})));
    assert_eq!(
        bad,
        json!({"screen": "PICK", "data": {"error_message": "day: please choose a date."}})
    );
    assert_eq!(server.submissions().len(), 0);

    let missing = ann.sends(
        "PICK",
        &json!({"day": other, "slot": format!("{other}T10:00"), "name": ""}),
    );
    assert_eq!(
        missing["data"]["error_message"], "Please fill in: name.",
        "the whole screen needs all of it"
    );
    let sent = ann.sends(
        "PICK",
        &json!({"day": other, "slot": format!("{other}T10:00"), "name": "Ann"}),
    );
    assert_eq!(sent, success("ann"));
    assert_eq!(server.slot(&other, "10:00")["taken"], 1);
}

#[test]
fn selected_fields_refresh_screen() {
    choose("[\"day\"]", &json!({}));
}

#[test]
fn trigger_field_refreshes_screen() {
    choose(
        "{ trigger = [\"day\", \"week\"] }",
        &json!({"trigger": "day"}),
    );
}

#[test]
fn refresh_of_early_screen_is_stored_in_draft() {
    let server = with_screens(
        "",
        r#"
        { name = "PICK", refresh_on = ["day"], data = { slots = { slots = "chair", day = "day" } }, fields = { day = { required = true }, slot = { required = true } } },
        { name = "LAST", final = true, data = { day = { answer = "day" } } },
        "#,
    );
    let (ann, day) = (user(&server, "ann"), in_days(2));
    assert_eq!(ann.sends("PICK", &json!({"day": day}))["screen"], "PICK");
    let draft = ann.draft().unwrap();
    assert_eq!(
        (&draft["screen"], &draft["data"]),
        (&json!("PICK"), &json!({"day": day}))
    );
    let whole = json!({"day": day, "slot": format!("{day}T09:00")});
    assert_eq!(
        ann.sends("PICK", &whole),
        json!({"screen": "LAST", "data": {"day": day}})
    );
    assert_eq!(ann.sends("LAST", &json!({})), success("ann"));
    assert_eq!(server.submissions()[0]["data"], whole);
}

/// Refused data of the screen FORM, and their error messages.
const GERMAN_ERRORS: [(&str, &str); 15] = [
    ("{}", "Bitte ausfüllen: Name."),
    (r#"{"name": "  "}"#, "Bitte ausfüllen: Name."),
    (r#"{"name": "Z"}"#, "Name braucht 2 Buchstaben, bitte."),
    (r#"{"name": "Zoë Ñandú"}"#, "Name: höchstens 5 Zeichen."),
    (
        r#"{"name": "Zoë", "email": "nirgends"}"#,
        "E-Mail: Bitte geben Sie eine gültige E-Mail-Adresse ein.",
    ),
    (r#"{"name": "Zoë", "age": 17}"#, "Alter: mindestens 18."),
    (r#"{"name": "Zoë", "age": "100"}"#, "Alter: höchstens 99."),
    (
        r#"{"name": "Zoë", "age": 18.5}"#,
        "Alter: Bitte geben Sie eine ganze Zahl ein.",
    ),
    (
        r#"{"name": "Zoë", "plan": "mittel"}"#,
        "Tarif: Bitte wählen Sie eines davon: klein, groß.",
    ),
    (
        r#"{"name": "Zoë", "extras": ["a", "c"]}"#,
        "extras: Bitte wählen Sie eines davon: a, b.",
    ),
    (
        r#"{"name": "Zoë", "day": "4.1.2030"}"#,
        "Tag: Bitte wählen Sie ein Datum.",
    ),
    (
        r#"{"name": "Zoë", "code": "AB-"}"#,
        "Nummer: Bitte prüfen Sie diese Angabe.",
    ),
    (
        r#"{"name": "Zoë", "code": "xAB-1"}"#,
        "Nummer: Bitte prüfen Sie diese Angabe.",
    ),
    (
        r#"{"name": "Zoë", "plate": "abc"}"#,
        "So sieht kein Kennzeichen aus.",
    ),
    (
        r#"{"name": ["Zoë"]}"#,
        "Name: Bitte prüfen Sie diese Angabe.",
    ),
];

#[test]
fn validation_errors_use_configured_language_and_texts() {
    let server = with_screens(
        r#"
language = "de"
texts = { too_short = "{field} braucht {min} Buchstaben, bitte." }
"#,
        r#"{ name = "FORM", final = true, fields = {
            name = { required = true, min = 2, max = 5, label = "Name" },
            email = { type = "email", label = "E-Mail" },
            age = { type = "integer", min = 18, max = 99, label = "Alter" },
            plan = { type = "choice", choices = ["klein", "groß"], label = "Tarif" },
            extras = { type = "choices", choices = ["a", "b"] },
            day = { type = "date", label = "Tag" },
            code = { pattern = "[A-Z]{2}-[0-9]+", label = "Nummer" },
            plate = { pattern = "[A-Z]+", error = "So sieht kein Kennzeichen aus." },
        } },"#,
    );
    let ann = user(&server, "ann");
    for (data, message) in GERMAN_ERRORS {
        let answer = ann.sends("FORM", &serde_json::from_str(data).unwrap());
        assert_eq!(
            answer,
            json!({"screen": "FORM", "data": {"error_message": message}}),
            "{data}"
        );
    }
    let good = json!({"name": "Zoë", "email": "", "age": "18", "plan": "groß", "extras": [], "code": "AB-1", "plate": null});
    assert_eq!(ann.sends("FORM", &good), success("ann"));
    assert_eq!(server.submissions()[0]["data"], good);
}

#[test]
fn try_generates_pattern_value_or_names_field() {
    let server = with_screens(
        "",
        r#"{ name = "PLATE", fields = { plate = { required = true, max = 9, pattern = "[A-Z]{1,3}-[A-Z]{1,2} [0-9]+" } } },
           { name = "CODE", final = true, fields = {
               code = { required = true, pattern = "(?:no word ends here\\b.*){2}" },
               note = { pattern = "a\\bb" },
           } },"#,
    );
    let output = server.cli(&["try"]);
    assert_eq!(output.code, 2, "{output:?}");
    let hint =
        r#"field code, "(?:no word ends here\b.*){2}": pass a value with --data '{"code":"…"}'"#;
    assert!(output.err.contains(hint), "{output:?}");
    assert!(
        output.out.is_empty() && server.rows(&["drafts"]).is_empty(),
        "{output:?}"
    );

    let code = "no word ends here, no word ends here";
    let tried = server.row(&["try", "--data", &json!({ "code": code }).to_string()]);
    assert_eq!(
        tried["submission"]["data"],
        json!({"plate": "A-A 1", "code": code}),
        "what may be left out is"
    );
}

/// Starts a server that shows full days and full slots, and limits its lists.
fn with_full_slots_shown() -> Server {
    with_screens(
        "language = \"de\"\nbooking = { calendar = \"chair\", date = \"slot\", time = \"slot\" }",
        r#"
        { name = "DAY", data = { days = { dates = "chair", show_full = true, limit = 5 }, next = { slots = "chair", limit = 2 } }, fields = { day = {} } },
        { name = "SLOT", final = true, data = { slots = { slots = "chair", day = "day", show_full = true } }, fields = { slot = {} } },
        "#,
    )
}

/// Error message for a slot that is full.
const SLOT_IS_FULL: &str = "Dieser Termin wurde gerade vergeben. Bitte wählen Sie einen anderen.";

/// Books the slot for a customer of its own.
fn book(server: &Server, day: &str, time: &str) {
    let bob = user(server, time);
    bob.sends("DAY", &json!({"day": day}));
    let end = bob.sends("SLOT", &json!({"slot": format!("{day}T{time}")}));
    assert_eq!(end, success(time));
}

/// Returns for each choice of a list whether it is enabled.
fn enabled(list: &Value) -> Vec<bool> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|choice| choice["enabled"].as_bool().unwrap())
        .collect()
}

#[test]
fn full_slots_can_be_shown() {
    let server = with_full_slots_shown();
    let day = in_days(2);
    book(&server, &day, "09:00");
    book(&server, &day, "11:00");
    let ann = user(&server, "ann");
    let shown = ann.sends("DAY", &json!({"day": day}));
    let slots = &shown["data"]["slots"];
    assert_eq!(enabled(slots), [false, true, false], "{shown}");
    let title = slots[1]["title"].as_str().unwrap();
    assert!(title.ends_with(", 10:00"), "{title}");

    // A customer who selects a full slot returns to the free slots.
    let refused = ann.sends("SLOT", &json!({"slot": format!("{day}T09:00")}));
    assert_eq!(refused["screen"], "SLOT");
    assert_eq!(enabled(&refused["data"]["slots"]), [false, true, false]);
    assert_eq!(refused["data"]["error_message"], SLOT_IS_FULL);
}

#[test]
fn full_days_can_be_shown_and_lists_limited() {
    let server = with_full_slots_shown();
    let day = in_days(2);
    book(&server, &day, "09:00");
    book(&server, &day, "11:00");
    let ann = user(&server, "ann");
    ann.sends("DAY", &json!({"day": day}));
    book(&server, &day, "10:00");
    let first = ann.opens();
    let days = first["data"]["days"].as_array().unwrap();
    assert_eq!(days.len(), 5);
    let full = days.iter().filter(|day| day["enabled"] == false);
    let full: Vec<&Value> = full.map(|day| &day["id"]).collect();
    assert_eq!(full, [&json!(day)], "{days:?}");
    assert_eq!(first["data"]["next"].as_array().unwrap().len(), 2);
    // If a day has no free slot left, the customer must choose another day.
    let back = ann.sends("SLOT", &json!({"slot": format!("{day}T10:00")}));
    assert_eq!(
        (&back["screen"], &back["data"]["error_message"]),
        (&json!("DAY"), &json!(SLOT_IS_FULL)),
        "{back}"
    );
}

#[test]
fn shown_agent_gets_lead_unless_paused() {
    let server = with_screens(
        "lead = { team = \"sales\", agent = \"adviser\" }",
        r#"
        { name = "NAME", fields = { name = {} } },
        { name = "LAST", final = true, data = { adviser = { agent = "sales" } } },
        "#,
    );
    server.add_agent("Ann", &[]);
    server.add_agent("Ben", &["--max", "2"]);
    let (one, two) = (user(&server, "one"), user(&server, "two"));
    let shown = |user: User<'_>| {
        user.sends("NAME", &json!({"name": user.token}))["data"]["adviser"].clone()
    };
    assert_eq!(shown(one), "Ann", "who would get the next lead");
    server.add_agent("Cleo", &[]);
    let agent_of = |token: &str| {
        server.settled();
        let rows = server.submissions();
        rows.into_iter()
            .find(|row| row["flow_token"] == token)
            .unwrap()
    };
    assert_eq!(shown(two), "Ann");
    assert_eq!(two.sends("LAST", &json!({})), success("two"));
    assert_eq!(agent_of("two")["agent"], "Ann");
    // Ben and Cleo have fewer leads now and would get the next lead.
    assert_eq!(shown(user(&server, "three")), "Ben");
    assert_eq!(one.opens()["screen"], "NAME");
    assert_eq!(shown(one), "Ann", "the one who was shown stays");
    assert_eq!(one.sends("LAST", &json!({})), success("one"));
    let row = agent_of("one");
    assert_eq!(
        (&row["agent"], &row["data"]["adviser"]),
        (&json!("Ann"), &json!("Ann")),
        "though she has more than others"
    );
    let lead = server.row(&["leads", "show", &row["lead_id"].to_string()]);
    assert_eq!(lead["reason"], "chosen", "{lead}");

    // The shown agent can't accept a lead any more when the form is sent.
    server.rows(&["agents", "pause", "Ben"]);
    assert_eq!(
        user(&server, "three").sends("LAST", &json!({})),
        success("three")
    );
    let lead = server.row(&["leads", "show", &agent_of("three")["lead_id"].to_string()]);
    assert_eq!(
        (&lead["agent"], &lead["reason"]),
        (&json!("Cleo"), &json!("least_loaded")),
        "{lead}"
    );
    let ben = lead["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["agent"] == "Ben")
        .unwrap();
    assert_eq!(ben["outcome"], "paused");
}

#[test]
fn chosen_agent_at_limit_is_skipped_with_reason() {
    let server = with_screens(
        "lead = { team = \"sales\", agent = \"adviser\" }",
        r#"{ name = "FORM", final = true, data = { advisers = { agents = "sales", limit = 3 } }, fields = { adviser = {} } },"#,
    );
    server.add_agent("Dora", &[]);
    server.add_agent("Ann", &[]);
    server.add_agent("Ben", &["--max", "1"]);
    let advisers = |token: &str| ids(&user(&server, token).opens()["data"]["advisers"]);
    assert_eq!(advisers("x"), ["Ann", "Ben", "Dora"]);
    // Two customers see Ben on their screens and choose him.
    let lead_of = |token: &str| {
        assert_eq!(
            user(&server, token).sends("FORM", &json!({"adviser": "Ben"})),
            success(token)
        );
        server.settled();
        let row = server
            .submissions()
            .into_iter()
            .find(|row| row["flow_token"] == token)
            .unwrap();
        server.row(&["leads", "show", &row["lead_id"].to_string()])
    };
    let first = lead_of("first");
    assert_eq!(
        (&first["agent"], &first["reason"]),
        (&json!("Ben"), &json!("chosen"))
    );
    assert_eq!(advisers("x"), ["Ann", "Dora"], "he has no room for more");
    let second = lead_of("second");
    assert_eq!(
        (&second["agent"], &second["reason"]),
        (&json!("Dora"), &json!("least_loaded")),
        "{second}"
    );
    let considered = second["candidates"].as_array().unwrap();
    let ben = considered.iter().find(|row| row["agent"] == "Ben").unwrap();
    assert_eq!(ben["outcome"], "full", "{second}");
    let output = server.cli(&["leads", "show", &second["id"].to_string()]);
    assert!(
        output.code == 0 && output.out.contains("Ben") && output.out.contains("full"),
        "{output:?}"
    );
}

#[test]
fn reopened_form_hides_answers_and_preserves_draft() {
    let server = with_screens(
        "",
        r#"
        { name = "NAME", data = { name = { answer = "name" }, greeting = { value = "Hello" } }, fields = { name = {} } },
        { name = "LAST", final = true, data = { name = { answer = "name" } }, fields = { note = {} } },
        "#,
    );
    let ann = user(&server, "ann");
    let first =
        |name: &Value| json!({"screen": "NAME", "data": {"name": name, "greeting": "Hello"}});
    assert_eq!(ann.opens(), first(&json!("")));
    assert!(ann.draft().is_none(), "nothing was answered yet");
    ann.sends(
        "NAME",
        &json!({"name": "Zoë \"王\"", "extras": ["a", {"b": null}]}),
    );
    assert_eq!(ann.draft().unwrap()["screen"], "LAST");
    assert_eq!(
        ann.opens(),
        first(&json!("")),
        "it could be somebody else with the same token"
    );
    let draft = ann.draft().unwrap();
    assert_eq!(
        (&draft["screen"], &draft["data"]["name"]),
        (&json!("NAME"), &json!("Zoë \"王\"")),
        "it is there still"
    );
    assert_eq!(
        draft["data"]["extras"],
        json!(["a", {"b": null}]),
        "a field that is not declared, too"
    );
    assert_eq!(
        ann.sends("NAME", &json!({"name": "Zoë"}))["data"]["name"],
        "Zoë"
    );
    assert_eq!(
        ann.leaves("LAST"),
        first(&json!("Zoë")),
        "whoever goes back has answered it"
    );
    assert_eq!(ann.sends("LAST", &json!({})), success("ann"));
    assert_eq!(
        server.submissions()[0]["data"],
        json!({"name": "Zoë", "extras": ["a", {"b": null}]})
    );
}
