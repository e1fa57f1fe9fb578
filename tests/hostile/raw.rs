//! Bytes as a client that is not ours would send them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Outcome, Target};

/// A TLS connection with the administrator's certificate.
pub async fn connect(target: &Target, protocol: &[u8]) -> Outcome<TlsStream<TcpStream>> {
    let access = &target.access;
    let tcp = TcpStream::connect((access.host.as_str(), access.port)).await?;
    Ok(TlsConnector::from(access.tls(protocol)?).connect(access.server_name()?, tcp).await?)
}

/// Kinds of frames.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

/// Flags of frames.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn text(out: &mut Vec<u8>, value: &str) {
    let mut rest = value.len();
    if rest < 127 {
        out.push(rest as u8);
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push(rest as u8 | 128);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(value.as_bytes());
}

/// The head of a GET, in HPACK without a table.
pub fn get(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0x82, 0x87, 0x04];
    text(&mut out, path);
    out.push(0x01);
    text(&mut out, "localhost");
    for (name, value) in more {
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

/// An HTTP/2 connection of which every frame is in the test's hands.
pub struct Http2 {
    pub stream: TlsStream<TcpStream>,
}

impl Http2 {
    /// Connects and says hello.
    pub async fn connect(target: &Target) -> Outcome<Self> {
        let mut stream = connect(target, b"h2").await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        stream.flush().await?;
        Ok(Self { stream })
    }

    /// Sends frames, in one go.
    pub async fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next frame; `None` when the server hung up.
    pub async fn next(&mut self) -> Outcome<Option<Frame>> {
        let mut head = [0; 9];
        if self.stream.read_exact(&mut head).await.is_err() {
            return Ok(None);
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Ok(Some(Frame { kind: head[3], flags: head[4], stream, payload }))
    }
}
