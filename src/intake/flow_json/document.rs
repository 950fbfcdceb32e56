//! Parses a Flow JSON into its screens, their components and their actions, each with its location.
//!
//! The parser ignores everything that the checks do not need, because each version adds and removes
//! components and properties.

use serde_json::{Map, Value};

use super::findings::Findings;

/// Reserved ID that a screen must not have (*Flow JSON*, screens).
const RESERVED_ID: &str = "SUCCESS";

/// Action that sends a request to flowgate (*Flow JSON*, actions).
pub(super) const DATA_EXCHANGE: &str = "data_exchange";

/// Action that completes the form without a request to flowgate.
pub(super) const COMPLETE: &str = "complete";

/// Keys of the actions that a tap on a component starts (*Flow JSON*, actions). Any component may
/// have them, at any depth.
const ACTION_KEYS: [&str; 3] = ["on-click-action", "on-select-action", "on-unselect-action"];

/// Screen of a Flow JSON.
pub(super) struct FlowJsonScreen<'a> {
    /// Location, such as `screens[2].DATE`.
    pub(super) location: String,
    pub(super) id: &'a str,
    /// Complete JSON object of the screen.
    pub(super) body: &'a Map<String, Value>,
    pub(super) choice_lists: Vec<ComponentChoices<'a>>,
    pub(super) actions: Vec<ComponentAction<'a>>,
}

/// Component whose choices come from the data of its screen: `"data-source": "${data.NAME}"`.
pub(super) struct ComponentChoices<'a> {
    pub(super) location: String,
    /// Type of the component, such as `Dropdown`.
    pub(super) component: &'a str,
    /// Name of the screen data that has the choices: NAME in `${data.NAME}`.
    pub(super) source: &'a str,
}

/// Action of a component.
pub(super) struct ComponentAction<'a> {
    pub(super) location: String,
    /// `true` for a button or a link. `false` for the selection of a choice.
    pub(super) on_click: bool,
    /// Name of the action, such as `data_exchange`, `navigate` or `complete`.
    pub(super) name: &'a str,
    /// Data that the action sends or passes to the next screen.
    pub(super) payload: Option<&'a Map<String, Value>>,
    /// ID of the screen that the action navigates to.
    pub(super) next: Option<&'a str>,
}

impl FlowJsonScreen<'_> {
    /// Returns `true` if a flag of the screen is `true`.
    pub(super) fn has_flag(&self, flag: &str) -> bool {
        self.body.get(flag) == Some(&Value::Bool(true))
    }

    /// Returns the actions with this name.
    pub(super) fn actions<'s>(
        &'s self,
        name: &'static str,
    ) -> impl Iterator<Item = &'s ComponentAction<'s>> {
        self.actions
            .iter()
            .filter(move |action| action.name == name)
    }

    /// Returns `true` if this screen sends a field with this name.
    pub(super) fn sends(&self, name: &str) -> bool {
        self.actions
            .iter()
            .any(|action| action.is_submission() && action.sends(name))
    }
}

impl ComponentAction<'_> {
    /// Returns `true` if the action sends its payload: to flowgate, or as the completed form.
    pub(super) fn is_submission(&self) -> bool {
        [DATA_EXCHANGE, COMPLETE].contains(&self.name)
    }

    /// Returns `true` if the payload has a field with this name.
    pub(super) fn sends(&self, name: &str) -> bool {
        self.payload
            .is_some_and(|payload| payload.contains_key(name))
    }
}

/// Returns the screen with this ID.
pub(super) fn find_screen<'s, 'a>(
    screens: &'s [FlowJsonScreen<'a>],
    id: &str,
) -> Option<&'s FlowJsonScreen<'a>> {
    screens.iter().find(|screen| screen.id == id)
}

/// Returns the screens in order. Screens without an ID and screens with an ID that occurs twice are
/// reported and skipped.
pub(super) fn parse_screens<'a>(
    root: &'a Map<String, Value>,
    report: &mut Findings,
) -> Vec<FlowJsonScreen<'a>> {
    let Some(items) = root
        .get("screens")
        .and_then(Value::as_array)
        .filter(|items| !items.is_empty())
    else {
        report.add_error(
            "screens",
            "is missing or empty: this is not a Flow JSON. Export it from Meta's Flow Builder",
        );
        return Vec::new();
    };
    let mut screens: Vec<FlowJsonScreen<'a>> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let location = format!("screens[{index}]");
        let body = item.as_object();
        let Some((body, id)) = body.and_then(|body| Some((body, body.get("id")?.as_str()?))) else {
            report.add_error(
                location,
                "has no `id`: the config refers to screens by their `id`",
            );
            continue;
        };
        if id == RESERVED_ID {
            let what = format!(
                "its id is {id:?}, which Meta reserves for the end of a flow: rename the screen"
            );
            report.add_error(location, what);
        } else if screens.iter().any(|known| known.id == id) {
            let what =
                format!("its id is {id:?}, which another screen has too: rename one of them");
            report.add_error(location, what);
        } else {
            screens.push(parse_screen(
                format!("{location}.{}", printable(id)),
                id,
                body,
            ));
        }
    }
    screens
}

/// Returns a name for display in a location. Control characters are replaced, because they could
/// control a terminal.
pub(super) fn printable(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn parse_screen<'a>(
    location: String,
    id: &'a str,
    body: &'a Map<String, Value>,
) -> FlowJsonScreen<'a> {
    let mut screen = FlowJsonScreen {
        location,
        id,
        body,
        choice_lists: Vec::new(),
        actions: Vec::new(),
    };
    if let Some(layout) = body.get("layout") {
        let location = format!("{}.layout", screen.location);
        collect_components(layout, &location, &mut screen);
    }
    screen
}

/// Collects everything below `value`: components in `children`, in the branches of `If` and
/// `Switch`, and choices with their own actions.
fn collect_components<'a>(value: &'a Value, location: &str, screen: &mut FlowJsonScreen<'a>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_components(item, &format!("{location}[{index}]"), screen);
            }
        }
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            if let (Some(component), Some(source)) =
                (text("type"), text("data-source").and_then(data_binding))
            {
                screen.choice_lists.push(ComponentChoices {
                    location: location.to_owned(),
                    component,
                    source,
                });
            }
            for (name, below) in fields {
                let location = format!("{location}.{}", printable(name));
                match below
                    .as_object()
                    .filter(|_| ACTION_KEYS.contains(&name.as_str()))
                {
                    Some(action) => screen
                        .actions
                        .extend(self::parse_action(action, name, location)),
                    None => collect_components(below, &location, screen),
                }
            }
        }
        _ => {}
    }
}

fn parse_action<'a>(
    action: &'a Map<String, Value>,
    on: &str,
    location: String,
) -> Option<ComponentAction<'a>> {
    Some(ComponentAction {
        location,
        on_click: on == "on-click-action",
        name: action.get("name")?.as_str()?,
        payload: action.get("payload").and_then(Value::as_object),
        next: action
            .get("next")
            .and_then(|next| next.get("name"))
            .and_then(Value::as_str),
    })
}

/// Returns the name in a binding `${data.NAME}`.
fn data_binding(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${data.")?.strip_suffix('}')
}
