//! What a server allows its clients.

use std::sync::Arc;
use std::time::Duration;

use crate::serve::counts::Counts;

/// What a server permits, and where it counts violations.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The name of the port, for logs.
    pub port: &'static str,
    /// Open connections at a time. To admit one more, the longest silent one is closed; while all are busy, the new one
    /// waits.
    pub connections_max: usize,
    /// The time for everything before HTTP (TLS, a proof), then for the first request's head, and for each later head from
    /// its first byte on. Then the connection is closed.
    pub header_max: Duration,
    /// How long a connection may send no request. Then it is closed.
    pub idle_max: Duration,
    /// How long a response may make no progress: its connection, or its HTTP/2 stream, is cut then.
    pub stall_max: Duration,
    /// How long a connection that was closed with an answer still takes what the client sends, so that it can read that
    /// answer.
    pub linger_max: Duration,
    /// How long open requests may take to end once the server begins to stop.
    pub stop_max: Duration,
    /// Where closed connections are counted.
    pub counts: Arc<Counts>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            port: "http",
            connections_max: 4096,
            header_max: Duration::from_secs(15),
            idle_max: Duration::from_secs(620),
            stall_max: Duration::from_secs(30),
            linger_max: Duration::from_secs(5),
            stop_max: Duration::from_secs(2),
            counts: Arc::default(),
        }
    }
}
