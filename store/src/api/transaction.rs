//! `POST /api/transaction`: many operations on any collections in one entry of the log, all of them or none
//! ([`operations`]).

use super::attempts::Writing;
use super::body::{BoxError, Sent};
use super::context::{ApiResult, Context};
use super::percent::Query;
use super::plan::Shape;
use super::{body, key, operations, person};
use bytes::Bytes;
use hyper::body::Body;
use warp::http::{HeaderMap, Method};

const PATH: &str = "/api/transaction";

/// `POST /api/transaction`
pub(super) async fn transaction<B>(context: &Context, headers: &HeaderMap, sent: &mut Sent<B>) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    operations::refuse_conditions(headers, "a transaction")?;
    let name = key::of(headers)?;
    let body = body::receive(context, headers, sent, body::JSON).await?;
    person::check_syntax(&body)?;
    let all = operations::parse(&body, None, context.config.match_weakened)?;
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
