//! Compression of large answers, for clients that take it.

use std::{io::Write, mem};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::stream;
use http::{HeaderMap, HeaderValue, Response, header};

use crate::body::Body;

/// Answers up to this size are sent as they are: upstream's limit.
const THRESHOLD: usize = 128 * 1024;

/// So much is compressed before others get their turn, in bytes.
const PIECE: usize = 128 * 1024;

/// Compresses an answer that is in hand, larger than 128 KiB and not yet
/// encoded, when the request's headers accept gzip. The work is done piece by
/// piece while the answer is sent.
pub fn compress(request: &HeaderMap, response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let encoded = head.headers.contains_key(header::CONTENT_ENCODING);
    let large = body.len() > THRESHOLD && !encoded && accepts(request);
    let chunks: Box<dyn Iterator<Item = Bytes> + Send> = match body {
        Body::Chunks(chunks) if large => Box::new(chunks.into_iter()),
        Body::Pieces { pieces, .. } if large => pieces,
        body => return Response::from_parts(head, body),
    };
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let encoder = GzEncoder::new(Vec::with_capacity(PIECE / 4), Compression::fast());
    let pieces = Pieces { chunks, chunk: Bytes::new(), encoder: Some(encoder) };
    Response::from_parts(head, Body::stream(stream::iter(pieces)))
}

// As upstream: the bare word, in the first header, whatever its quality.
fn accepts(request: &HeaderMap) -> bool {
    let given = request.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    given.is_some_and(|given| given.split(',').any(|token| token.trim() == "gzip"))
}

struct Pieces {
    chunks: Box<dyn Iterator<Item = Bytes> + Send>,
    // What is left of the chunk in hand.
    chunk: Bytes,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut encoder = self.encoder.take()?;
        loop {
            if self.chunk.is_empty() {
                match self.chunks.next() {
                    Some(chunk) => self.chunk = chunk,
                    None => break,
                }
            }
            let piece = self.chunk.split_to(self.chunk.len().min(PIECE));
            // Writing into memory has no way to fail.
            let _ = encoder.write_all(&piece);
            if !encoder.get_ref().is_empty() {
                let done = mem::replace(encoder.get_mut(), Vec::with_capacity(PIECE / 4));
                self.encoder = Some(encoder);
                return Some(Bytes::from(done));
            }
        }
        encoder.finish().ok().map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use futures::executor::block_on;
    use http_body_util::BodyExt;

    use super::*;

    fn check(accept: &str, size: usize, compressed: bool) {
        let mut request = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(accept) {
            request.insert(header::ACCEPT_ENCODING, value);
        }
        let text: Vec<u8> = (0..size).map(|at| b"abcdefghij\n"[at * at % 11]).collect();
        let chunks: Vec<Bytes> = text.chunks(50_000).map(Bytes::copy_from_slice).collect();
        let response = compress(&request, Response::new(Body::from(chunks)));
        let encoding = response.headers().get(header::CONTENT_ENCODING).is_some();
        assert_eq!(
            (encoding, response.headers().contains_key(header::VARY)),
            (compressed, compressed),
            "{accept}"
        );
        let body = block_on(response.into_body().collect()).expect("no errors").to_bytes();
        let mut plain = Vec::new();
        if compressed {
            assert!(body.len() < size / 2);
            GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("gzip");
        } else {
            plain.extend_from_slice(&body);
        }
        assert!(plain == text, "{accept} {size}");
    }

    #[test]
    fn large_answers_are_compressed_for_those_who_ask() {
        check("gzip", 1_000_000, true);
        check("deflate, gzip , br", 131_073, true);
        check("gzip", 131_072, false);
        check("gzip", 0, false);
        check("gzip;q=1.0", 1_000_000, false);
        check("", 1_000_000, false);
    }
}
