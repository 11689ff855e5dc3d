//! A small HTTP server: an app with a health.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Answers every request with the present status. Its thread ends with the test's process.
pub(crate) struct Target {
    pub(crate) url: String,
    status: Arc<AtomicU16>,
}

impl Target {
    pub(crate) fn start(status: u16) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/here", listener.local_addr().unwrap());
        let target = Target { url, status: Arc::new(AtomicU16::new(status)) };
        let status = Arc::clone(&target.status);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away has asked nothing.
                let _ = answer(stream, &status);
            }
        });
        target
    }

    pub(crate) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

fn answer(stream: TcpStream, status: &AtomicU16) -> std::io::Result<()> {
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
    write!(reader.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
