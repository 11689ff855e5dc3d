//! Bearer tokens of the client API: who may read, who may write.
//!
//! ```text
//!   request ──▶ open path? ──▶ Authorization: Bearer … ──▶ known? ──▶ enough for the method? ──▶ the calls
//!                                        none, unknown: 401                      no: 403
//! ```
//!
//! The files `read` and `write` hold one token a line, so that an old and a new one can be valid at the same time. A token
//! of `write` may also read. `/healthz` and `/readyz` are open: probes have no token.

use ring::digest;
use subtle::{Choice, ConstantTimeEq};
use warp::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use warp::http::{HeaderMap, HeaderValue, Method};

use crate::api::problem::{Code, Problem};
use leasehold_daemon::reload::{Files, Reloaded};
use leasehold_daemon::serve::Guard;
use std::sync::Arc;

/// The files.
pub const NAMES: &[&str] = &["read", "write"];
/// A shorter token could be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Each is compared with every request's.
const TOKENS_MAX: usize = 16;

/// Which token permits which requests.
#[derive(Debug)]
pub struct Tokens {
    read: Vec<Digest>,
    write: Vec<Digest>,
}

/// Every token gives equal length, so that a comparison reveals nothing about it.
type Digest = [u8; 32];

/// What a token permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    Read,
    Write,
}

impl Tokens {
    /// From the files of [`NAMES`].
    ///
    /// # Errors
    /// There is no token that may write, or one is too short; the message never repeats it.
    pub fn from_files(files: &Files) -> Result<Tokens, String> {
        let tokens = |name: &str| -> Result<Vec<Digest>, String> {
            let Some(bytes) = files.get(name) else { return Ok(Vec::new()) };
            let text = std::str::from_utf8(bytes).map_err(|_| format!("the file `{name}` is not text"))?;
            let all: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            if all.len() > TOKENS_MAX {
                return Err(format!("the file `{name}` holds more than {TOKENS_MAX} tokens"));
            }
            let good = |token: &&str| token.len() >= TOKEN_BYTES_MIN && token.bytes().all(|b| b.is_ascii_graphic());
            if !all.iter().all(good) {
                return Err(format!(
                    "the file `{name}` has a token that is shorter than {TOKEN_BYTES_MIN} characters or contains spaces"
                ));
            }
            Ok(all.iter().map(|token| digest(token.as_bytes())).collect())
        };
        let (read, write) = (tokens("read")?, tokens("write")?);
        if write.is_empty() {
            return Err("the file `write` is missing or empty: no client could write".to_owned());
        }
        Ok(Tokens { read, write })
    }

    fn right_of(&self, token: &[u8]) -> Option<Right> {
        let digest = digest(token);
        // All are compared, whichever matches.
        let any = |all: &[Digest]| all.iter().fold(Choice::from(0), |any, one| any | one.ct_eq(&digest));
        let (read, write) = (any(&self.read), any(&self.write));
        if write.into() { Some(Right::Write) } else { bool::from(read).then_some(Right::Read) }
    }
}

/// Which requests need no token: the probes', and `/metrics` if so configured.
pub(super) fn is_open(path: &str, metrics_open: bool) -> bool {
    match path.strip_suffix('/').unwrap_or(path) {
        "/healthz" | "/readyz" => true,
        "/metrics" => metrics_open,
        _ => false,
    }
}

/// Which requests need a token that may write.
pub(super) fn writes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The guard before the calls. It answers requests that may not pass.
pub fn guard(tokens: Reloaded<Tokens>, metrics_open: bool) -> Guard {
    Arc::new(move |method, path, headers| refusal(&tokens.get(), metrics_open, method, path, headers))
}

/// The answer to a request that may not pass; none if it may.
fn refusal(
    tokens: &Tokens,
    metrics_open: bool,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<warp::reply::Response> {
    if is_open(path, metrics_open) {
        return None;
    }
    let needed = if writes(method) { Right::Write } else { Right::Read };
    let Some(value) = headers.get(AUTHORIZATION) else {
        let problem = Problem::new(Code::Unauthorized, "send `Authorization: Bearer <token>`");
        return Some(with_challenge(problem, "Bearer realm=\"leasehold\""));
    };
    match bearer(value).and_then(|token| tokens.right_of(token)) {
        Some(right) if right >= needed => None,
        Some(_) => Some(with_challenge(
            Problem::new(Code::Forbidden, format!("this token allows reads only, and {method} {path} is a write")),
            "Bearer realm=\"leasehold\", error=\"insufficient_scope\", scope=\"write\"",
        )),
        None => Some(with_challenge(
            Problem::new(Code::Unauthorized, "this token is unknown here"),
            "Bearer realm=\"leasehold\", error=\"invalid_token\"",
        )),
    }
}

fn with_challenge(problem: Problem, challenge: &'static str) -> warp::reply::Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// The token in `Bearer <token>`; the scheme's case does not matter.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let bytes = value.as_bytes();
    let (scheme, token) = bytes.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn digest(token: &[u8]) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const READ: &str = "reader-token-0000000";
    const WRITE: &str = "writer-token-0000000";
    const OLD: &str = "writer-token-of-old-";

    fn tokens() -> Tokens {
        let write = format!("{OLD}\n\n  {WRITE}\n");
        Tokens::from_files(&[("read", READ.into()), ("write", write.into())].into()).unwrap()
    }

    fn ask(method: Method, path: &str, authorization: Option<&str>) -> (u16, String) {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        match refusal(&tokens(), false, &method, path, &headers) {
            None => (200, String::new()),
            Some(response) => {
                let challenge = response.headers()[WWW_AUTHENTICATE].to_str().unwrap().to_owned();
                (response.status().as_u16(), challenge)
            }
        }
    }

    #[test]
    fn who_has_which_token_may_do_what() {
        let bearer = |token: &str| format!("Bearer {token}");
        for (method, token, expected) in [
            (Method::GET, Some(bearer(READ)), 200),
            (Method::HEAD, Some(bearer(READ)), 200),
            (Method::GET, Some(bearer(WRITE)), 200),
            (Method::POST, Some(bearer(WRITE)), 200),
            (Method::DELETE, Some(bearer(OLD)), 200),
            (Method::PATCH, Some(format!("bearer  {WRITE}")), 200),
            (Method::POST, Some(bearer(READ)), 403),
            (Method::PUT, Some(bearer(READ)), 403),
            (Method::from_bytes(b"BREW").unwrap(), Some(bearer(READ)), 403),
            (Method::GET, None, 401),
            (Method::POST, None, 401),
            (Method::GET, Some(bearer("")), 401),
            (Method::GET, Some(bearer("reader-token-0000001")), 401),
            (Method::GET, Some(format!("Basic {READ}")), 401),
            (Method::GET, Some(READ.to_owned()), 401),
            (Method::GET, Some("B".to_owned()), 401),
        ] {
            let (status, challenge) = ask(method.clone(), "/persons", token.as_deref());
            assert_eq!(status, expected, "{method} {token:?}");
            assert_eq!(challenge.starts_with("Bearer realm="), status != 200, "{challenge}");
        }
    }

    #[test]
    fn probes_need_no_token_and_metrics_only_where_that_is_not_wanted() {
        for path in ["/healthz", "/readyz", "/readyz/"] {
            assert_eq!(ask(Method::GET, path, None).0, 200, "{path}");
        }
        for path in ["/metrics", "/", "/healthz/../persons", "/api/status", "/healthzz"] {
            assert_eq!(ask(Method::GET, path, None).0, 401, "{path}");
        }
        assert!(is_open("/metrics", true) && !is_open("/persons", true));
    }

    #[test]
    fn files_without_a_good_token_are_refused() {
        for (files, word) in [
            (Files::new(), "`write` is missing"),
            ([("write", b" \n".to_vec())].into(), "`write` is missing"),
            ([("write", b"short".to_vec())].into(), "shorter than"),
            ([("write", WRITE.into()), ("read", b"has a space in it, really".to_vec())].into(), "`read`"),
            ([("write", vec![0xff; 40])].into(), "not text"),
        ] {
            let why = Tokens::from_files(&files).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
