//! A small HTTP server: an app with a health, or one that wants to be notified.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Answers every request with the present status. Its thread ends with the test's process.
pub(crate) struct Target {
    pub(crate) url: String,
    status: Arc<AtomicU16>,
    asked: Arc<Mutex<Vec<(Value, u16)>>>,
}

impl Target {
    pub(crate) fn start(status: u16) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/here", listener.local_addr().unwrap());
        let target = Target { url, status: Arc::new(AtomicU16::new(status)), asked: Arc::default() };
        let (status, asked) = (Arc::clone(&target.status), Arc::clone(&target.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away has asked nothing.
                let _ = answer(stream, &status, &asked);
            }
        });
        target
    }

    pub(crate) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The bodies, in the order of the requests, and what each was answered.
    pub(crate) fn asked(&self) -> Vec<(Value, u16)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(stream: TcpStream, status: &AtomicU16, asked: &Mutex<Vec<(Value, u16)>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let status = status.load(Ordering::SeqCst);
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    asked.lock().unwrap_or_else(PoisonError::into_inner).push((body, status));
    write!(reader.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
