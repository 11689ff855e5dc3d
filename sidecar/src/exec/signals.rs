//! The signals that are CMD's, too.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::args::StopSignal;

/// Receives them. What is received is never lost by dropping a wait, but several of one kind may become one.
pub(super) struct Signals {
    receivers: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    /// From now on none of them ends this process. Children start with the default actions: a handler does not survive exec.
    pub(super) fn new() -> io::Result<Signals> {
        let receive =
            |(_, signal): &(&str, Signal)| Ok((*signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
        Ok(Signals { receivers: StopSignal::ALL.iter().map(receive).collect::<io::Result<_>>()? })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, receiver) in &mut self.receivers {
                if receiver.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// All that have arrived until now.
    pub(super) async fn arrived(&mut self) -> Vec<Signal> {
        let mut arrived = Vec::new();
        loop {
            tokio::select! {
                biased;
                signal = self.next() => arrived.push(signal),
                // The runtime looks for signals before it polls this again.
                () = tokio::task::yield_now() => return arrived,
            }
        }
    }
}
