//! Validates the fields of a form, and returns the error texts for the customer.
//!
//! See [`super::field`] for the validation of one value.

use serde_json::{Map, Value};

use super::Flow;
use super::field::{Field, FieldError};

impl Flow {
    /// Validates the fields of a form. Returns the errors in the order in which the fields are
    /// declared.
    ///
    /// With a `screen`, the function checks the fields of this screen. Required fields must be
    /// present, unless the request is only a refresh. Without a `screen`, the function checks the
    /// present fields of all screens. This applies to messages of `/webhook`, where a form arrives
    /// complete, in parts, or with the data of the last response. A field that several screens
    /// declare must fit at least one declaration.
    #[must_use]
    pub fn validate(&self, screen: Option<&str>, data: &Map<String, Value>) -> Vec<FieldError> {
        if let Some(name) = screen {
            let screen = self.find_screen(name);
            return screen.map_or_else(Vec::new, |screen| screen.validate(data));
        }
        let declared = || self.screens.iter().flat_map(|screen| &screen.fields);
        let mut problems: Vec<FieldError> = Vec::new();
        for field in declared() {
            let problem = |field: &Field| field.validate(data.get(&field.name), false);
            let fits_another_declaration =
                || declared().any(|other| other.name == field.name && problem(other).is_none());
            if let Some(found) = problem(field)
                && !fits_another_declaration()
                && problems.iter().all(|earlier| earlier.field != found.field)
            {
                problems.push(found);
            }
        }
        problems
    }

    /// Returns the errors of a form whose customer can't be asked again, one text each.
    #[must_use]
    pub fn problems(&self, data: &Map<String, Value>) -> Vec<String> {
        let errors = self.validate(None, data);
        errors.iter().map(ToString::to_string).collect()
    }

    /// Returns the error text for a customer about a field of `screen`, in the language of the
    /// flow.
    #[must_use]
    pub fn error_text(&self, screen: &str, problem: &FieldError) -> String {
        let screen = self.find_screen(screen);
        let own_field = screen.and_then(|screen| screen.find_field(&problem.field));
        match own_field.or_else(|| self.find_field(&problem.field)) {
            Some(Field {
                error: Some(error), ..
            }) => error.clone(),
            Some(field) => self.texts.error_text(field.label(), problem),
            None => self.texts.error_text(&problem.field, problem),
        }
    }
}
