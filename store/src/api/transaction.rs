//! `POST /api/transaction`: many operations on any collections in one entry of the log, all of them or none
//! ([`operations`]).

use super::asked::{Asked, Op};
use super::attempts::Writing;
use super::body::{BoxError, Sent};
use super::context::{ApiResult, Context};
use super::need::Need;
use super::percent::Query;
use super::plan::Shape;
use super::problem::Problem;
use super::rights::Rights;
use super::{body, key, operations, person};
use bytes::Bytes;
use hyper::body::Body;
use warp::http::{HeaderMap, Method};

const PATH: &str = "/api/transaction";

/// `POST /api/transaction`
pub(super) async fn transaction<B>(
    context: &Context,
    rights: &Rights,
    headers: &HeaderMap,
    sent: &mut Sent<B>,
) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    operations::refuse_conditions(headers, "a transaction")?;
    let name = key::of(headers)?;
    let body = body::receive(context, headers, sent, body::JSON).await?;
    person::check_syntax(&body)?;
    let all = operations::parse(&body, None, context.config.match_weakened)?;
    all.iter().enumerate().try_for_each(|(at, asked)| permitted(rights, at, asked))?;
    // Checks do nothing, so they need no key: who may only read must not make the cluster forget the keys of those who write.
    let name = name.filter(|_| all.iter().any(|asked| asked.op != Op::Check));
    let request = name.as_ref().map(|_| key::request(&Method::POST, PATH, &Query::new(), "", &body));
    let writing = Writing {
        path: &PATH,
        shape: Shape::Transaction,
        all: &all,
        key: name.as_deref(),
        request: request.unwrap_or_default(),
        has_query: false,
        time: context.write_time(headers),
    };
    operations::done(context, &writing).await
}

/// A condition reads, all else writes. Before anything else is known of the operations: what they are about may not exist.
fn permitted(rights: &Rights, at: usize, asked: &Asked<'_>) -> Result<(), Problem> {
    let collection = &*asked.collection;
    let need = match asked.op {
        Op::Check => Need::Read(Some(collection)),
        Op::Create | Op::Put | Op::Patch | Op::Delete => Need::Write(collection),
    };
    if need.is_met(rights) {
        return Ok(());
    }
    let what = format!("operation {at} (from 0), {} in {collection},", asked.op.word());
    Err(need.refusal(&what).with("operation", at).with("pointer", format!("/operations/{at}")))
}
