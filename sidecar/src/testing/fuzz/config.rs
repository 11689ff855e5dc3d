//! What a program that embeds the elector says.

use std::time::Duration;

use clap::Parser as _;

use crate::args::{Args, Config};
use crate::elector::election;

/// A line each: namespace, Lease, name, address, then the Lease's duration, the lost time and the grace period in milliseconds.
/// What is accepted starts, and would be accepted as flags, too: two processes must not differ in what they make of it.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let [namespace, lease, name, address] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    let [duration, lost_time, grace_period] = std::array::from_fn(|_| {
        let ms: Option<u64> = lines.next().and_then(|line| line.parse().ok());
        ms.map(Duration::from_millis)
    });
    let config = match Config::plain(namespace, lease, name, address) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let config = Config {
        lease_duration: duration.unwrap_or(config.lease_duration),
        lost_time: lost_time.unwrap_or(config.lost_time),
        grace_period: grace_period.unwrap_or(config.grace_period),
        ..config
    };
    if let Err(error) = config.check() {
        assert!(!error.to_string().is_empty());
        return;
    }
    assert!(election(&config).is_ok(), "it has an address, and does not start");
    let ms = |time: Duration| format!("{}ms", time.as_millis());
    let flags = [
        format!("--namespace={namespace}"),
        format!("--lease={lease}"),
        format!("--name={name}"),
        format!("--lease-duration={}", ms(config.lease_duration)),
        format!("--lost-time={}", ms(config.lost_time)),
    ];
    let words = ["sidecar".to_owned(), "--address=10.0.0.7:80".to_owned()].into_iter().chain(flags);
    let args = Args::try_parse_from(words).unwrap_or_else(|error| panic!("no flags would say that: {error}"));
    let flags = args.config().unwrap_or_else(|error| panic!("flags would be refused: {error}"));
    assert_eq!((&flags.namespace, &flags.lease, &flags.name), (&config.namespace, &config.lease, &config.name));
    assert_eq!((flags.lease_duration, flags.lost_time), (config.lease_duration, config.lost_time));
}
