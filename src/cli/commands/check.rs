//! Formats the output of `flowgate check`, the integrity check.

use std::fmt;

use crate::admin::CheckRow;

impl fmt::Display for CheckRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation {
                invariant,
                location,
            } => write!(f, "{invariant}: {location}"),
            Self::Summary {
                rows,
                violations: 0,
            } => write!(f, "{rows} rows checked: no violations"),
            Self::Summary { rows, .. } => write!(f, "{rows} rows checked"),
        }
    }
}
