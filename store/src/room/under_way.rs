//! Bodies of requests and what is made of them, until they are answered: each gets a place before it is read.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// A body exists as it arrived, and as the command that is made of it.
const COPIES: usize = 2;
/// The size of one permit.
const UNIT_BYTES: usize = 1024;
/// Bodies may use this part of the memory for data.
const PART: u64 = 8;
/// But at least this much: a few bodies of any allowed length.
const LEAST_BYTES: u64 = 16 * 1024 * 1024;
/// And no more than this.
const MOST_BYTES: u64 = 1024 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct UnderWay {
    permits: Semaphore,
    most: u32,
}

/// A place in use; dropping it frees it.
#[derive(Debug)]
pub struct Place<'a>(#[expect(dead_code, reason = "it is held")] SemaphorePermit<'a>);

/// No place became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

impl UnderWay {
    /// For a process that may use this much memory for data.
    pub fn new(memory_bytes: u64) -> UnderWay {
        let bytes = (memory_bytes / PART).clamp(LEAST_BYTES, MOST_BYTES);
        let most = (bytes / UNIT_BYTES as u64) as u32;
        UnderWay { permits: Semaphore::new(most as usize), most }
    }

    /// A place for a body of that length, in the order of the requests.
    ///
    /// # Errors
    /// [`Crowded`] at the deadline.
    pub async fn take(&self, body_bytes: usize, deadline: Instant) -> Result<Place<'_>, Crowded> {
        let units = body_bytes.saturating_mul(COPIES).div_ceil(UNIT_BYTES).max(1);
        // A body longer than all of it gets it alone.
        let units = u32::try_from(units).unwrap_or(u32::MAX).min(self.most);
        match timeout_at(deadline, self.permits.acquire_many(units)).await {
            Ok(Ok(permit)) => Ok(Place(permit)),
            Ok(Err(_)) | Err(_) => Err(Crowded),
        }
    }

    /// Bytes of the places in use.
    pub fn bytes(&self) -> u64 {
        (self.most as usize).saturating_sub(self.permits.available_permits()) as u64 * UNIT_BYTES as u64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn bodies_wait_for_a_place_and_give_up_in_time() {
        let under_way = UnderWay::new(0);
        let soon = || Instant::now() + Duration::from_millis(10);
        let mut places = Vec::new();
        while let Ok(place) = under_way.take(1024 * 1024, soon()).await {
            places.push(place);
            assert!(places.len() < 100, "there is no bound");
        }
        assert_eq!(places.len(), 8);
        assert_eq!(under_way.bytes(), 16 * 1024 * 1024);
        places.pop();
        assert!(under_way.take(1024 * 1024, soon()).await.is_ok());
        places.clear();
        assert!(under_way.take(usize::MAX, soon()).await.is_ok(), "the longest body has it all");
        assert_eq!(under_way.bytes(), 0);
    }
}
