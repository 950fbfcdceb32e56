//! The same encrypted bytes again get the same bytes back: one key and IV must never seal two different answers.
//!
//! Remembers the last answers by the request's fingerprint, within a bound of bytes. The first answer wins, also where
//! two copies are answered at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::intake::encryption::Fingerprint;

/// Bytes that one entry takes beside its answer, about.
const ENTRY_BYTES: usize = 128;

/// Answers by what they answered.
pub(super) struct Replays {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<Fingerprint, Bytes>,
    /// Oldest first.
    order: VecDeque<Fingerprint>,
    bytes: usize,
}

impl Replays {
    /// Remembers up to `bytes_max` bytes of answers.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// What was answered to the same request.
    pub(super) fn get(&self, request: &Fingerprint) -> Option<Bytes> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).answers.get(request).cloned()
    }

    /// The answer to be sent: `answer`, unless another one to the same request was there first.
    pub(super) fn first(&self, request: Fingerprint, answer: Bytes) -> Bytes {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = kept.answers.get(&request) {
            return earlier.clone();
        }
        kept.bytes = kept.bytes.saturating_add(answer.len()).saturating_add(ENTRY_BYTES);
        kept.answers.insert(request, answer.clone());
        kept.order.push_back(request);
        while kept.bytes > self.bytes_max
            && let Some(oldest) = kept.order.pop_front()
        {
            let gone = kept.answers.remove(&oldest).map_or(0, |answer| answer.len());
            kept.bytes = kept.bytes.saturating_sub(gone.saturating_add(ENTRY_BYTES));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_wins() {
        let replays = Replays::new(1 << 20);
        assert_eq!(replays.get(&[1; 32]), None);
        assert_eq!(replays.first([1; 32], Bytes::from_static(b"one")), "one");
        assert_eq!(replays.first([1; 32], Bytes::from_static(b"two")), "one");
        assert_eq!(replays.get(&[1; 32]), Some(Bytes::from_static(b"one")));
    }

    #[test]
    fn past_the_bound_the_oldest_are_forgotten() {
        let replays = Replays::new(10 * (ENTRY_BYTES + 1));
        for number in 0..100 {
            replays.first([number; 32], Bytes::from(vec![number]));
        }
        assert_eq!(replays.get(&[89; 32]), None);
        assert_eq!(replays.get(&[90; 32]), Some(Bytes::from_static(&[90])));
        let kept = replays.kept.lock().unwrap();
        assert_eq!((kept.answers.len(), kept.order.len(), kept.bytes), (10, 10, replays.bytes_max));
    }
}
