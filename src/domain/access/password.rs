//! Rules for passwords, after NIST SP 800-63B: length and well-known passwords, no composition.

use crate::domain::ids::AccountName;

/// Minimum length in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Maximum length in bytes. The time of a hash must not depend on a huge input.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Parts of passwords that people use most. A password must have enough else beside them.
const COMMON_PARTS: [&str; 22] = [
    "password",
    "passwort",
    "contraseña",
    "contrasena",
    "senha",
    "flowgate",
    "whatsapp",
    "qwertz",
    "qwerty",
    "azerty",
    "asdfgh",
    "welcome",
    "willkommen",
    "bienvenido",
    "letmein",
    "iloveyou",
    "admin",
    "dashboard",
    "1234567890",
    "123456",
    "abcdef",
    "geheim",
];
/// Minimum number of different characters that are not part of a common text.
const OTHER_CHARS_MIN: usize = 5;

/// Reason why a password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// The password is too short.
    #[error("the password must have at least 12 characters: three or four words are good")]
    TooShort,
    /// The password is too long.
    #[error("the password must have at most 256 bytes")]
    TooLong,
    /// The password is easy to guess.
    #[error("this password is easy to guess: use three or four words that do not belong together")]
    TooCommon,
}

/// Checks a new password of an account.
///
/// # Errors
/// [`PasswordProblem`] with the reason, if the password is refused.
pub fn check_password(account: &AccountName, password: &str) -> Result<(), PasswordProblem> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordProblem::TooLong);
    }
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(PasswordProblem::TooShort);
    }
    let name = account.as_str().to_lowercase();
    let mut rest = password.to_lowercase();
    for part in COMMON_PARTS.into_iter().chain([name.as_str()]) {
        rest = rest.replace(part, "");
    }
    let mut others: Vec<char> = rest.chars().collect();
    others.sort_unstable();
    others.dedup();
    if others.len() < OTHER_CHARS_MIN {
        return Err(PasswordProblem::TooCommon);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_passwords_without_common_texts_are_accepted() {
        let ann = AccountName::new("annabelle").unwrap();
        let check = |password: &str| check_password(&ann, password);
        for good in [
            "correct horse battery",
            "zwölf Äpfel im Sack",
            "x7#kQ!29vb_T",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check("elevenchars"), Err(PasswordProblem::TooShort));
        assert_eq!(
            check(&"ab cd ef ".repeat(29)),
            Err(PasswordProblem::TooLong)
        );
        for common in [
            "password1234",
            "Password123456!!",
            "qwerty1234567890",
            "aaaaaaaaaaaa",
            "annabelleannabelle1",
            "flowgate-flowgate",
            "abababababababab",
        ] {
            assert_eq!(check(common), Err(PasswordProblem::TooCommon), "{common}");
        }
    }
}
