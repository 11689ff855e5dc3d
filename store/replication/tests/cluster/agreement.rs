//! Replicas that check each other \[D1 to D6\].

use super::*;

impl Node {
    /// The sum of its data after that entry: of what it applied, and of the bits that are wrong.
    pub(super) fn sum_after(&self, sequence: Seq) -> Option<Sum> {
        let upto = self.applied.iter().take_while(|entry| entry.position.seq <= sequence);
        let sum = upto.clone().fold(0u128, |sum, entry| {
            entry.record().iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u128::from(*byte)))
        });
        let flips = self.flips.iter().filter(|(from, _)| *from <= sequence);
        let is_known = upto.last().is_some_and(|last| last.position.seq == sequence);
        is_known.then(|| Sum(flips.fold(sum, |sum, (_, bit)| sum ^ bit)))
    }
}
