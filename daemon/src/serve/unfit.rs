//! Requests that no service sees: what the parser refused, and HTTP/1.1 without exactly one Host.
//!
//! hyper answers what it cannot parse by itself, with a head and no body. [`Wire`](crate::serve::wire) recognises these
//! heads and replaces them with the server's own answers: clients get the same kind of answer for every mistake.
//!
//! This applies to HTTP/1. On HTTP/2 the frames are h2's own, and its refusals have no body. So h2 lets larger heads pass
//! than the server accepts, up to [`HTTP2_HEAD_READ_MAX`], and they are refused here. Not promised: an answer to anything
//! beyond that, or to violations of HTTP/2 itself.

use http::{HeaderMap, StatusCode, Uri, Version, header};

/// The head of a request over HTTP/2 must be smaller, as HTTP/2 counts it. This is hyper's own limit without our answers.
const HTTP2_HEAD_MAX: usize = 16 * 1024;
/// This much of it is read, to be answered. Each connection may use this much memory before we see anything. It is more
/// than the usual proxies let pass, and too little for a target that cannot be parsed (above 65,534 bytes): h2 would not
/// answer that at all, but reset the stream.
pub(crate) const HTTP2_HEAD_READ_MAX: u32 = 64 * 1024;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// 400: it is not valid HTTP.
    Malformed,
    /// 414: its target is too long.
    UriTooLong,
    /// 431: its head is too long, or has too many fields.
    HeadTooLarge,
    /// 400: it is HTTP/1.1 without exactly one Host (RFC 9112, 3.2).
    Host,
}

/// The type and the text of an answer.
pub type Refuse = fn(Unfit) -> (&'static str, String);

/// The answer to an unreadable request.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    pub(crate) refuse: Refuse,
    pub(crate) stamp: Option<HeaderMap>,
}

impl Unfit {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Unfit::Malformed | Unfit::Host => StatusCode::BAD_REQUEST,
            Unfit::UriTooLong => StatusCode::URI_TOO_LONG,
            Unfit::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    /// For a request that was parsed.
    pub(crate) fn of_request(version: Version, uri: &Uri, headers: &HeaderMap) -> Option<Unfit> {
        match version {
            Version::HTTP_11 => {
                let mut hosts = headers.get_all(header::HOST).iter();
                let is_fit = hosts.next().is_some() && hosts.next().is_none();
                (!is_fit).then_some(Unfit::Host)
            }
            Version::HTTP_2 => (http2_head_bytes(uri, headers) >= HTTP2_HEAD_MAX).then_some(Unfit::HeadTooLarge),
            _ => None,
        }
    }

    /// For one that was not, by what hyper is about to write.
    pub(crate) fn of_written(bytes: &[u8]) -> Option<Unfit> {
        let fields = bytes.strip_prefix(b"HTTP/1.1 4")?.strip_suffix(b"\r\n\r\n")?;
        let unfit = [
            (&b"00 Bad Request\r\n"[..], Unfit::Malformed),
            (b"14 URI Too Long\r\n", Unfit::UriTooLong),
            (b"31 Request Header Fields Too Large\r\n", Unfit::HeadTooLarge),
        ];
        let (fields, unfit) = unfit.into_iter().find_map(|(line, unfit)| Some((fields.strip_prefix(line)?, unfit)))?;
        let mut fields = std::str::from_utf8(fields).ok()?.split("\r\n").map(str::to_ascii_lowercase);
        // Any other field: a service gave this answer.
        fields
            .all(|field| field == "connection: close" || field == "content-length: 0" || field.starts_with("date: "))
            .then_some(unfit)
    }

    /// The whole answer, after which the connection ends.
    pub(crate) fn answer(self, words: &Words) -> String {
        let ((kind, body), status) = ((words.refuse)(self), self.status());
        let fields = words.stamp.iter().flatten();
        let stamp = fields.filter_map(|(name, value)| Some(format!("{name}: {}\r\n", value.to_str().ok()?)));
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{}connection: close\r\n\r\n{body}",
            body.len(),
            stamp.collect::<String>()
        )
    }
}

/// The fields and the target, each with the 32 bytes that HTTP/2 adds (RFC 9113, 6.5.2).
fn http2_head_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let field = |name: &str, value: usize| name.len() + value + 32;
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields = headers.iter().map(|(name, value)| field(name.as_str(), value.len()));
    field(":authority", authority) + field(":path", path) + fields.sum::<usize>()
}
