//! Bearer tokens of the client API: who may do what.
//!
//! ```text
//!   request ──▶ what it needs (`need`) ──▶ Authorization: Bearer … ──▶ known? ──▶ its rights suffice? ──▶ the calls
//!               nothing: passes                 none, unknown: 401                        no: 403
//! ```
//!
//! Each file holds one token a line, so that an old and a new one can be valid at the same time; its name says what they
//! permit ([`rights`](super::rights)). A token may stand in several files. `/healthz` and `/readyz` are open: probes have no
//! token. The rights go along with the request, for calls that must know more than the head of a request says.
//!
//! Each request is judged when it arrives. An answer that is under way, a watch above all, goes on when its token is removed.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use ring::digest;
use warp::http::header::AUTHORIZATION;
use warp::http::request::Parts;
use warp::http::{HeaderValue, Method};

use crate::api::need::Need;
use crate::api::paths::{self, Place};
use crate::api::problem::{Code, Problem};
use crate::api::rights::Rights;
use leasehold_daemon::reload::{Files, Names, Reloaded};
use leasehold_daemon::serve::Guard;

/// The files: collections have any names.
pub const NAMES: Names = Names::All;
/// A shorter token could be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// In one file: more is a mistake.
const TOKENS_MAX: usize = 16;

/// Which token permits which requests.
#[derive(Debug)]
pub struct Tokens {
    /// Looked up by digests, in a table with a random key: how long that takes reveals nothing about a token.
    rights: HashMap<Digest, Arc<Rights>>,
    has_admin: bool,
}

type Digest = [u8; 32];

/// Of a request that needs no token.
static NONE: LazyLock<Arc<Rights>> = LazyLock::new(Arc::default);

impl Tokens {
    /// From all files of a directory.
    ///
    /// # Errors
    /// A file has an unknown name, a token is too short, or none may write; the message never repeats a token.
    pub fn from_files(files: &Files) -> Result<Tokens, String> {
        let mut rights: HashMap<Digest, Rights> = HashMap::new();
        for (name, bytes) in files {
            Rights::default().add(name)?;
            for token in tokens_in(name, bytes)? {
                rights.entry(digest(token.as_bytes())).or_default().add(name)?;
            }
        }
        if !rights.values().any(Rights::writes_something) {
            let why =
                "none of the files `write`, `admin` and `write.<collection>` holds a token: no client could write";
            return Err(why.to_owned());
        }
        let has_admin = rights.values().any(Rights::administers);
        Ok(Tokens { rights: rights.into_iter().map(|(token, rights)| (token, Arc::new(rights))).collect(), has_admin })
    }

    fn rights_of(&self, token: &[u8]) -> Option<&Arc<Rights>> {
        self.rights.get(&digest(token))
    }
}

/// The tokens of a file.
fn tokens_in<'a>(name: &str, bytes: &'a [u8]) -> Result<Vec<&'a str>, String> {
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
    Ok(all)
}

/// Whether such a request needs no token: the probes' do not, nor does `/metrics` if so configured.
pub(super) fn is_open(path: &str, metrics_open: bool) -> bool {
    Need::of(&Method::GET, &place_of(path), metrics_open) == Need::Nothing
}

/// Whether some token does not permit such a request, by its head.
pub(super) fn may_forbid(method: &Method, path: &str) -> bool {
    !matches!(Need::of(method, &place_of(path), false), Need::Nothing | Need::Token)
}

/// As the routes read it. A path that nobody can read names nothing, and is refused by them as well.
fn place_of(path: &str) -> Place<'_> {
    paths::read(path).unwrap_or(Place::Nothing)
}

/// The guard before the calls. It answers requests that may not pass.
pub fn guard(tokens: Reloaded<Tokens>, metrics_open: bool) -> Guard {
    Arc::new(move |head| match judge(&tokens.get(), metrics_open, head) {
        Ok(rights) => {
            head.extensions.insert(rights);
            None
        }
        Err(problem) => Some(problem.into_response()),
    })
}

/// The rights of a request that may pass.
fn judge(tokens: &Tokens, metrics_open: bool, head: &Parts) -> Result<Arc<Rights>, Problem> {
    let (method, path) = (&head.method, paths::of(&head.uri));
    let place = place_of(path);
    let need = Need::of(method, &place, metrics_open);
    if need == Need::Nothing {
        return Ok(NONE.clone());
    }
    let Some(value) = head.headers.get(AUTHORIZATION) else {
        let problem = Problem::new(Code::Unauthorized, "send `Authorization: Bearer <token>`");
        return Err(problem.challenge("Bearer realm=\"leasehold\""));
    };
    let Some(rights) = bearer(value).and_then(|token| tokens.rights_of(token)) else {
        let problem = Problem::new(Code::Unauthorized, "this token is unknown here");
        return Err(problem.challenge("Bearer realm=\"leasehold\", error=\"invalid_token\""));
    };
    if need.is_met(rights) {
        return Ok(rights.clone());
    }
    let what = format!("{method} {path}");
    Err(if need == Need::Admin && !tokens.has_admin { need.nobodys(&what) } else { need.refusal(&what) })
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
    use warp::http::Request;
    use warp::http::header::WWW_AUTHENTICATE;

    const READ: &str = "reader-token-0000000";
    const WRITE: &str = "writer-token-0000000";
    const OLD: &str = "writer-token-of-old-";

    fn tokens() -> Tokens {
        let write = format!("{OLD}\n\n  {WRITE}\n");
        Tokens::from_files(&[("read".into(), READ.into()), ("write".into(), write.into())].into()).unwrap()
    }

    fn ask(method: Method, path: &str, authorization: Option<&str>) -> (u16, String) {
        let mut head = Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0;
        if let Some(value) = authorization {
            head.headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        match judge(&tokens(), false, &head) {
            Ok(_) => (200, String::new()),
            Err(problem) => {
                let response = problem.into_response();
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
            (&[][..], "no client could write"),
            (&[("write", &b" \n"[..])], "no client could write"),
            (&[("read", READ.as_bytes()), ("backup", OLD.as_bytes())], "no client could write"),
            (&[("write", b"short")], "shorter than"),
            (&[("write", WRITE.as_bytes()), ("read", b"has a space in it, really")], "`read`"),
            (&[("write", &[0xff; 40])], "not text"),
            (&[("write", WRITE.as_bytes()), ("raed", READ.as_bytes())], "\"raed\" is unknown"),
        ] {
            let files = files.iter().map(|(name, bytes)| ((*name).into(), bytes.to_vec())).collect();
            let why = Tokens::from_files(&files).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn what_needs_an_admin_says_which_key_is_missing_where_nobody_is_one() {
        let head = Request::put("/api/collections/orders").header(AUTHORIZATION, format!("Bearer {WRITE}"));
        let head = head.body(()).unwrap().into_parts().0;
        let admin =
            |more: &str| Tokens::from_files(&[("write".into(), WRITE.into()), ("admin".into(), more.into())].into());
        for (tokens, is_said) in [(tokens(), true), (admin("").unwrap(), true), (admin(OLD).unwrap(), false)] {
            let refused = judge(&tokens, false, &head).unwrap_err();
            assert_eq!(refused.code(), Code::Forbidden);
            assert_eq!(refused.detail().contains("add the key `admin`"), is_said, "{}", refused.detail());
        }
    }
}
