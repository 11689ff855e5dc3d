//! `GET /v1/watch`: the role now, and each change of it, as server-sent events.
//!
//! ```text
//!   retry: 1000                          how soon a browser connects again
//!   id: 12                               the generation of role.json in this run of the sidecar
//!   data: {"generation":12,"role":"leader","term":5,…}
//!   : still here                         when nothing was sent for 10 s
//! ```
//!
//! A leader also hears of its renewals, a follower of changes alone. A watcher has no queue: it is sent what is the newest when
//! its connection accepts more, so nothing older ever follows, and one that reads slowly misses what is over \[A12\]. One
//! that reads nothing is cut off by the server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http::{HeaderValue, Method, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use warp::Reply as _;
use warp::reply::Response;

use super::reply::{not_allowed, stamp, text};
use super::sources::{Sources, WATCHERS_MAX};
use crate::notice::Notice;
use crate::state::State;

/// A watcher that received nothing for this long gets a comment: so both sides notice a dead connection.
const STILL_HERE_AFTER: Duration = Duration::from_secs(10);

pub(super) fn answer(sources: &Sources, method: &Method) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return not_allowed("GET, HEAD").into_response();
    }
    let Ok(place) = Arc::clone(&sources.watchers).try_acquire_owned() else {
        let most = format!("{WATCHERS_MAX} clients already watch this sidecar; close one, or ask GET /v1/state");
        return text(StatusCode::SERVICE_UNAVAILABLE, &most).into_response();
    };
    let watcher = Watcher { state: sources.state.clone(), sent: None, _place: place };
    let events = stream::unfold(watcher, async |watcher| {
        let (event, watcher) = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let mut response = warp::reply::stream(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy that collects answers would keep the events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    stamp(headers);
    response
}

struct Watcher {
    state: watch::Receiver<State>,
    /// What it was sent last.
    sent: Option<Notice>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// Waits for the next event. None: the election has ended.
    async fn next(mut self) -> Option<(String, Watcher)> {
        let quiet_until = Instant::now() + STILL_HERE_AFTER;
        loop {
            let notice = Notice::of(&self.state.borrow_and_update());
            if let Some(notice) = &notice
                && !self.sent.as_ref().is_some_and(|sent| notice.is_as_long_as(sent))
            {
                let event = event(notice, self.sent.is_none());
                self.sent = Some(notice.clone());
                return Some((event, self));
            }
            // A claim that runs out is a change that no election announces.
            let lapse = notice.and_then(|notice| notice.lapses_in);
            let lapse = lapse.map(|left| Instant::now() + left + Duration::from_millis(1));
            let until = lapse.map_or(quiet_until, |lapse| lapse.min(quiet_until));
            match tokio::time::timeout_at(until, self.state.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) if Instant::now() >= quiet_until => return Some((": still here\n\n".to_owned(), self)),
                Err(_) => {}
            }
        }
    }
}

fn event(notice: &Notice, is_first: bool) -> String {
    let retry = if is_first { "retry: 1000\n" } else { "" };
    let data = serde_json::to_string(notice).expect("plain data has a JSON form");
    format!("{retry}id: {}\ndata: {data}\n\n", notice.generation)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::Heartbeat;
    use crate::notice::tests::{following, leading};
    use crate::telemetry::Metrics;
    use futures_util::FutureExt as _;

    fn watcher(state: State) -> (watch::Sender<State>, Watcher) {
        let (sender, state) = watch::channel(state);
        let place = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
        (sender, Watcher { state, sent: None, _place: place })
    }

    fn data(event: &str) -> serde_json::Value {
        serde_json::from_str(event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_present_comes_first_then_changes_and_only_the_newest_of_them() {
        let (sender, watcher) = watcher(State::default());
        assert!(watcher.state.has_changed().is_ok_and(|changed| !changed));
        sender.send_replace(following(6, 2));
        let (event, watcher) = watcher.next().await.unwrap();
        assert!(event.starts_with("retry: 1000\nid: 2\ndata: {") && event.ends_with("}\n\n"), "{event}");
        // Nobody read what happened meanwhile.
        sender.send_replace(leading(7, 3, 10));
        sender.send_replace(following(8, 4));
        let (event, watcher) = watcher.next().await.unwrap();
        assert!(event.starts_with("id: 4\n"), "{event}");
        assert_eq!(data(&event)["term"], 8);
        drop(sender);
        assert!(watcher.next().await.is_none(), "the election has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_hears_of_renewals_and_a_follower_does_not() {
        let (sender, watcher) = watcher(leading(5, 1, 60));
        let (_, watcher) = watcher.next().await.unwrap();
        sender.send_replace(leading(5, 2, 90));
        let (event, watcher) = watcher.next().await.unwrap();
        assert!(event.starts_with("id: 2\n"), "{event}");
        sender.send_replace(following(6, 3));
        let (_, watcher) = watcher.next().await.unwrap();
        sender.send_replace(following(6, 4));
        let began = Instant::now();
        let (event, _) = watcher.next().await.unwrap();
        assert_eq!((event.as_str(), began.elapsed()), (": still here\n\n", STILL_HERE_AFTER));
    }

    /// The election is stuck, and the server is not.
    #[tokio::test]
    async fn a_claim_that_runs_out_is_an_event() {
        let mut state = leading(5, 1, 60);
        // A third of its 60 s, and a little: so long before its end a claim lapses.
        let until = crate::clock::boottime_ns() + 20_300_000_000;
        state.role.as_mut().unwrap().lease.valid_until_boottime_ns = Some(until);
        let (_sender, watcher) = watcher(state);
        let (event, watcher) = watcher.next().await.unwrap();
        assert_eq!(data(&event)["leads"], true);
        let (event, _) = watcher.next().await.unwrap();
        assert_eq!((&data(&event)["leads"], &data(&event)["role"]), (&false.into(), &"follower".into()));
    }

    #[tokio::test]
    async fn places_are_bounded_and_become_free_again() {
        let (_sender, state) = watch::channel(following(6, 2));
        let sources = Sources::new(state, Heartbeat::new(), Metrics::new(), None);
        let mut open: Vec<Response> = (0..WATCHERS_MAX).map(|_| answer(&sources, &Method::GET)).collect();
        assert!(open.iter().all(|response| response.status() == 200));
        assert_eq!(answer(&sources, &Method::GET).status(), 503);
        assert_eq!(answer(&sources, &Method::POST).status(), 405);
        open.pop();
        assert_eq!(answer(&sources, &Method::GET).status(), 200);
    }

    #[tokio::test]
    async fn before_anything_is_known_nothing_is_said() {
        let (_sender, watcher) = watcher(State::default());
        assert!(watcher.next().now_or_never().is_none());
    }
}
