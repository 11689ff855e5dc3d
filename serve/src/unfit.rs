//! Requests that no service sees: what the parser refused, and HTTP/1.1 without exactly one Host.
//!
//! hyper answers what it cannot parse by itself, with a head and no body. [`Wire`](crate::wire) knows these heads, and puts
//! the server's own words in their place: clients get the same kind of answer for every mistake. That is so on HTTP/1; on
//! HTTP/2 the frames are h2's own.

use http::{HeaderMap, StatusCode, Version, header};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// 400: it is not HTTP as it must be.
    Malformed,
    /// 414: its target is too long.
    UriTooLong,
    /// 431: its head is too long, or has too many fields.
    HeadTooLarge,
    /// 400: it is HTTP/1.1, and has not exactly one Host (RFC 9112, 3.2).
    Host,
}

/// The type and the text of an answer.
pub type Refuse = fn(Unfit) -> (&'static str, String);

/// What an answer says to what could not be read.
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

    /// Of a request that was parsed.
    pub(crate) fn of_request(version: Version, headers: &HeaderMap) -> Option<Unfit> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let is_fit = version != Version::HTTP_11 || (hosts.next().is_some() && hosts.next().is_none());
        (!is_fit).then_some(Unfit::Host)
    }

    /// Of one that was not, by what hyper is about to write.
    pub(crate) fn of_written(bytes: &[u8]) -> Option<Unfit> {
        let fields = bytes.strip_prefix(b"HTTP/1.1 4")?.strip_suffix(b"\r\n\r\n")?;
        let unfit = [
            (&b"00 Bad Request\r\n"[..], Unfit::Malformed),
            (b"14 URI Too Long\r\n", Unfit::UriTooLong),
            (b"31 Request Header Fields Too Large\r\n", Unfit::HeadTooLarge),
        ];
        let (fields, unfit) = unfit.into_iter().find_map(|(line, unfit)| Some((fields.strip_prefix(line)?, unfit)))?;
        let mut fields = std::str::from_utf8(fields).ok()?.split("\r\n").map(str::to_ascii_lowercase);
        // Any other field: a service has answered so.
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
