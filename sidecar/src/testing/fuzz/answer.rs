//! What a server says to whoever asks it: an app whose health is checked, a target of notices, another sidecar.

use tokio::io::AsyncWriteExt as _;

use super::runtime::on_runtime;
use crate::client::{HttpUrl, Question};

/// The longest body that is read where one is.
const BYTES_MAX: usize = 512;

/// The first line is the URL; the rest is what is answered there, up to the end of the connection. A URL is read again as the
/// same; an answer has a status, and no more of a body than whoever asked would read.
pub fn answer(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, said) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let Ok(line) = std::str::from_utf8(line) else { return };
    let url: HttpUrl = match line.parse() {
        Ok(url) => url,
        Err(reason) => return assert!(!reason.is_empty()),
    };
    assert_eq!(url.to_string().parse(), Ok(url.clone()), "a URL is read again as another one");
    on_runtime(async {
        for bytes_max in [0, BYTES_MAX] {
            // Room for all that is said, and for the question.
            let (near, mut far) = tokio::io::duplex(said.len() + (64 << 10));
            let question = Question::get().exchange_over(near, &url, bytes_max);
            let server = async {
                let _ = far.write_all(said).await;
                let _ = far.shutdown().await;
                far
            };
            let (answered, _far) = tokio::join!(question, server);
            match answered {
                Ok(answer) => {
                    assert!((100..1000).contains(&answer.status), "status {}", answer.status);
                    assert!(answer.body.len() <= bytes_max, "a body of {} bytes", answer.body.len());
                    // Empty lines before it are permitted.
                    let first = said.iter().position(|byte| !b"\r\n".contains(byte)).map(|at| &said[at..]);
                    assert!(
                        first.is_some_and(|first| first.starts_with(b"HTTP/1.")),
                        "no HTTP, and status {}",
                        answer.status
                    );
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    });
}
