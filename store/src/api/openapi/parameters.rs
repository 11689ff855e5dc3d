//! `components.parameters`: the parameters of paths, queries and request headers.

use crate::api::query::PAGE_MAX;
use leasehold_documents::KEY_BYTES_MAX;
use serde_json::json;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{Components, Object, Ref, Required};

use super::schemas;

/// A parameter that calls share.
pub(super) struct Shared {
    /// In `components.parameters`: two of the same name mean different things.
    key: &'static str,
    /// On the wire.
    name: &'static str,
    place: ParameterIn,
    schema: fn() -> Object,
    description: &'static str,
}

pub(super) static ID: Shared =
    Shared { key: "id", name: "id", place: ParameterIn::Path, schema: schemas::uuid, description: "The person's id." };

pub(super) static UUID: Shared = Shared {
    key: "uuid",
    name: "id",
    place: ParameterIn::Path,
    schema: schemas::uuid,
    description: "The record's id.",
};

pub(super) static TEXT: Shared = Shared {
    key: "text",
    name: "id",
    place: ParameterIn::Path,
    schema: schemas::text_id,
    description: "The record's id: 1 to 255 bytes of UTF-8.",
};

pub(super) static COLLECTION: Shared = Shared {
    key: "collection",
    name: "collection",
    place: ParameterIn::Path,
    schema: schemas::name_of_collection,
    description: "The name of the collection.",
};

pub(super) static ID_EQUALS: Shared = Shared {
    key: "idEquals",
    name: "id",
    place: ParameterIn::Query,
    schema: schemas::uuid,
    description: "Only the person with this id.",
};

pub(super) static FIRST_NAME: Shared = Shared {
    key: "firstName",
    name: "firstName",
    place: ParameterIn::Query,
    schema: schemas::text,
    description: "Only persons whose firstName equals this.",
};

pub(super) static LAST_NAME: Shared = Shared {
    key: "lastName",
    name: "lastName",
    place: ParameterIn::Query,
    schema: schemas::text,
    description: "Only persons whose lastName equals this.",
};

pub(super) static LIMIT: Shared = Shared {
    key: "limit",
    name: "limit",
    place: ParameterIn::Query,
    schema: || schemas::integer().minimum(Some(1_u32)).maximum(Some(PAGE_MAX)).build(),
    description: "At most this many, as a page.",
};

pub(super) static CURSOR: Shared = Shared {
    key: "cursor",
    name: "cursor",
    place: ParameterIn::Query,
    schema: schemas::text,
    description: "From the `next` link of a page. Valid on every replica, forever.",
};

pub(super) static CONSISTENCY: Shared = Shared {
    key: "consistency",
    name: "consistency",
    place: ParameterIn::Query,
    schema: || schemas::one_of(&["local", "strong"]).default(Some(json!("local"))).build(),
    description: "strong: sees everything that was acknowledged anywhere before (linearizable), on any replica.",
};

pub(super) static AFTER: Shared = Shared {
    key: "after",
    name: "after",
    place: ParameterIn::Query,
    schema: schemas::sequence,
    description: "Waits until this replica has this sequence: read your writes with the Leasehold-Sequence of your last \
                  answer. A sequence that was never committed is refused (409).",
};

pub(super) static MAX_STALENESS: Shared = Shared {
    key: "maxStaleness",
    name: "max-staleness",
    place: ParameterIn::Query,
    schema: || schemas::string().pattern(Some(DURATION)).build(),
    description: "503 `stale` if the data here may be older than this, such as 500ms or 5s; `Leasehold-Staleness-Ms` says \
                  how old they may be.",
};

pub(super) static TIMEOUT: Shared = Shared {
    key: "timeout",
    name: "timeout",
    place: ParameterIn::Query,
    schema: || schemas::string().pattern(Some(TIMEOUT_PATTERN)).build(),
    description: "How long `consistency` and `after` may wait, such as 500ms or 2s; at most 30s.",
};

pub(super) static WATCH_AFTER: Shared = Shared {
    key: "watchAfter",
    name: "after",
    place: ParameterIn::Query,
    schema: schemas::sequence,
    description: "The changes after this sequence.",
};

pub(super) static WATCH_CLUSTER: Shared = Shared {
    key: "watchCluster",
    name: "cluster",
    place: ParameterIn::Query,
    schema: schemas::uuid,
    description: "The id of the cluster that `after` is a sequence of: another one answers 409 `other-cluster`.",
};

pub(super) static ID_PREFIX: Shared = Shared {
    key: "idPrefix",
    name: "where.id.prefix",
    place: ParameterIn::Query,
    schema: schemas::text,
    description: "Only records whose ids begin so.",
};

pub(super) static LAST_EVENT_ID: Shared = Shared {
    key: "lastEventId",
    name: "Last-Event-ID",
    place: ParameterIn::Header,
    schema: schemas::sequence,
    description: "As `after`, and before it.",
};

pub(super) static IF_MATCH: Shared = Shared {
    key: "ifMatch",
    name: "If-Match",
    place: ParameterIn::Header,
    schema: schemas::condition,
    description: "Only if the record is there (`*`), or has one of these ETags. ETags of others match nothing; a weakened \
                  one of this store matches, unless `--match-weakened-etags=false`.",
};

pub(super) static IF_NONE_MATCH: Shared = Shared {
    key: "ifNoneMatch",
    name: "If-None-Match",
    place: ParameterIn::Header,
    schema: schemas::condition,
    description: "`*`: only if there is no such record. ETags: only if the record has none of them.",
};

pub(super) static IF_MATCH_READ: Shared = Shared {
    key: "ifMatchRead",
    name: "If-Match",
    place: ParameterIn::Header,
    schema: schemas::condition,
    description: "412 unless the record has one of these ETags.",
};

pub(super) static IF_NONE_MATCH_READ: Shared = Shared {
    key: "ifNoneMatchRead",
    name: "If-None-Match",
    place: ParameterIn::Header,
    schema: schemas::condition,
    description: "304 if the record has one of these ETags.",
};

pub(super) static KEY: Shared = Shared {
    key: "key",
    name: "Idempotency-Key",
    place: ParameterIn::Header,
    schema: || {
        // White space around a header's value is not part of it (RFC 9110, 5.5), nor are quotes part of the key: so its length
        // is in the pattern.
        let most = KEY_BYTES_MAX;
        let plain = format!("[!#-~][ -~]{{0,{}}}", most - 1);
        let quoted = format!(r#""([ !#-\[\]-~]|\\["\\]){{1,{most}}}""#);
        schemas::string().min_length(Some(1)).pattern(Some(format!(r"^[ \t]*({plain}|{quoted})[ \t]*$"))).build()
    },
    description: "1 to 255 characters. The same request under the same key is done once and answered the same, also by \
                  another leader, for the last 10,000 keys and 1,000,000 entries.",
};

pub(super) static SORT: Shared = Shared {
    key: "sort",
    name: "sort",
    place: ParameterIn::Query,
    schema: || schemas::string().pattern(Some(SORT_PATTERN)).build(),
    description: "`<path>[,<path>…]`, or each with `-` before it: the order. All of them must be in one index.",
};

pub(super) static COUNT: Shared = Shared {
    key: "count",
    name: "count",
    place: ParameterIn::Query,
    schema: || Object::with_type(Type::Boolean),
    description: "true: `Leasehold-Count` says how many there are.",
};

pub(super) static EXPIRES_IN: Shared = Shared {
    key: "expiresIn",
    name: "expires-in",
    place: ParameterIn::Query,
    schema: || schemas::string().pattern(Some(DURATION)).build(),
    description: "After this time, such as 30s, the record goes, by the leader's clock: it sets the member that the \
                  definition names.",
};

pub(super) static COLLECTIONS: Shared = Shared {
    key: "collections",
    name: "collections",
    place: ParameterIn::Query,
    schema: || {
        let name = r"^[a-z][a-z0-9-]{0,62}(,[a-z][a-z0-9-]{0,62})*$";
        schemas::string().pattern(Some(name)).build()
    },
    description: "Only these, with commas between them.",
};

pub(super) static EXPIRE_NOW: Shared = Shared {
    key: "expireNow",
    name: "expire-now",
    place: ParameterIn::Query,
    schema: || schemas::one_of(&["true"]).build(),
    description: "Also if records go at once by the new definition.",
};

pub(super) static WITH_RECORDS: Shared = Shared {
    key: "withRecords",
    name: "records",
    place: ParameterIn::Query,
    schema: || schemas::one_of(&["delete"]).build(),
    description: "Also if it has records: they go with it.",
};

pub(super) static IF_MATCH_DEFINITION: Shared = Shared {
    key: "ifMatchDefinition",
    name: "If-Match",
    place: ParameterIn::Header,
    schema: schemas::condition,
    description: "Only if the collection is there (`*`), or its definition has one of these ETags.",
};

pub(super) static IF_NONE_MATCH_DEFINITION: Shared = Shared {
    key: "ifNoneMatchDefinition",
    name: "If-None-Match",
    place: ParameterIn::Header,
    schema: || schemas::one_of(&["*"]).build(),
    description: "`*`: only if there is no such collection. Not beside `If-Match`.",
};

/// A whole number and a unit; at most 24 hours.
const DURATION: &str = "^([0-9]{1,7}ms|[0-9]{1,4}s|[0-9]{1,3}m|1?[0-9]h|2[0-4]h)$";
/// Up to four paths, all in one direction.
const SORT_PATTERN: &str = concat!(
    r"^([^,.-][^,.]*(\.[^,.]+)*(,[^,.-][^,.]*(\.[^,.]+)*){0,3}|",
    r"-[^,.]+(\.[^,.]+)*(,-[^,.]+(\.[^,.]+)*){0,3})$"
);
/// From 1 ms to 30 s.
const TIMEOUT_PATTERN: &str = "^(([1-9][0-9]{0,3}|[12][0-9]{4}|30000)ms|([1-9]|[12][0-9]|30)s)$";

static ALL: [&Shared; 30] = [
    &ID,
    &UUID,
    &TEXT,
    &COLLECTION,
    &SORT,
    &COUNT,
    &EXPIRES_IN,
    &COLLECTIONS,
    &EXPIRE_NOW,
    &WITH_RECORDS,
    &IF_MATCH_DEFINITION,
    &IF_NONE_MATCH_DEFINITION,
    &ID_EQUALS,
    &FIRST_NAME,
    &LAST_NAME,
    &LIMIT,
    &CURSOR,
    &CONSISTENCY,
    &AFTER,
    &MAX_STALENESS,
    &TIMEOUT,
    &WATCH_AFTER,
    &WATCH_CLUSTER,
    &ID_PREFIX,
    &LAST_EVENT_ID,
    &IF_MATCH,
    &IF_NONE_MATCH,
    &IF_MATCH_READ,
    &IF_NONE_MATCH_READ,
    &KEY,
];

impl Shared {
    /// The reference inside a call.
    pub(super) fn reference(&self) -> Ref {
        Ref::new(format!("#/components/parameters/{}", self.key))
    }

    fn parameter(&self) -> Parameter {
        ParameterBuilder::new()
            .name(self.name)
            .parameter_in(self.place.clone())
            // The library makes a path parameter required in any case.
            .required(Required::False)
            .description(Some(self.description))
            .schema(Some((self.schema)()))
            .build()
    }
}

/// Describes each once.
pub(super) fn describe(components: &mut Components) {
    components.parameters = ALL.iter().map(|one| (one.key.to_owned(), one.parameter().into())).collect();
}
