//! [`Quarrel`]: says once that nothing expires because clocks disagree, and once that it does again.

/// For how many seconds in a row clocks must disagree before it is said: a new leader has compared none yet.
const SECONDS_MIN: u32 = 5;

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Paused,
    Resumed,
}

/// Whether the clocks of a majority disagree with that of this leader.
#[derive(Debug, Default)]
pub(super) struct Quarrel {
    seconds: u32,
    is_said: bool,
}

impl Quarrel {
    /// One more second. `agrees`: none where it does not matter, as this replica does not lead.
    pub(super) fn look(&mut self, agrees: Option<bool>) -> Option<News> {
        match agrees {
            None => {
                *self = Quarrel::default();
                None
            }
            Some(true) => std::mem::take(self).is_said.then_some(News::Resumed),
            Some(false) => {
                self.seconds = self.seconds.saturating_add(1);
                let is_news = self.seconds >= SECONDS_MIN && !self.is_said;
                self.is_said |= is_news;
                is_news.then_some(News::Paused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarrel_of_clocks_is_said_once_and_its_end_once() {
        let mut quarrel = Quarrel::default();
        let mut said = |agrees: &[Option<bool>]| -> Vec<News> {
            agrees.iter().filter_map(|agrees| quarrel.look(*agrees)).collect()
        };
        assert_eq!(said(&[Some(true), Some(false), Some(false), Some(false), Some(false), Some(true)]), []);
        assert_eq!(said(&[Some(false); 100]), [News::Paused]);
        assert_eq!(said(&[Some(true); 100]), [News::Resumed]);
        // Who leads next says it anew, and nobody says that it is over.
        assert_eq!(said(&[Some(false); 5]), [News::Paused]);
        assert_eq!(said(&[None, Some(true), Some(false), Some(false), Some(false), Some(false)]), []);
        assert_eq!(said(&[Some(false)]), [News::Paused]);
    }
}
