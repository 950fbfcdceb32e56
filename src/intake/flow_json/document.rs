//! A Flow JSON taken apart: its screens, what is on them, and what they send, each with its place.
//!
//! Tolerant of everything that it does not need: components and properties come and go with each version.

use serde_json::{Map, Value};

use super::Report;

/// Ids that can't be screens of one's own (*Flow JSON*, screens).
const RESERVED: &str = "SUCCESS";

/// What starts something when it is touched (*Flow JSON*, actions). Any component may have them, at any depth.
const TOUCHED: [&str; 3] = ["on-click-action", "on-select-action", "on-unselect-action"];

/// One screen.
pub(super) struct Screen<'a> {
    /// `screens[2].DATE`.
    pub(super) place: String,
    pub(super) id: &'a str,
    /// All of it.
    pub(super) body: &'a Map<String, Value>,
    pub(super) lists: Vec<ChoiceList<'a>>,
    pub(super) actions: Vec<Action<'a>>,
}

/// A component whose choices are given to its screen: `"data-source": "${data.NAME}"`.
pub(super) struct ChoiceList<'a> {
    pub(super) place: String,
    /// `Dropdown`.
    pub(super) component: &'a str,
    /// NAME.
    pub(super) source: &'a str,
}

/// What happens when something is touched.
pub(super) struct Action<'a> {
    pub(super) place: String,
    /// Whether it is a button or a link, not a choice that is made.
    pub(super) on_click: bool,
    /// `data_exchange`, `navigate`, `complete` and others.
    pub(super) name: &'a str,
    /// What it sends or hands on.
    pub(super) payload: Option<&'a Map<String, Value>>,
    /// The screen that it navigates to.
    pub(super) next: Option<&'a str>,
}

impl Screen<'_> {
    /// Whether a flag is set.
    pub(super) fn is(&self, flag: &str) -> bool {
        self.body.get(flag) == Some(&Value::Bool(true))
    }

    /// Its actions of this name.
    pub(super) fn actions<'s>(&'s self, name: &'static str) -> impl Iterator<Item = &'s Action<'s>> {
        self.actions.iter().filter(move |action| action.name == name)
    }
}

/// The screens, in order. Those that are none, or are there twice, are reported and left out.
pub(super) fn screens<'a>(root: &'a Map<String, Value>, report: &mut Report) -> Vec<Screen<'a>> {
    let Some(items) = root.get("screens").and_then(Value::as_array).filter(|items| !items.is_empty()) else {
        report.error("screens", "is missing or empty: this is no Flow JSON. Export it from Meta's Flow Builder");
        return Vec::new();
    };
    let mut screens: Vec<Screen<'a>> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = format!("screens[{index}]");
        let body = item.as_object();
        let Some((body, id)) = body.and_then(|body| Some((body, body.get("id")?.as_str()?))) else {
            report.error(place, "has no `id`: the config knows screens by theirs");
            continue;
        };
        if id == RESERVED {
            report.error(place, format!("its id is {id:?}, which Meta keeps for the end of a flow: rename it"));
        } else if screens.iter().any(|known| known.id == id) {
            report.error(place, format!("its id is {id:?}, as another screen's is: rename one"));
        } else {
            screens.push(screen(format!("{place}.{}", shown(id)), id, body));
        }
    }
    screens
}

/// A name as places show it: without what would steer a terminal.
pub(super) fn shown(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn screen<'a>(place: String, id: &'a str, body: &'a Map<String, Value>) -> Screen<'a> {
    let mut screen = Screen { place, id, body, lists: Vec::new(), actions: Vec::new() };
    if let Some(layout) = body.get("layout") {
        let place = format!("{}.layout", screen.place);
        walk(layout, &place, &mut screen);
    }
    screen
}

/// Looks everywhere below `value`: in `children`, in the branches of `If` and `Switch`, in choices with actions of their own.
fn walk<'a>(value: &'a Value, place: &str, screen: &mut Screen<'a>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{place}[{index}]"), screen);
            }
        }
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            if let (Some(component), Some(source)) = (text("type"), text("data-source").and_then(bound)) {
                screen.lists.push(ChoiceList { place: place.to_owned(), component, source });
            }
            for (name, below) in fields {
                let place = format!("{place}.{}", shown(name));
                match below.as_object().filter(|_| TOUCHED.contains(&name.as_str())) {
                    Some(action) => screen.actions.extend(self::action(action, name, place)),
                    None => walk(below, &place, screen),
                }
            }
        }
        _ => {}
    }
}

fn action<'a>(action: &'a Map<String, Value>, on: &str, place: String) -> Option<Action<'a>> {
    Some(Action {
        place,
        on_click: on == "on-click-action",
        name: action.get("name")?.as_str()?,
        payload: action.get("payload").and_then(Value::as_object),
        next: action.get("next").and_then(|next| next.get("name")).and_then(Value::as_str),
    })
}

/// NAME of `${data.NAME}`.
fn bound(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${data.")?.strip_suffix('}')
}
