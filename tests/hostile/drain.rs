//! How a server ends: told first, then in order.

use std::time::Duration;

use coracle::Options;
use coracle_bench::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Outcome, Target,
    raw::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PING, frame, get},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_says_so_and_ends_what_is_open() -> Outcome {
    let mut options = Options::default();
    options.config.shutdown_delay = Duration::from_secs(8);
    let target = Target::start(options).await?;
    let watch = "/api/v1/namespaces/default/configmaps?watch=1";
    let mut one = raw::connect(&target, b"http/1.1").await?;
    one.write_all(format!("GET {watch} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await?;
    let mut two = Http2::connect(&target).await?;
    two.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get(watch, &[]))).await?;
    while two.next().await?.ok_or("hung up")?.kind != HEADERS {}
    let mut posting = raw::connect(&target, b"http/1.1").await?;
    let body = r#"{"metadata":{"name":"in-flight"}}"#;
    let head = format!(
        "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    posting.write_all(head.as_bytes()).await?;
    let mut honest = target.client(Protocol::Http1).await?;
    // The objects that every cluster has are made first.
    while honest.ask("GET", "/readyz", "").await?.status() != 200 {
        tokio::task::yield_now().await;
    }

    let Target { cluster, access } = target;
    let stopping = tokio::spawn(cluster.stop());
    // It is not ready any more, but serves, old connections and new ones.
    while honest.ask("GET", "/readyz", "").await?.status() != 500 {
        tokio::task::yield_now().await;
    }
    assert_eq!(honest.ask("GET", "/livez", "").await?.status(), 200);
    let mut late = coracle_bench::Connection::open(&access, Protocol::Http2).await?;
    let request = coracle_bench::connection::request(
        &access,
        Protocol::Http2,
        "GET",
        "/api/v1/namespaces/default",
        &[],
        bytes::Bytes::new(),
    )?;
    assert_eq!(late.fetch(request).await?.status(), 200);
    // What is in flight is finished.
    posting.write_all(body.as_bytes()).await?;
    let mut answer = [0; 12];
    posting.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"HTTP/1.1 201");
    // The watches end as streams do.
    let mut seen = Vec::new();
    one.read_to_end(&mut seen).await?;
    assert!(seen.ends_with(b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&seen));
    let (mut gone, mut ended) = (false, false);
    while let Some(next) = two.next().await? {
        if next.kind == PING && next.flags == 0 {
            two.send(&frame(PING, 1, 0, &next.payload)).await?;
        }
        gone |= next.kind == GOAWAY && next.payload[4..8] == [0; 4];
        ended |= next.kind == DATA && next.flags & END_STREAM != 0;
    }
    assert!(gone && ended, "told to go away: {gone}, the stream ended: {ended}");
    stopping.await?;
    Ok(())
}
