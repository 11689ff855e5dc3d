//! `components.headers`: what answers carry.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::{Components, Ref};

/// A header that several answers share.
pub(super) struct Shared {
    /// On the wire, and in `components.headers`.
    pub(super) name: &'static str,
    kind: Type,
    description: &'static str,
}

pub(super) static SEQUENCE: Shared = Shared {
    name: "Leasehold-Sequence",
    kind: Type::Integer,
    description: "The entry of the log that the answer saw or made.",
};

pub(super) static STALENESS: Shared = Shared {
    name: "Leasehold-Staleness-Ms",
    kind: Type::Integer,
    description: "How old the data may be: everything that was acknowledged anywhere more than this many milliseconds \
                  before the answer is in it. Absent while this replica does not know.",
};

pub(super) static PARTIAL: Shared = Shared {
    name: "Leasehold-Partial",
    kind: Type::Boolean,
    description: "The token may not watch all collections, and the watch shows those that it may. Absent where it shows all.",
};

pub(super) static ETAG: Shared =
    Shared { name: "ETag", kind: Type::String, description: "A hash of the record; of a definition its revision." };

pub(super) static LOCATION: Shared = Shared { name: "Location", kind: Type::String, description: "Its path." };

pub(super) static LINK: Shared =
    Shared { name: "Link", kind: Type::String, description: "The next page, with rel=\"next\"; none on the last one." };

pub(super) static COUNT: Shared = Shared {
    name: "Leasehold-Count",
    kind: Type::Integer,
    description: "How many records the filters select, on every page; only with `count=true`.",
};

pub(super) static WWW_AUTHENTICATE: Shared = Shared {
    name: "WWW-Authenticate",
    kind: Type::String,
    description: "What is expected: a bearer token, and for a write one that may write.",
};

pub(super) static RETRY_AFTER: Shared =
    Shared { name: "Retry-After", kind: Type::Integer, description: "Seconds after which to ask again." };

impl Shared {
    /// The reference inside an answer.
    pub(super) fn reference(&self) -> Ref {
        Ref::new(format!("#/components/headers/{}", self.name))
    }

    fn header(&self) -> Header {
        let schema = Object::with_type(self.kind.clone());
        HeaderBuilder::new().description(Some(self.description)).schema(Some(schema)).build()
    }
}

/// Describes each once.
pub(super) fn describe(components: &mut Components) {
    let all = [&SEQUENCE, &STALENESS, &PARTIAL, &ETAG, &LOCATION, &LINK, &COUNT, &WWW_AUTHENTICATE, &RETRY_AFTER];
    components.headers = all.map(|one| (one.name.to_owned(), one.header().into())).into();
}
