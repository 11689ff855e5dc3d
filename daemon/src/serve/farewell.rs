//! Asks clients that keep their connections to send new requests elsewhere.

use tokio::sync::watch;

/// Tells HTTP/2 clients to send new requests on another connection: GOAWAY. On HTTP/1 only an answer can say so.
#[derive(Debug, Default)]
pub struct Farewell(watch::Sender<u64>);

/// The other end of a [`Farewell`].
#[derive(Clone, Debug)]
pub struct Leaving(watch::Receiver<u64>);

impl Farewell {
    /// Notifies all open connections. New ones are served all the same.
    pub fn say(&self) {
        self.0.send_modify(|times| *times += 1);
    }

    /// For a [`Server`](crate::serve::Server).
    pub fn leaving(&self) -> Leaving {
        Leaving(self.0.subscribe())
    }
}

impl Leaving {
    /// For a server that never does this.
    pub fn never() -> Leaving {
        Farewell::default().leaving()
    }

    /// Earlier notifications do not concern this one.
    pub(crate) fn forget_what_was_said(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits for the next one; forever if there will be none.
    pub async fn said(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Default for Leaving {
    fn default() -> Self {
        Leaving::never()
    }
}
