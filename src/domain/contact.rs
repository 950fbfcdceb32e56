//! Finds the name and the phone number of a person in the answers of a form.
//!
//! Forms name their fields freely. A field counts as the name if a word of its key means "name" in
//! one of the common languages, and no other word says that the name is of something else.

use serde_json::{Map, Value};

/// Words of a key that mark the name of a person.
const NAME_WORDS: [&str; 12] = [
    "name",
    "fullname",
    "nombre",
    "nome",
    "nom",
    "naam",
    "nama",
    "imie",
    "vorname",
    "nachname",
    "apellido",
    "sobrenome",
];
/// Words of a key that mark the name of something else.
const OTHER_WORDS: [&str; 14] = [
    "company", "business", "empresa", "firma", "user", "file", "pet", "doctor", "agent", "service",
    "product", "calendar", "brand", "model",
];
/// Words of a key that mark a phone number.
const PHONE_WORDS: [&str; 9] = [
    "phone",
    "telephone",
    "telefono",
    "telefone",
    "telefon",
    "mobile",
    "whatsapp",
    "tel",
    "celular",
];

/// Name and phone number that a person wrote in a form. Personal data: `Debug` is not derived.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FormContact {
    /// Name of the person. Several fields, such as the first and the last name, are joined.
    pub name: Option<String>,
    /// Phone number as written.
    pub phone: Option<String>,
}

impl FormContact {
    /// Finds the contact in the answers of a form.
    #[must_use]
    pub fn from_answers(answers: &Value) -> Self {
        let Some(answers) = answers.as_object() else {
            return Self::default();
        };
        let names: Vec<&str> = texts_under(answers, |words| {
            has_any(words, &NAME_WORDS) && !has_any(words, &OTHER_WORDS)
        });
        let phones = texts_under(answers, |words| has_any(words, &PHONE_WORDS));
        Self {
            name: (!names.is_empty()).then(|| names.join(" ")),
            phone: phones.first().map(|phone| (*phone).to_owned()),
        }
    }

    /// Returns `true` if the field with this key holds a name or a phone number.
    #[must_use]
    pub fn is_contact_field(key: &str) -> bool {
        let words = words_of(key);
        has_any(&words, &PHONE_WORDS)
            || has_any(&words, &NAME_WORDS) && !has_any(&words, &OTHER_WORDS)
    }
}

/// Lists the texts whose keys fulfil a condition, in the order of the form.
fn texts_under(answers: &Map<String, Value>, is_wanted: impl Fn(&[String]) -> bool) -> Vec<&str> {
    let fields = answers.iter().filter(|(key, _)| is_wanted(&words_of(key)));
    let texts = fields.filter_map(|(_, value)| value.as_str());
    texts
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect()
}

fn has_any(words: &[String], known: &[&str]) -> bool {
    words.iter().any(|word| known.contains(&word.as_str()))
}

/// Splits `firstName` and `screen_0_First_Name_1` into lower-case words.
fn words_of(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for character in key.chars() {
        let begins_word = character.is_uppercase() && was_lower;
        if !character.is_alphabetic() || begins_word {
            words.push(String::new());
        }
        if character.is_alphabetic()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        was_lower = character.is_lowercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn contact_is_found_under_usual_keys() {
        for (answers, name, phone) in [
            (json!({"name": " Ann Lee ", "date": "x"}), "Ann Lee", ""),
            (
                json!({"first_name": "Ann", "lastName": "Lee"}),
                "Ann Lee",
                "",
            ),
            (json!({"screen_0_Full_Name_0": "Ann"}), "Ann", ""),
            (json!({"nombre": "Ana", "telefono": "0151"}), "Ana", "0151"),
            (
                json!({"company_name": "Acme", "mobile_phone": "+1"}),
                "",
                "+1",
            ),
            (json!({"username": "ann1", "hotel": "Ritz"}), "", ""),
            (json!({"name": 7, "phone": ""}), "", ""),
            (json!(["name"]), "", ""),
        ] {
            let found = FormContact::from_answers(&answers);
            let pair = (
                found.name.unwrap_or_default(),
                found.phone.unwrap_or_default(),
            );
            assert_eq!(pair, (name.to_owned(), phone.to_owned()), "{answers}");
        }
        assert!(
            FormContact::is_contact_field("Full_Name")
                && !FormContact::is_contact_field("pet_name")
        );
    }
}
