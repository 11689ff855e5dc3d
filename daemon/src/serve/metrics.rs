//! The [`Counts`] of ports, for Prometheus.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::serve::counts::{Closed, Counts};

/// Some ports' counts:
/// ```text
///   <prefix>connections{port}                       open now, including upgraded ones
///   <prefix>connections_closed_total{port,reason}   closed by this end, see [`Closed`]
///   <prefix>connections_waited_total{port}          how often a new connection had to wait because all were busy
/// ```
#[derive(Debug)]
pub struct Ports {
    prefix: &'static str,
    ports: Vec<(&'static str, Arc<Counts>)>,
}

impl Ports {
    /// For a registry. `prefix` goes between the registry's own and each name.
    pub fn new(prefix: &'static str, ports: Vec<(&'static str, Arc<Counts>)>) -> Ports {
        Ports { prefix, ports }
    }
}

impl Collector for Ports {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let name = format!("{}connections", self.prefix);
        let mut family = encoder.encode_descriptor(&name, "Open connections", None, MetricType::Gauge)?;
        for (port, counts) in &self.ports {
            let open = i64::try_from(counts.open()).unwrap_or(i64::MAX);
            ConstGauge::new(open).encode(family.encode_family(&[("port", *port)])?)?;
        }
        let name = format!("{}connections_closed", self.prefix);
        let help = "Connections, and streams of HTTP/2, that this end closed";
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (port, counts) in &self.ports {
            for why in Closed::ALL {
                let labels = [("port", *port), ("reason", why.word())];
                ConstCounter::new(counts.closed(why)).encode(family.encode_family(&labels)?)?;
            }
        }
        let name = format!("{}connections_waited", self.prefix);
        let help = "Times that a new connection waited because all places were busy";
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (port, counts) in &self.ports {
            ConstCounter::new(counts.waits()).encode(family.encode_family(&[("port", *port)])?)?;
        }
        Ok(())
    }
}
