//! The clients of the figures: they create records.

use std::{net::SocketAddr, time::Duration};

use http::Method;
use serde_json::{Value, json};

use crate::client::Http;

/// A record of 128 bytes of JSON, for an id of 16 letters.
pub(super) fn record(id: &str) -> Value {
    json!({"id": id, "name": "A record of as many bytes as in the other benches", "note": "0123456789012345678901234567890123"})
}

/// Creates a person; its sequence, if it was acknowledged.
pub(super) async fn write(http: &Http, store: SocketAddr) -> Option<u64> {
    let person =
        json!({"firstName": "Johanna", "lastName": "Koester of as many bytes as all", "id": uuid::Uuid::new_v4()});
    let answer = http.send(Method::POST, store, "/persons", Some(&person), Duration::from_secs(5)).await.ok()?;
    if answer.status == 201 { answer.sequence() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_128_bytes() {
        assert_eq!(record("record-000000001").to_string().len(), 128);
    }
}
