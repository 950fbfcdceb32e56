//! The nouns of the command line, one file each: what can be typed, the question it asks, how the answer looks.

pub mod agents;
pub mod bookings;
pub mod check;
pub mod dead;
pub mod deliveries;
pub mod destinations;
pub mod drafts;
pub mod flows;
pub mod gateways;
pub mod jobs;
pub mod keys;
pub mod leads;
pub mod reload;
pub mod slots;
pub mod status;
pub mod submissions;

use super::show::Look;
use crate::admin::Question;

/// What a command comes to: a question, and how its answer looks.
#[derive(Debug)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// How the rows of its answer look.
    pub look: Look,
}

impl Asked {
    /// A question whose answer is one thing.
    #[must_use]
    pub const fn whole(question: Question) -> Self {
        Self { question, look: Look::Whole }
    }
}
