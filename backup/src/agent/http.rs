//! The agent's port: `/metrics`, `/healthz` (the loop runs) and `/readyz` (a store is followed, and nothing is refused).

use crate::metrics::{self, Metrics};
use leasehold_archive::agent::{Refused, Status};
use leasehold_daemon::serve::{Limits, Server};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use warp::Filter as _;
use warp::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use warp::http::{Method, Response, StatusCode};

/// A loop that has not turned for this long is stuck; it turns every few seconds even when nothing happens.
const STUCK: Duration = Duration::from_secs(60);
const CONNECTIONS_MAX: usize = 64;

/// What the loop shows of itself.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) status: Status,
    /// When it last turned.
    pub(super) turned: Instant,
}

pub(super) async fn serve(listener: TcpListener, shown: watch::Receiver<Shown>, metrics: Metrics) {
    let counts = metrics.connections();
    let limits = Limits { port: "backup", connections_max: CONNECTIONS_MAX, counts, ..Limits::default() };
    let routes = leasehold_daemon::serve::path()
        .and(warp::method())
        .map(move |path: String, method: Method| answer(&shown.borrow(), &metrics, &method, &path))
        .map(warp::Reply::into_response)
        .boxed();
    Server { limits, ..Server::default() }.run_filter(listener, routes).await;
}

fn answer(shown: &Shown, metrics: &Metrics, method: &Method, path: &str) -> Response<String> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, content_type, text) = match path {
        "/metrics" | "/healthz" | "/readyz" if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned())
        }
        "/metrics" => (StatusCode::OK, metrics::CONTENT_TYPE, metrics.encode()),
        "/healthz" if shown.turned.elapsed() < STUCK => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/healthz" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "the agent's loop does not run\n".to_owned()),
        "/readyz" => match unready(&shown.status) {
            None => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        _ => (StatusCode::NOT_FOUND, TEXT, "not found\n".to_owned()),
    };
    let mut reply = Response::new(text);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    reply
}

fn unready(status: &Status) -> Option<&'static str> {
    match status.refused {
        Some(Refused::ForeignHistory) => Some("refused: the archive has another history of this cluster"),
        Some(Refused::Ahead) => Some("refused: the cluster lacks what the archive has"),
        Some(Refused::Format) | None => (!status.is_following).then_some("no store is followed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_says_what_it_is_for() {
        let metrics = Metrics::new();
        let mut shown = Shown { status: Status::default(), turned: Instant::now() };
        let get = |shown: &Shown, path: &str| {
            let reply = answer(shown, &metrics, &Method::GET, path);
            (reply.status().as_u16(), reply.into_body())
        };
        assert_eq!(get(&shown, "/healthz").0, 200);
        assert_eq!(get(&shown, "/readyz"), (503, "no store is followed\n".to_owned()));
        shown.status.is_following = true;
        assert_eq!(get(&shown, "/readyz").0, 200);
        shown.status.refused = Some(Refused::ForeignHistory);
        assert!(get(&shown, "/readyz").1.contains("another history"));
        assert!(get(&shown, "/metrics").1.contains("leasehold_backup_gaps_total 0"));
        assert_eq!(get(&shown, "/nothing").0, 404);
        assert_eq!(answer(&shown, &metrics, &Method::POST, "/metrics").status(), 405);
    }
}
