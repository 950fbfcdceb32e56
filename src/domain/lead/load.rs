//! Compares agents by their open leads per unit of weight.

use std::cmp::Ordering;

/// Open leads per unit of weight, compared exactly.
#[derive(Clone, Copy, Debug)]
pub struct LeadLoad {
    pub(super) current_leads: u32,
    pub(super) weight: u32,
}

impl Ord for LeadLoad {
    fn cmp(&self, other: &Self) -> Ordering {
        // Compares current / weight without a division. Both products fit into 64 bits.
        let product =
            |load: &Self, by: &Self| u64::from(load.current_leads) * u64::from(by.weight.max(1));
        product(self, other).cmp(&product(other, self))
    }
}

impl PartialOrd for LeadLoad {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Equality of the fractions, not of the numbers: 1 of 2 equals 2 of 4.
impl PartialEq for LeadLoad {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for LeadLoad {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_ranks_compare_as_fractions() {
        let load = |current_leads, weight| LeadLoad {
            current_leads,
            weight,
        };
        assert_eq!(load(1, 2), load(2, 4));
        assert!(load(1, 3) < load(1, 2));
        assert!(load(333, 1000) < load(1, 3));
        assert!(load(u32::MAX, 1000) > load(u32::MAX - 1, 1000));
        assert_eq!(load(0, 1), load(0, 1000));
    }
}
