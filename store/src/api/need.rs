//! What a request needs of a token: by the call that it is for, as the routes find it, and by the collection in its path.
//!
//! What the bodies of requests name is judged by the calls themselves: a transaction's operations, the collections of
//! `/api/watch`. A refusal depends on the request and the token alone, never on the data: it does not tell whether there is
//! such a collection.

use leasehold_documents::is_name;
use warp::http::Method;

use super::calls::{Found, Kind, find};
use super::paths::Place;
use super::problem::{Code, Problem};
use super::rights::Rights;

/// What a token must permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need<'a> {
    /// Nothing: no token is needed.
    Nothing,
    /// Any token will do.
    Token,
    /// To read this collection; none: all of them.
    Read(Option<&'a str>),
    /// To watch this collection.
    Watch(&'a str),
    /// To write to this collection.
    Write(&'a str),
    /// To read or write any collection: what it does is judged by its operations.
    Operate,
    /// To write to any collection: there is no such call, and only who may write needs to know.
    WriteSomething,
    /// To read all that there is, also what is about no collection.
    BackUp,
    /// To change what collections are.
    Admin,
}

impl<'a> Need<'a> {
    /// Of a request with this method for this place. `metrics_open`: `/metrics` needs no token.
    pub(super) fn of(method: &Method, place: &'a Place<'_>, metrics_open: bool) -> Need<'a> {
        match place {
            Place::Fixed("/healthz" | "/readyz") => return Need::Nothing,
            Place::Fixed("/metrics") if metrics_open => return Need::Nothing,
            _ => {}
        }
        let name = place.named().unwrap_or_default();
        match find(method, place) {
            Found::Call(kind) => match kind {
                // The page is the same for everybody; what it shows it reads from `/openapi.json`.
                Kind::Healthz | Kind::Readyz | Kind::Docs => Need::Nothing,
                Kind::Index | Kind::Leader | Kind::Status | Kind::OpenApi | Kind::Definitions | Kind::WatchAll => {
                    Need::Token
                }
                Kind::Metrics => Need::Read(None),
                Kind::Snapshot => Need::BackUp,
                Kind::List | Kind::Read | Kind::Definition => Need::Read(Some(name)),
                Kind::Watch => Need::Watch(name),
                Kind::Create | Kind::Replace | Kind::Patch | Kind::Delete | Kind::Batch => Need::Write(name),
                Kind::Transaction => Need::Operate,
                Kind::Define | Kind::Drop | Kind::GiveUp | Kind::PauseExpiry => Need::Admin,
            },
            // Their answers say whether there is such a collection.
            Found::OtherMethods(_) | Found::Nothing => match (reads(method), place.collection()) {
                (true, Some(collection)) => Need::Read(Some(collection)),
                (false, Some(collection)) => Need::Write(collection),
                (true, None) => Need::Token,
                (false, None) => Need::WriteSomething,
            },
        }
    }

    /// Does a token with these rights permit it?
    pub(super) fn is_met(self, rights: &Rights) -> bool {
        match self {
            Need::Nothing | Need::Token => true,
            Need::Read(None) => rights.reads_all(),
            Need::Read(Some(collection)) => rights.reads(collection),
            Need::Watch(collection) => rights.watches(collection),
            Need::Write(collection) => rights.writes(collection),
            Need::Operate => rights.reads_something(),
            Need::WriteSomething => rights.writes_something(),
            Need::BackUp => rights.backs_up(),
            Need::Admin => rights.administers(),
        }
    }

    /// The refusal of a request whose token does not permit it. `what`: the request, or the part of it that needs this.
    pub(super) fn refusal(self, what: &str) -> Problem {
        self.refused(format!("{what} needs a token of {}, and this one is none. Not done", self.keys()))
    }

    /// The same where no token permits it.
    pub(super) fn nobodys(self, what: &str) -> Problem {
        let keys = self.keys();
        self.refused(format!(
            "{what} needs a token of {keys}, and there is none: add the key {keys} to the Secret (a file in the directory \
             of --api-tokens). Not done"
        ))
    }

    fn refused(self, detail: String) -> Problem {
        Problem::new(Code::Forbidden, detail).challenge(self.challenge())
    }

    /// The files of the directory, which are the keys of the Secret, that give the right.
    fn keys(self) -> String {
        let of = |word: &str, name: &str, more: &str| match is_name(name) {
            true if more.is_empty() => format!("`{word}` or `{word}.{name}`"),
            true => format!("`{word}`, `{word}.{name}` or {more}"),
            // Such a name can be no file's.
            false => format!("`{word}`"),
        };
        match self {
            Need::Nothing | Need::Token | Need::Read(None) => "`read`".to_owned(),
            Need::Read(Some(collection)) => of("read", collection, ""),
            Need::Watch(collection) => of("read", collection, "`backup`"),
            Need::Write(collection) => of("write", collection, ""),
            Need::Operate => "`read` or `write`".to_owned(),
            Need::WriteSomething => "`write`".to_owned(),
            Need::BackUp => "`backup` or `admin`".to_owned(),
            Need::Admin => "`admin`".to_owned(),
        }
    }

    /// As RFC 6750 has it, section 3.
    fn challenge(self) -> &'static str {
        match self {
            Need::Nothing | Need::Token | Need::Read(_) | Need::Watch(_) | Need::Operate => {
                "Bearer realm=\"leasehold\", error=\"insufficient_scope\", scope=\"read\""
            }
            Need::Write(_) | Need::WriteSomething => {
                "Bearer realm=\"leasehold\", error=\"insufficient_scope\", scope=\"write\""
            }
            Need::BackUp => "Bearer realm=\"leasehold\", error=\"insufficient_scope\", scope=\"backup\"",
            Need::Admin => "Bearer realm=\"leasehold\", error=\"insufficient_scope\", scope=\"admin\"",
        }
    }
}

/// A method that changes nothing.
pub(super) fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
